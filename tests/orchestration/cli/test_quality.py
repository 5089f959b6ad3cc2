"""`tradewind quality`, and the assets that judge the served lists, on a real store."""

import json
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg

from monitoring.alerts.listing import open_incidents
from monitoring.online.daily import ONLINE_QUALITY
from orchestration.assets.json_outputs import QualityMonitor
from orchestration.assets.online_quality import attribution, metadata
from orchestration.assets.quality_monitor import quality_monitor
from orchestration.definitions import definitions
from orchestration.io_manager import form_of
from orchestration.jobs import DRIFT
from orchestration.resources import Datasets
from orchestration.settings import Settings
from serving.feedback.events import StoredEvent
from serving.feedback.store import FeedbackStore
from serving.feedback.stored_answer import StoredAnswer

DAY = 86_400_000_000
NAME = "custom_b2b"
ITEMS = [{"item_id": 4001, "rank": 1, "score": 0.3}, {"item_id": 17, "rank": 2, "score": None}]  # numbers, as sent


def run(settings: Settings) -> dict[str, Any]:
    """The metadata of a run of the asset by the hourly job."""
    job = definitions(settings).resolve_job_def(DRIFT)
    with dg.DagsterInstance.ephemeral() as instance:
        done = job.execute_in_process(
            instance=instance, partition_key=NAME, asset_selection=[dg.AssetKey("online_quality")]
        )
    (shown,) = done.asset_materializations_for_node("online_quality")
    return {name: value.value for name, value in shown.metadata.items()}


def fill(settings: Settings, now: int) -> None:
    """A list of eleven days ago, whose first item was bought, and one of an hour ago."""
    store = FeedbackStore(settings.feedback_store, NAME)
    made_by = ("for_you", "known_user", "hybrid", 3, "{}", [], ITEMS)
    store.append_answers(
        [StoredAnswer(f"r{n}", now - ago, "1", *made_by) for n, ago in enumerate([11 * DAY, DAY // 24])]
    )
    bought = now - 11 * DAY + 1
    store.append([StoredEvent("e1", "purchase", "1", "4001", bought, bought, "r0", None, 2.0, 5.0)])
    store.append([StoredEvent("e2", "click", "2", "9", now, now)])
    store.close()


def test_the_hourly_job_judges_the_served_lists_and_the_command_prints_them(
    tmp_path: Path,
    make_settings: Callable[..., Settings],
    run_here: Callable[..., "subprocess.CompletedProcess[str]"],
) -> None:
    settings = make_settings(tmp_path / "home", dataset=NAME)
    missing = run_here("quality", "--dataset", NAME, home=settings.home)
    assert missing.returncode == 2
    assert "custom_b2b has no online quality yet; it is computed every hour" in missing.stderr
    assert run(settings)["days"].startswith("none: no list is stored yet")
    assert "| day" in run_here("quality", "--dataset", NAME, home=settings.home).stdout

    fill(settings, time.time_ns() // 1000)
    shown = run(settings)
    assert shown["days"] == 2
    assert shown["trend"].startswith("![trend](data:image/png;base64,")
    assert "warning" not in shown
    assert "purchase within 7 days" in shown["attribution"]
    assert shown["last mature day"] in shown["by version"]
    assert "| 3" in shown["by version"]
    printed = run_here("quality", "--dataset", NAME, home=settings.home).stdout.splitlines()
    assert "not yet mature" in printed[2]  # the newest day first
    assert "answers" in printed[3]
    one_day = json.loads(run_here("quality", "--json", "--days", "1", "--dataset", NAME, home=settings.home).stdout)
    assert [(row["mature"], row["n_lists"], row["ndcg"]) for row in one_day] == [(False, 1, None)]
    slots = json.loads(run_here("quality", "--by", "slot", "--json", "--dataset", NAME, home=settings.home).stdout)
    assert [(row["value"], row["n_bought"], row["revenue"]) for row in slots[2:]] == [("1", 1, 10.0), ("2", 0, 0.0)]
    header = run_here("quality", "--by", "slot", "--dataset", NAME, home=settings.home).stdout.splitlines()[0]
    assert [name in header for name in ("slot", "purchase through", "recall", "sessions")] == [True, True, False, False]
    wrong = run_here("quality", "--by", "planet", "--dataset", NAME, home=settings.home)
    assert (wrong.returncode, "got 'planet'; allowed: all, version" in wrong.stderr) == (2, True)


def test_windows_and_relevant_events_are_those_of_settings_and_protocol(
    tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    settings = make_settings(tmp_path, dataset=NAME, click_hours=2, purchase_days=3, session_minutes=10, answer_days=4)
    rules = attribution(settings, settings.spec)
    assert (rules.click_hours, rules.purchase_days, rules.session_minutes, rules.relevant) == (2, 3, 10, ("purchase",))
    assert attribution(settings, settings.specs["retailrocket"]).relevant == ("cart", "purchase")
    assert attribution(settings, settings.specs["movielens"]).relevant == ("rating",)
    shown = metadata(ONLINE_QUALITY.empty_table(), NAME, settings, rules)
    assert "so no day becomes mature; allowed: 5 or more" in shown["warning"]


def test_the_monitor_puts_a_fall_of_the_quality_down_to_the_release(
    tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    """Three weeks of lists that are bought, by version 7, and one week of others, by version 8."""
    settings, now = make_settings(tmp_path, dataset=NAME), time.time_ns() // 1000
    store, begin = FeedbackStore(settings.feedback_store, NAME), now // DAY * DAY - 36 * DAY
    lists, bought = [], []
    for week, (version, item) in enumerate([(7, "4001")] * 3 + [(8, "999")]):
        for user in range(40):
            time_ = begin + (7 * week + user % 7) * DAY
            made_by = ("for_you", "known_user", "hybrid", version, "{}", [], ITEMS)
            lists.append(StoredAnswer(f"r{week}-{user}", time_, str(user), *made_by))
            chosen = item if user % 4 else "17"  # the second item of the list
            bought.append(StoredEvent(f"e{week}-{user}", "purchase", str(user), chosen, time_ + 9, time_ + 9))
    store.append_answers(lists)
    store.append([*bought, StoredEvent("last", "click", "1", "9", now, now)])
    store.close()

    def monitor(champion: SimpleNamespace | None) -> QualityMonitor:
        context = dg.build_asset_context(partition_key=NAME)
        pointer = SimpleNamespace(earlier=(7,))
        registry = SimpleNamespace(champion=lambda _dataset: champion, pointer=lambda _dataset: pointer)
        return quality_monitor(context, settings=settings, datasets=Datasets(settings), registry=registry)

    assert monitor(None).release.reason == "no version serves yet"
    released = datetime.fromtimestamp((begin + 21 * DAY) / 1e6, UTC)
    found = monitor(SimpleNamespace(number=8, promoted_at=released))
    assert (found.version, found.release.fell, found.decay.fell) == (8, True, False)
    (incident,) = open_incidents(settings.alerts.outbox)
    assert incident.key == f"quality fall/{NAME}"
    path = tmp_path / "monitor.json"
    form_of(QualityMonitor).save(found, path)
    assert form_of(QualityMonitor).load(path) == found
    assert found.silence == ""
    earlier = monitor(SimpleNamespace(number=7, promoted_at=released - timedelta(days=21)))  # as if rolled back
    assert not earlier.decay.fell
    assert open_incidents(settings.alerts.outbox) == []
