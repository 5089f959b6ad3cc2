"""The supervisor with real processes: none is left after the end of its parent, whatever the signal."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from orchestration.launcher.supervisor import Service, ServiceError, Supervisor, ensure_free, tail
from recommenders.errors import ConfigurationError

GRACE = 1.0
BOUND_S = 12.0  # for all to end; long, because the machine is shared

# A service with a child, a grandchild, a daemon that left session and parent, and a child that ignores SIGTERM.
FAMILY = """
import os, signal, subprocess, sys, time
sleep = [sys.executable, "-c", "import time; time.sleep(300)"]
nested = "import subprocess, sys, time; subprocess.Popen(%r); time.sleep(300)" % (sleep,)
subprocess.Popen([sys.executable, "-c", nested])
subprocess.Popen(["sh", "-c", "setsid sleep 301 </dev/null >/dev/null 2>&1 & exit 0"]).wait()
subprocess.Popen([sys.executable, "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"])
time.sleep(0.3)
print("fds", sorted(os.listdir("/proc/self/fd")), flush=True)
print("ignored", [s.name for s in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
                  if signal.getsignal(s) == signal.SIG_IGN], flush=True)
print("family complete", flush=True)
time.sleep(300)
"""

PARENT = """
import json, sys, time
from pathlib import Path
from orchestration.launcher.supervisor import Service, Supervisor
log = Path(sys.argv[1])
family = Service("family", [sys.executable, "-c", sys.argv[2]], {"TRADEWIND_MARK": sys.argv[3]}, log)
with Supervisor([family], grace=float(sys.argv[4])) as group:
    group.start()
    print("up", flush=True)
    while True:
        group.poll()
        time.sleep(0.1)
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(code)]


def eventually(what: Callable[[], bool], seconds: float = BOUND_S) -> bool:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def marked(mark: str) -> list[psutil.Process]:
    """The live processes that inherited the mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TRADEWIND_MARK") == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[str]:
    """A mark in the environment of all processes of a test; ends those that a failed test leaves."""
    name = f"{os.getpid()}-{tmp_path.name}"
    yield name
    for process in marked(name):
        process.kill()


@pytest.fixture
def group(tmp_path: Path, mark: str) -> Iterator[Callable[..., Supervisor]]:
    made: list[Supervisor] = []

    def make(command: list[str], url: str | None = None, **options: float) -> Supervisor:
        service = Service("toy", command, {"TRADEWIND_MARK": mark}, tmp_path / "logs" / "toy.log", url)
        made.append(Supervisor([service], **{"grace": GRACE, "backoff": 0.1, **options}))
        return made[-1]

    yield make
    for supervisor in made:
        supervisor.stop()


def poll_until_failed(supervisor: Supervisor) -> str:
    assert eventually(lambda: bool(supervisor.poll()))
    return str(supervisor.poll()[0])


@pytest.mark.parametrize(
    ("number", "background"),
    [
        (signal.SIGINT, False),
        (signal.SIGTERM, False),
        (signal.SIGKILL, False),
        (signal.SIGTERM, True),  # a shell's background job ignores SIGINT; its services must not
    ],
)
def test_no_process_outlives_the_parent(tmp_path: Path, mark: str, number: signal.Signals, background: bool) -> None:
    log = tmp_path / "family.log"
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(log), FAMILY, mark, str(GRACE)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=(lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if background else None,
    ) as parent:
        assert eventually(lambda: log.exists() and "family complete" in log.read_text())
        # the parent has no mark: process guard, service, child, grandchild, daemon, child that ignores SIGTERM
        assert eventually(lambda: len(marked(mark)) == 6)
        daemon = next(p for p in marked(mark) if p.cmdline()[-1] == "301")
        assert os.getsid(daemon.pid) == daemon.pid
        parent.send_signal(number)
        assert eventually(lambda: not marked(mark)), marked(mark)
    assert "fds ['0', '1', '2', '3']" in log.read_text()  # 3 is the listing itself: the pipe did not leak
    assert "ignored []" in log.read_text()


def test_stop_kills_a_process_that_ignores_sigterm(group: Callable[..., Supervisor], mark: str, tmp_path: Path) -> None:
    code = """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("ignoring", flush=True)
        time.sleep(300)
    """
    supervisor = group(python(code)).start()
    assert eventually(lambda: "ignoring" in (tmp_path / "logs" / "toy.log").read_text())
    begun = time.monotonic()
    supervisor.stop()
    assert GRACE <= time.monotonic() - begun < GRACE + 3
    assert not marked(mark)


def test_stop_sends_sigterm_first(group: Callable[..., Supervisor], tmp_path: Path) -> None:
    log = tmp_path / "logs" / "toy.log"
    code = """
        import signal, sys, time
        def end(*_):
            print("goodbye", flush=True)
            sys.exit(0)
        signal.signal(signal.SIGTERM, end)
        print("ready", flush=True)
        time.sleep(300)
    """
    supervisor = group(python(code), grace=10.0).start()
    assert eventually(lambda: "ready" in log.read_text())
    begun = time.monotonic()
    supervisor.stop()
    assert time.monotonic() - begun < 5
    assert log.read_text().split() == ["ready", "goodbye"]  # one SIGTERM, not two


def test_a_service_that_fails_is_restarted_then_reported(group: Callable[..., Supervisor], tmp_path: Path) -> None:
    supervisor = group(python("print('no database', flush=True); raise SystemExit(3)"), max_restarts=2, backoff=0.2)
    begun = time.monotonic()
    supervisor.start()
    message = poll_until_failed(supervisor)
    log = tmp_path / "logs" / "toy.log"
    assert message == f"toy ended with code 3 (2 restarts): no database; see {log}"
    assert log.read_text().count("no database") == 3
    assert time.monotonic() - begun >= 0.2 + 0.4  # the pause doubles
    assert supervisor.pids() == {}


def test_a_service_killed_once_is_restarted(group: Callable[..., Supervisor], mark: str) -> None:
    supervisor = group([sys.executable, "-c", FAMILY]).start()
    guard = supervisor.pids()["toy"]
    assert eventually(lambda: len(marked(mark)) == 6)
    before = {process.pid for process in marked(mark)}
    psutil.Process(guard).children()[0].kill()
    assert eventually(lambda: not supervisor.poll() and supervisor.pids().get("toy", guard) != guard)
    assert not before & {process.pid for process in marked(mark)}  # its children did not survive it


def test_wait_ready_calls_on_ready_for_each_service(group: Callable[..., Supervisor], free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}/"
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(free_port)]
    seen: list[tuple[str, float]] = []
    group(command, url).start().wait_ready(BOUND_S, lambda service, seconds: seen.append((service.name, seconds)))
    assert [name for name, _ in seen] == ["toy"]
    assert 0 < seen[0][1] < BOUND_S


def test_wait_ready_raises_after_its_timeout(group: Callable[..., Supervisor], free_port: int, tmp_path: Path) -> None:
    supervisor = group(python("import time; time.sleep(300)"), f"http://127.0.0.1:{free_port}/").start()
    with pytest.raises(ServiceError) as caught:
        supervisor.wait_ready(0.3)
    assert str(caught.value) == f"not ready after 0.3 s: toy (see {tmp_path / 'logs' / 'toy.log'})"


def test_wait_ready_reports_a_failed_service(group: Callable[..., Supervisor]) -> None:
    supervisor = group([sys.executable, "-c", "1/0"], "http://127.0.0.1:9/", max_restarts=0).start()
    with pytest.raises(ServiceError, match=r"toy ended with code 1 \(0 restarts\): ZeroDivisionError: "):
        supervisor.wait_ready(BOUND_S)


def test_a_missing_program_is_reported(group: Callable[..., Supervisor]) -> None:
    message = poll_until_failed(group(["/no/such/program"], max_restarts=0).start())
    assert "code 127 (0 restarts): process guard: cannot start /no/such/program: No such file or directory" in message


def test_a_used_port_is_a_one_line_error(free_port: int) -> None:
    ensure_free("127.0.0.1", free_port, "service")
    with socket.create_server(("127.0.0.1", free_port)):
        with pytest.raises(ConfigurationError) as caught:
            ensure_free("127.0.0.1", free_port, "service")
        process = f"pid {os.getpid()} ({psutil.Process().name()})"
        assert str(caught.value) == (
            f"port {free_port} (service) is taken by {process}; stop it or set TRADEWIND_SERVICE_PORT"
        )
    ensure_free("127.0.0.1", free_port, "service")


def test_an_address_of_another_machine_is_an_error(free_port: int) -> None:
    with pytest.raises(ConfigurationError, match=r"^mlflow cannot listen on 192\.0\.2\.1:\d+: .+; set TRADEWIND_HOST"):
        ensure_free("192.0.2.1", free_port, "mlflow")


def test_equal_service_names_are_an_error(tmp_path: Path) -> None:
    service = Service("a", ["true"], {}, tmp_path / "a.log")
    with pytest.raises(ConfigurationError, match="services need different names; got a more than once"):
        Supervisor([service, service])


def test_tail_reads_only_this_start(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("old\n" + "\n".join(f"line {n}" for n in range(100)))
    assert tail(log, 4, lines=2) == "line 98\nline 99"
    assert tail(log, log.stat().st_size) == ""
    assert tail(log, 1000, lines=1) == "line 99"  # the log was emptied meanwhile
