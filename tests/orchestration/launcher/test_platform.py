"""`tradewind run` as a user starts it: every service, the live daemon, pages in a browser, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import httpx
import psutil
import pytest

from orchestration.settings import Settings
from serving.pointer import read_pointer

pytestmark = pytest.mark.slow

TRADEWIND = str(Path(sys.executable).with_name("tradewind"))
BACKGROUND = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")  # SIGINT ignored, as a script's `tradewind run &` has it
START_S = 180.0
TICK_S = 150.0


def start(settings: Settings, log: Path, *before: str) -> "subprocess.Popen[bytes]":
    """`tradewind run` in a session of its own, so that a signal reaches it alone. before: what starts it."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [*before, TRADEWIND, "run"],
            env={**os.environ, **settings.environment()},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def until(what: Callable[[], bool], seconds: float, platform: "subprocess.Popen[bytes]", log: Path) -> None:
    """Waits for a condition; fails with the platform's own words where it does not come."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():
            return
        assert platform.poll() is None, log.read_text()[-3000:]
        time.sleep(0.3)
    pytest.fail(f"nothing after {seconds:.0f} s; the platform said: {log.read_text()[-3000:]}")


def healthy(settings: Settings) -> bool:
    try:
        return httpx.get(f"{settings.urls['service']}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def of_home(home: Path) -> list[psutil.Process]:
    """Every process that carries this home in its environment: all that the platform started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TRADEWIND_HOME") == str(home) and process.pid != os.getpid():
                found.append(process)
        except psutil.Error:
            continue
    return found


def assert_nobody_left(home: Path) -> None:
    deadline = time.monotonic() + 30
    while of_home(home) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not of_home(home), [p.cmdline() for p in of_home(home)]


@pytest.fixture(scope="module")
def settings(
    tmp_path_factory: pytest.TempPathFactory,
    quick_configuration: Callable[..., Path],
    free_ports: Callable[[], dict[str, int]],
) -> Settings:
    home = tmp_path_factory.mktemp("live")
    return Settings.read(
        home=home,
        config=quick_configuration(home),
        retrain_cron="* * * * *",
        drift_cron="0 0 1 1 *",
        sensor_seconds=5,
        **free_ports(),
    )


@pytest.fixture(scope="module")
def platform(settings: Settings) -> Iterator["subprocess.Popen[bytes]"]:
    log = settings.home / "run.log"
    process = start(settings, log, *BACKGROUND)
    try:
        until(lambda: "Serving until Ctrl-C" in log.read_text(), START_S, process, log)
        yield process
    finally:
        process.kill()
        process.wait(60)


def test_the_summary_tells_addresses_figures_and_a_line_to_try(
    platform: "subprocess.Popen[bytes]", settings: Settings
) -> None:
    said = (settings.home / "run.log").read_text()
    for url in settings.urls.values():
        assert url in said
    assert "ndcg@10" in said.lower()
    (curl,) = [line.strip() for line in said.splitlines() if line.strip().startswith("curl ")]
    answer = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, timeout=30, check=True)
    assert len(json.loads(answer.stdout)["items"]) == 10


def test_strangers_get_a_sensible_list(platform: "subprocess.Popen[bytes]", settings: Settings) -> None:
    url = f"{settings.urls['service']}/predict"
    known = httpx.post(url, json={"user_id": 1}).json()
    stranger = httpx.post(url, json={"user_id": "nobody", "history": [i["item_id"] for i in known["items"][:3]]}).json()
    nobody = httpx.post(url, json={"user_id": "nobody"}).json()
    assert [known["strategy"], stranger["strategy"], nobody["strategy"]] == [
        "known_buyer",
        "history",
        "popularity",
    ]
    assert len(known["items"]) == len(stranger["items"]) == len(nobody["items"]) == 10


PAGES = {
    "dagster": ("/locations/tradewind/jobs", "retraining_job"),
    "service": ("/docs", "/predict"),
    "mlflow": ("/#/models", "tradewind-custom_b2b"),
    "evidently": ("/", "custom_b2b"),
}


@pytest.mark.parametrize("name", PAGES)
def test_every_page_answers_in_a_real_browser(
    platform: "subprocess.Popen[bytes]", settings: Settings, name: str, chromium: str
) -> None:
    from playwright.sync_api import sync_playwright

    path, text = PAGES[name]
    outside: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.on(
            "request",
            lambda r: outside.append(r.url) if not r.url.startswith(("http://127.0.0.1", "data:", "blob:")) else None,
        )
        page.goto(settings.urls[name] + path, wait_until="domcontentloaded")
        page.get_by_text(text).first.wait_for(timeout=60_000)
        browser.close()
    if name == "service":
        assert not outside


def test_schedule_and_sensors_tick_in_the_live_daemon(platform: "subprocess.Popen[bytes]", settings: Settings) -> None:
    log = settings.home / "run.log"
    wanted = {"nightly_retraining", "new_data", "drift", "failed_runs"}
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:

        def ticked() -> set[str]:
            states = instance.all_instigator_state()
            return {
                s.instigator_name for s in states if instance.get_ticks(s.instigator_origin_id, s.selector_id, limit=1)
            }

        def retraining() -> list[dg.DagsterRun]:
            return instance.get_runs(dg.RunsFilter(tags={"cause": "schedule"}))

        until(lambda: wanted <= ticked() and bool(retraining()), TICK_S, platform, log)
        (schedule,) = (state for state in instance.all_instigator_state() if state.name == "nightly_retraining")
        instance.stop_schedule(schedule.instigator_origin_id, schedule.selector_id)  # one retraining is enough
        until(lambda: any(run.status is dg.DagsterRunStatus.SUCCESS for run in retraining()), TICK_S, platform, log)


def test_a_rollback_is_served_without_a_restart(platform: "subprocess.Popen[bytes]", settings: Settings) -> None:
    log = settings.home / "run.log"
    until(
        lambda: (read_pointer(settings.pointer) or pytest.fail("no champion")).version > 1,
        TICK_S,
        platform,
        log,
    )
    live = read_pointer(settings.pointer)
    assert live is not None
    env = {**os.environ, **settings.environment()}
    subprocess.run([TRADEWIND, "release", "rollback"], env=env, check=True, timeout=120, capture_output=True)
    back = read_pointer(settings.pointer)
    assert back is not None

    def served() -> bool:
        return bool(httpx.get(f"{settings.urls['service']}/health").json()["version"] == back.version)

    until(served, 30, platform, log)


def test_a_platform_in_the_background_heeds_sigterm_after_its_training(
    platform: "subprocess.Popen[bytes]", settings: Settings
) -> None:
    """The last test on the shared platform."""
    platform.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        platform.wait(1.5)
    platform.send_signal(signal.SIGTERM)
    assert platform.wait(40) == 128 + signal.SIGTERM
    assert "Traceback" not in (settings.home / "run.log").read_text()
    assert_nobody_left(settings.home)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_whatever_ends_it(
    number: signal.Signals,
    tmp_path: Path,
    quick_configuration: Callable[..., Path],
    free_ports: Callable[[], dict[str, int]],
) -> None:
    settings = Settings.read(home=tmp_path, config=quick_configuration(tmp_path), **free_ports())
    log = tmp_path / "run.log"
    process = start(settings, log)
    until(lambda: len(of_home(tmp_path)) >= 8, 60, process, log)
    process.send_signal(number)
    code = process.wait(30)
    assert code == {signal.SIGINT: 130, signal.SIGKILL: -signal.SIGKILL}[number]
    assert "Traceback" not in log.read_text()
    assert_nobody_left(tmp_path)
