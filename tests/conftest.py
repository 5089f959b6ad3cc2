"""Fixtures that several test folders share, and the settings of the suite: parallel runs and skipped tests."""

import fcntl
import gc
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PARALLEL = "PYTEST_XDIST_WORKER" in os.environ
if PARALLEL:  # before numpy is imported: one process per core, so one thread in each
    for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    # and the bytecode of our modules is kept: the processes that the tests start would each compile them again
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False

MEMORY, MIN_FREE = Path("/dev/shm"), 4 * 2**30
if "TMPDIR" not in os.environ and MEMORY.is_dir() and os.access(MEMORY, os.W_OK):
    # temporary files in memory: on a disk SQLite waits for its commits for a quarter of the time
    _system = os.statvfs(MEMORY)
    if _system.f_bavail * _system.f_frsize > MIN_FREE and not _system.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)

import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

import orchestration  # noqa: E402, F401  (switches the telemetry of libraries off before they are imported)

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # its scripts and tests import it by short names
from measuring.service.postgres import QUOTED, MissingError, postgresql, programs  # noqa: E402

pytest_plugins = ["pytester"]

# A shell starts background jobs with SIGINT ignored, and child processes inherit that: tests of Ctrl-C would fail.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline for property tests: the machine may be busy.
settings.register_profile("no_deadline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no_deadline")

WHOLE_SIZES = os.environ.get("TRADEWIND_WHOLE_SIZES") == "1"
PORTS = range(20_000, 32_000)  # below the ports that the system gives to connections


@pytest.fixture(scope="session")
def sized() -> Callable[[int], int]:
    """whole size -> size of a test that repeats one check: a quarter, or with TRADEWIND_WHOLE_SIZES=1 all of it."""
    return lambda whole: whole if WHOLE_SIZES else whole // 4


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores, as some tests wait for servers; at most 8, as each needs up to 1.5 GB."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(cores + 1, 8)


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In one process the fast tests run first, so that an error shows within seconds.

    In parallel the files that start servers run first: the longest file must not start last.
    """
    items.sort(key=lambda item: (item.get_closest_marker("slow") is None) is PARALLEL)
    for item in items:
        if "real_data" in getattr(item, "fixturenames", ()):
            item.add_marker("real_data")


def _required(report: Any) -> Any:
    """A skipped test counts as failed where everything is required (TRADEWIND_REQUIRE_ALL=1)."""
    if os.environ.get("TRADEWIND_REQUIRE_ALL") == "1" and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{reason} (TRADEWIND_REQUIRE_ALL=1: no test may be skipped)"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _required((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _required((yield))


@pytest.fixture(autouse=True, scope="session")
def _temporary_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test changes the state of the user: every home, also the default, is below a temporary folder.

    In parallel each process has its own such folder.
    """
    home = tmp_path_factory.mktemp("home")
    os.environ["TRADEWIND_HOME"] = str(home)
    os.environ["BENTOML_HOME"] = str(home / "bentoml")
    for name in ("TRADEWIND_DATASET", "TRADEWIND_SOURCE", "TRADEWIND_CONFIG", "TRADEWIND_DATASETS", "DAGSTER_HOME"):
        os.environ.pop(name, None)


def reserve_ports() -> Callable[[], int]:
    """A function that returns a free port of 127.0.0.1 that no other test of any process gets until this process ends.

    A free port is free for others too until a server listens on it. So the function locks one byte per port in one
    file; the system releases the locks when the process ends.
    """
    path = Path(tempfile.gettempdir()) / f"tradewind-tests-{os.getuid()}.ports"
    lock_file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)  # never closed: closing it would release the locks
    places = iter(PORTS)

    def pick() -> int:
        for port in places:
            try:
                fcntl.lockf(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
                with socket.create_server(("127.0.0.1", port)):
                    return port
            except OSError:
                continue
        pytest.fail(f"no port of {PORTS} is free")

    return pick


@pytest.fixture(scope="session")
def pick_port() -> Callable[[], int]:
    return reserve_ports()


@pytest.fixture
def free_port(pick_port: Callable[[], int]) -> int:
    return pick_port()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets, which are not in the repository."""
    folder = os.environ.get("TRADEWIND_REAL_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip(
            f"real data is missing: TRADEWIND_REAL_DATA is {folder or 'not set'}; "
            "set it to a folder with online_retail/, ml-latest-small/ and amazon-2018-5core/, "
            "or leave these tests out by -m 'not real_data'"
        )
    return Path(folder)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium on this machine."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not path:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    return path


@dataclass(frozen=True)
class DocumentedMetric:
    """A row of docs/metrics.md. name: as the text format has it in its line # TYPE."""

    name: str
    kind: str
    labels: frozenset[str]


@pytest.fixture(scope="session")
def documented_metrics() -> Callable[[str], dict[str, DocumentedMetric]]:
    """A function: "service" or "platform" -> the metrics of this section of docs/metrics.md by name."""
    page = (Path(__file__).parents[1] / "docs" / "metrics.md").read_text()
    row = re.compile(r"^\| `(tradewind_\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)

    def rows(section: str) -> dict[str, DocumentedMetric]:
        text = page.partition(f"\n## The {section}\n")[2].partition("\n## ")[0]
        found = (
            DocumentedMetric(n, kind, frozenset(re.findall(r"`(\w+)`", cell))) for n, kind, cell in row.findall(text)
        )
        return {metric.name: metric for metric in found}

    return rows


@pytest.fixture(scope="session")
def postgresql_is_installed() -> None:
    pytest.importorskip("psycopg2", reason="psycopg2 is not installed (pip install -e '.[dev]')")
    try:
        programs()
    except MissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def postgres(postgresql_is_installed: None, pick_port: Callable[[], int]) -> Iterator[str]:
    """The URL of a PostgreSQL of this process; ${CUSTOM_PASSWORD} in it stands for the password 'p@ss/w:rd'."""
    with postgresql(pick_port()) as url:
        yield url.replace(QUOTED, "${CUSTOM_PASSWORD}")


@pytest.fixture(scope="session")
def redis_server(pick_port: Callable[[], int]) -> Iterator[tuple[int, str]]:
    """The process id and the URL of a Redis of this process, in a temporary folder."""
    pytest.importorskip("redis", reason="redis is not installed (pip install -e '.[dev]')")
    program = shutil.which("redis-server")
    if not program:
        pytest.skip("redis-server is not installed (Debian: apt-get install redis-server)")
    port, folder = pick_port(), Path(tempfile.mkdtemp(prefix="tradewind-redis-"))
    options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", "", "--appendonly", "no"]
    server = subprocess.Popen([program, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert server.stdout is not None
    try:
        for line in server.stdout:
            if "eady to accept connections" in line:
                break
        yield server.pid, f"redis://127.0.0.1:{port}/0"
    finally:
        server.terminate()
        server.communicate(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def promtool() -> str:
    """The path of Prometheus' promtool on this machine."""
    path = shutil.which("promtool")
    if not path:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    return path


@pytest.fixture
def redis_url(redis_server: tuple[int, str]) -> str:
    """The URL of an empty Redis."""
    import redis

    with redis.Redis.from_url(redis_server[1]) as client:
        client.flushall()
    return redis_server[1]


def pytest_collection_finish() -> None:
    """What is loaded by now lives as long as the process: the collector need not walk over it again."""
    gc.collect()
    gc.freeze()
