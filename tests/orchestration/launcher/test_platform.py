"""`tradewind run` as a user starts it: all services, the daemon, pages in a browser, and no process left at the end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import httpx
import psutil
import pytest
from dagster._core.scheduler.instigation import TickStatus
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from monitoring.alerts.listing import open_incidents
from orchestration.cli.release import release_rollback
from orchestration.drift_review import reviews_of
from orchestration.settings import Settings
from serving.champion.pointer import read_pointer
from serving.release.registry import Registry

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow

TRADEWIND = str(Path(sys.executable).with_name("tradewind"))
BACKGROUND = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")  # SIGINT ignored, as for `tradewind run &` in a script
START_S = 180.0
TICK_S = 150.0
ENDED = (TickStatus.SUCCESS, TickStatus.SKIPPED)
# test_runs.py trains all models; here they would be trained three times
LEFT_OUT = ("neural_collaborative", "sasrec", "content_based", "collaborative_filtering", "hybrid")


def start(settings: Settings, log: Path, *before: str) -> "subprocess.Popen[bytes]":
    """`tradewind run` in its own session, so that a signal reaches only it. before: the command that starts it."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [*before, TRADEWIND, "run"],
            env={**os.environ, **settings.environment()},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def until(condition: Callable[[], bool], seconds: float, platform: "subprocess.Popen[bytes]", log: Path) -> None:
    """Waits for a condition; fails with the output of the platform if it does not become true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        assert platform.poll() is None, log.read_text()[-3000:]
        time.sleep(0.3)
    pytest.fail(f"nothing after {seconds:.0f} s; output of the platform: {log.read_text()[-3000:]}")


def live_version(settings: Settings) -> int:
    pointer = read_pointer(settings.pointer)
    assert pointer is not None
    return pointer.version


def healthy(settings: Settings) -> bool:
    try:
        return httpx.get(f"{settings.urls['service']}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def processes_of(home: Path) -> list[psutil.Process]:
    """All processes with this home in their environment: those that the platform started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TRADEWIND_HOME") == str(home) and process.pid != os.getpid():
                found.append(process)
        except psutil.Error:
            continue
    return found


def assert_no_process_left(home: Path) -> None:
    deadline = time.monotonic() + 30
    while processes_of(home) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not processes_of(home), [p.cmdline() for p in processes_of(home)]


@pytest.fixture(scope="module")
def settings(
    tmp_path_factory: pytest.TempPathFactory,
    quick_configuration: Callable[..., Path],
    free_ports: Callable[[], dict[str, int]],
) -> Settings:
    home = tmp_path_factory.mktemp("live")
    return Settings.read(
        home=home,
        config=quick_configuration(home, **{name: {"enabled": False} for name in LEFT_OUT}),
        retrain_cron="* * * * *",
        feedback_weights={"purchase": 1.0},
        feedback_share=1e-9,  # one event is enough for a retraining
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


def test_the_summary_has_addresses_results_and_an_example_request(
    platform: "subprocess.Popen[bytes]", settings: Settings
) -> None:
    output = (settings.home / "run.log").read_text()
    for url in settings.urls.values():
        assert url in output
    assert "ndcg@10" in output.lower()
    first, last = [line.strip() for line in output.splitlines() if line.strip().startswith("curl ")]
    assert first == last
    answer = subprocess.run(["bash", "-c", last], capture_output=True, text=True, timeout=30, check=True)
    assert len(json.loads(answer.stdout)["items"]) == 10


def test_a_quick_model_serves_until_the_gate_has_compared_the_best_of_all_with_it(
    platform: "subprocess.Popen[bytes]", settings: Settings
) -> None:
    output = (settings.home / "run.log").read_text()
    assert output.index("Answering after") < output.index("hybrid_learned  ")  # the step that fits it
    first, second = sorted(Registry(settings).versions("custom_b2b"), key=lambda version: version.number)[:2]
    quick = settings.training.quick()
    assert quick is not None
    assert first.recipe == quick.recipe()
    assert first.model in quick.enabled()
    assert (second.model, second.recipe) == ("hybrid_learned", settings.training.recipe())
    assert second.gate_record is not None
    assert second.gate_record["champion"] == f"version 1 ({first.model})"
    assert second.gate_record["versus_champion"]["users"] > 0


def test_unknown_users_get_a_list_from_their_history_or_popularity(
    platform: "subprocess.Popen[bytes]", settings: Settings
) -> None:
    url = f"{settings.urls['service']}/predict"
    known = httpx.post(url, json={"user_id": 1}).json()
    with_history = httpx.post(
        url, json={"user_id": "unknown", "history": [i["item_id"] for i in known["items"][:3]]}
    ).json()
    without_history = httpx.post(url, json={"user_id": "unknown"}).json()
    assert [known["strategy"], with_history["strategy"], without_history["strategy"]] == [
        "known_user",
        "history",
        "popularity",
    ]
    assert len(known["items"]) == len(with_history["items"]) == len(without_history["items"]) == 10


def families(url: str) -> dict[str, Metric]:
    """Name, as docs/metrics.md has it -> the metric with its values, as a scrape reads it."""
    text = httpx.get(f"{url}/metrics", timeout=10).text
    found = [family for family in text_string_to_metric_families(text) if family.name.startswith("tradewind_")]
    return {
        family.name + "_total" * (family.type == "counter"): family
        for family in found
        if not family.name.endswith("_created")
    }


def test_prometheus_gets_all_figures_of_the_page_of_metrics(
    platform: "subprocess.Popen[bytes]", settings: Settings, documented_metrics: Callable[[str], dict[str, Any]]
) -> None:
    for name, section in (("service", "service"), ("metrics", "platform")):
        documented, shown = documented_metrics(section), families(settings.urls[name])
        assert shown.keys() == documented.keys()
        for metric, family in shown.items():
            for sample in family.samples:
                assert sample.labels.keys() - {"le"} == documented[metric].labels, metric
    figures = {(s.name, *s.labels.values()): s.value for family in shown.values() for s in family.samples}
    readings = {value for (name, *_), value in figures.items() if name == "tradewind_reading_success"}
    assert readings == {1.0}, (settings.logs / "metrics.log").read_text()
    heartbeats = {key[1]: at for key, at in figures.items() if key[0] == "tradewind_daemon_heartbeat_timestamp_seconds"}
    assert {"sensor", "scheduler"} <= heartbeats.keys()
    assert all(abs(time.time() - at) < 300 for at in heartbeats.values())
    assert figures["tradewind_runs", "success"] >= 1
    assert figures["tradewind_newest_event_timestamp_seconds", "custom_b2b"] > 1.7e9
    assert figures["tradewind_report_timestamp_seconds", "custom_b2b", "evaluation"] > time.time() - 3600
    assert figures["tradewind_home_bytes", "lake"] > 1e6


PAGES = {
    "dagster": ("/locations/tradewind/jobs", "retraining_job"),
    "service": ("/docs", "/predict"),
    "mlflow": ("/#/models", "tradewind-custom_b2b"),
    "evidently": ("/", "custom_b2b"),
}


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.mark.parametrize("name", PAGES)
def test_every_page_answers_in_a_real_browser(
    platform: "subprocess.Popen[bytes]", settings: Settings, name: str, browser: "Browser"
) -> None:
    path, text = PAGES[name]
    outside: list[str] = []
    with browser.new_context() as context:
        page = context.new_page()
        page.on(
            "request",
            lambda r: outside.append(r.url) if not r.url.startswith(("http://127.0.0.1", "data:", "blob:")) else None,
        )
        page.goto(settings.urls[name] + path, wait_until="domcontentloaded")
        page.get_by_text(text).first.wait_for(timeout=60_000)
    if name == "service":
        assert not outside


def purchases(settings: Settings) -> None:
    """Posts the three weeks after the log: those before, with one in four of the purchases outside one category."""
    log, items = (settings.tables.read(name).to_pandas() for name in ("interactions", "items"))
    weeks = timedelta(days=21)
    newest = log[log["timestamp"] > log["timestamp"].max() - weeks]
    chosen = newest["item_id"].isin(items.loc[items["category"] == "electronics", "item_id"])
    events = [
        {
            **{name: row[name] for name in ("user_id", "item_id", "quantity", "unit_price")},
            "event_id": f"next-{n}",
            "event": "purchase",
            "order_id": f"next-{row['order_id']}",
            "timestamp": (row["timestamp"] + weeks).isoformat(),
        }
        for n, row in enumerate(newest[chosen | (newest.index % 4 == 0)].to_dict("records"))
    ]
    for begin in range(0, len(events), 400):
        part = events[begin : begin + 400]
        answer = httpx.post(f"{settings.urls['service']}/events", json={"events": part}, timeout=30)
        assert answer.json()["stored"] == len(part)


def test_schedule_and_sensors_tick_and_purchases_start_one_retraining(
    platform: "subprocess.Popen[bytes]", settings: Settings
) -> None:
    log = settings.home / "run.log"
    wanted = {"nightly_retraining", "new_data", "monitoring", "rollback", "failed_runs", "succeeded_runs", "alerts"}
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:

        def ticked() -> set[str]:
            states = instance.all_instigator_state()
            ticks = {s.instigator_name: instance.get_ticks(s.instigator_origin_id, s.selector_id) for s in states}
            failed = [tick.error for found in ticks.values() for tick in found if tick.is_failure]
            assert not failed, failed
            return {name for name, found in ticks.items() if any(tick.status in ENDED for tick in found)}

        def retraining() -> list[dg.DagsterRun]:
            """Those that the sensor or the schedule started, whichever was first."""
            return instance.get_runs(dg.RunsFilter(tags={"cause": ["new feedback", "schedule"]}))

        until(lambda: wanted <= ticked(), TICK_S, platform, log)
        purchases(settings)
        until(lambda: any(run.status is dg.DagsterRunStatus.SUCCESS for run in retraining()), TICK_S, platform, log)
        assert len(retraining()) == 1


def test_a_person_materialises_the_drift_report_reviews_it_and_retrains(
    platform: "subprocess.Popen[bytes]", settings: Settings, browser: "Browser"
) -> None:
    """The purchases before changed the shares of the categories."""

    def incidents() -> list[str]:
        return [one.key for one in open_incidents(settings.alerts.outbox)]

    assert "drift/custom_b2b" in incidents()
    with browser.new_context(viewport={"width": 1500, "height": 1100}) as context:
        context.set_default_timeout(60_000)
        page = context.new_page()
        materialise(page, settings, "drift_report")
        with context.expect_page() as opened:
            page.locator(f"a[href^='{settings.urls['evidently']}/projects']").first.click()
        opened.value.get_by_text("Drift is detected for").first.wait_for()
        opened.value.close()
        link = page.get_by_role("link", name="in the launchpad of review_drift").first
        launchpad = (
            page.get_by_role("link", name="in the launchpad of retraining_job").first.get_attribute("href") or ""
        )
        page.goto(link.get_attribute("href") or "", wait_until="domcontentloaded")
        page.locator(".CodeMirror-line", has_text="why:").first.click()
        page.keyboard.press("Control+End")
        page.keyboard.type('"spring sale"')
        page.keyboard.press("ArrowUp")
        page.keyboard.press("End")
        page.keyboard.type("Ann")
        page.get_by_role("button", name="Launch run").click()
        page.get_by_text("Success").first.wait_for()
        page.goto(f"{settings.urls['dagster']}/assets/drift_report?view=events", wait_until="domcontentloaded")
        page.get_by_text("acknowledged by Ann").first.wait_for()
        retrain(page, settings, launchpad)
    (review,) = reviews_of(settings).entries()
    assert "category" in review.columns
    assert "drift/custom_b2b" not in incidents()


def retrain(page: "Page", settings: Settings, link: str) -> None:
    """Starts a retraining in the launchpad, and waits until the page of the champion shows its promotion."""
    before = live_version(settings)
    page.goto(link, wait_until="domcontentloaded")
    page.get_by_text("partition: custom_b2b").first.wait_for()
    page.get_by_role("button", name="Launch Run").click()
    await_run_of_a_person(settings, "retraining_job")
    page.goto(f"{settings.urls['dagster']}/assets/champion", wait_until="domcontentloaded")
    page.get_by_text("gate record").first.wait_for()
    page.get_by_role("row").filter(has_text="promoted").get_by_text("true").wait_for()
    page.get_by_role("row").filter(has_text="version").get_by_text(str(before + 1), exact=True).wait_for()
    assert live_version(settings) == before + 1


def materialise(page: "Page", settings: Settings, asset: str) -> None:
    """Materialises an asset of custom_b2b by the button on its page, and waits until the page shows the new run."""
    page.goto(f"{settings.urls['dagster']}/assets/{asset}", wait_until="domcontentloaded")
    page.get_by_role("button", name="Materialize").first.click()
    page.get_by_text("Select a partition or create one").click()
    page.get_by_text("Select all").first.wait_for()
    page.keyboard.type("custom_b2b")
    page.get_by_text("Select all (1)").click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Launch 1 run").click()
    await_run_of_a_person(settings, "__ASSET_JOB")
    page.reload(wait_until="domcontentloaded")


def await_run_of_a_person(settings: Settings, job: str) -> None:
    """Waits until a run of the job has succeeded that a person started on a page: it has no cause."""
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        runs = dg.RunsFilter(job_name=job, statuses=[dg.DagsterRunStatus.SUCCESS])
        deadline = time.monotonic() + 120
        while not any("cause" not in run.tags for run in instance.get_runs(runs)):
            assert time.monotonic() < deadline
            time.sleep(0.3)


def test_a_rollback_is_served_without_a_restart(
    platform: "subprocess.Popen[bytes]", settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = settings.home / "run.log"
    until(
        lambda: (read_pointer(settings.pointer) or pytest.fail("no champion")).version > 1,
        TICK_S,
        platform,
        log,
    )
    live = read_pointer(settings.pointer)
    assert live is not None
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    release_rollback()
    back = read_pointer(settings.pointer)
    assert back is not None

    def served() -> bool:
        return bool(httpx.get(f"{settings.urls['service']}/health").json()["version"] == back.version)

    until(served, 30, platform, log)


def test_a_platform_in_the_background_ends_at_sigterm_after_its_training(
    platform: "subprocess.Popen[bytes]", settings: Settings
) -> None:
    """The last test on the shared platform."""
    platform.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        platform.wait(1.5)
    platform.send_signal(signal.SIGTERM)
    assert platform.wait(40) == 128 + signal.SIGTERM
    assert "Traceback" not in (settings.home / "run.log").read_text()
    assert_no_process_left(settings.home)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_after_any_signal(number: signal.Signals, settings: Settings) -> None:
    """A platform that starts again in the home of the shared one, which has ended, has nothing to train."""
    log = settings.home / "again.log"
    process = start(settings, log)
    until(lambda: len(processes_of(settings.home)) >= 8, 60, process, log)
    process.send_signal(number)
    code = process.wait(30)
    assert code == {signal.SIGINT: 130, signal.SIGKILL: -signal.SIGKILL}[number]
    assert "Traceback" not in log.read_text()
    assert_no_process_left(settings.home)
