"""Feedback from the store to the champion: the next training learns from it, and each event counts once."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.compute as pc
import pytest

from orchestration.assets.feedback import why_not
from orchestration.assets.tables import last_event
from orchestration.io_manager import TableVersion
from orchestration.jobs import DRIFT, RETRAINING
from orchestration.launcher import platform_state
from orchestration.launcher.runs import materialise, upstream
from orchestration.resources import Dataset, resources
from orchestration.settings import Settings
from recommenders.clock import drill_clock, set_time
from recommenders.datasets.reading.counted_feedback import PASSED_OVER
from recommenders.datasets.store import SourcePart
from recommenders.models.all_models import MODELS
from recommenders.storage.feedback_position import Position
from recommenders.storage.feedback_reader import collect
from serving.champion.watcher import ChampionWatcher
from serving.feedback.events import StoredEvent
from serving.feedback.recent_events import RecentEvents
from serving.feedback.store import FeedbackStore
from serving.release.registry import Registry

EVENT = StoredEvent("e", "purchase", "new user", "new item", 0, 0, quantity=3.0)
NAME = "custom_b2b"


@pytest.fixture
def settings(
    tmp_path: Path, make_settings: Callable[..., Settings], quick_configuration: Callable[..., Path]
) -> Settings:
    """A small market whose feedback counts, and one model, which is fitted in no time."""
    others = {name: {"enabled": False} for name in MODELS if name != "popularity"}
    config = quick_configuration(tmp_path / "configuration", **others)
    return make_settings(tmp_path / "home", config=config, dataset=NAME, feedback_weights={"purchase": 1.0})


def tables_of(settings: Settings) -> list[str]:
    return upstream(settings, "interactions")


def metadata(settings: Settings, asset: str) -> dict[str, Any]:
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(asset))
        assert event is not None
        assert event.asset_materialization is not None
        return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def newest(settings: Settings) -> int:
    """The time of the newest event of the tables."""
    times = settings.tables.read("interactions")["timestamp"]
    return int(pc.max(times).value)


def send(settings: Settings, events: Sequence[StoredEvent]) -> None:
    store = FeedbackStore(settings.feedback_store, settings.dataset)
    store.append(events)
    store.close()


def after(time: int, number: int, **changes: Any) -> StoredEvent:
    """A purchase some seconds after a time."""
    return replace(EVENT, event_id=f"e{number}", timestamp=time + number * 1_000_000, **changes)


@pytest.mark.slow
def test_the_next_training_learns_from_feedback_and_a_rollback_forgets_it(settings: Settings) -> None:
    materialise(settings, tables_of(settings))
    assert metadata(settings, "feedback")["reads"].startswith("nothing: there is no feedback store yet")
    plain, until = settings.tables.current(), newest(settings)
    known = settings.tables.read("interactions")["user_id"][0].as_py()
    send(settings, [after(until, 1), after(until, -5), after(until, 2, user_id=known, event="impression")])
    materialise(settings, upstream(settings, "champion"))

    log = settings.tables.read("interactions").filter(pc.field("user_id") == "new user").to_pylist()
    assert [(row["item_id"], row["event"], row["quantity"]) for row in log] == [("new item", "purchase", 3.0)]
    shown = metadata(settings, "feedback")
    assert (shown["events: purchase"], shown["new since the last run"], shown["sequence"]) == (2, 2, 2)
    assert "events: impression" not in shown
    shown = metadata(settings, "interactions")
    assert (shown["kept feedback"], shown["excluded"][PASSED_OVER]) == (1, 1)
    first = settings.tables.current()
    assert first.data_version != plain.data_version == first.source_version
    assert platform_state.present_origin(settings)[0] == first.data_version
    watcher = ChampionWatcher(settings.pointer)
    watcher.poll()
    champion = watcher.champion
    assert champion.feedback_position == Position(2, "e-5")
    assert champion.predictor.predict("new user", [], 3).strategy == "known_user"
    assert Registry(settings).champion(NAME).tags["feedback_sequence"] == "2"

    files = settings.feedback_files.paths()
    materialise(settings, tables_of(settings))  # nothing new
    assert (settings.feedback_files.paths(), settings.tables.current()) == (files, first)
    assert metadata(settings, "feedback")["new since the last run"] == 0

    send(settings, [after(until, 3, item_id="another item")])
    materialise(settings, upstream(settings, "champion"))
    recent = RecentEvents(FeedbackStore(settings.feedback_store, NAME), lambda: watcher.champion)
    watcher.poll()
    recent.poll()
    second = watcher.champion
    assert second.pointer.version == 2
    assert recent.items("new user", second.feedback_position) == []
    row = second.predictor.model.users_.row("new user")
    assert second.predictor.model.histories_.counts[row] == 2
    Registry(settings).rollback(NAME)
    watcher.poll()
    recent.poll()
    assert watcher.champion.pointer.version == 1
    assert recent.items("new user", watcher.champion.feedback_position) == ["another item"]


@pytest.mark.slow
def test_a_run_after_late_events_only_moves_the_position(settings: Settings) -> None:
    """Late events change nothing that is learned, so the tables stay. But a new model has taken them into account."""
    materialise(settings, tables_of(settings))
    until, before = newest(settings), settings.tables.current()
    send(settings, [after(until, -1), after(until, 0)])
    materialise(settings, tables_of(settings))
    assert settings.tables.current() == before
    stored = resources(settings)["lake"].table_version(NAME)
    assert stored == TableVersion(before.number, before.data_version, Position(2, "e0"))
    silent = settings.model_copy(update={"feedback_weights": {}})
    send(settings, [after(until, 4)])
    materialise(silent, tables_of(silent))
    assert resources(settings)["lake"].table_version(NAME).position is None
    assert "see the setting TRADEWIND_FEEDBACK_WEIGHTS" in metadata(settings, "feedback")["reads"]
    assert len(settings.feedback_files.paths()) == 1
    assert settings.tables.current() == before


def test_the_tables_take_into_account_what_was_read_but_a_restored_version_does_not(settings: Settings) -> None:
    Dataset(settings).ingest()
    version, read = settings.tables.current(), Position(7, "e7")
    assert last_event(version, None) is None
    assert last_event(version, read) == read
    assert last_event(replace(version, restored_from=0), read) is None
    later = replace(version, source=SourcePart("", 0, Position(9, "e9")))  # more was read while the tables were made
    assert last_event(later, read) == Position(9, "e9")


@pytest.mark.parametrize(("job", "days", "reads"), [(DRIFT, 0, False), (DRIFT, 1, True), (RETRAINING, 0, True)])
def test_the_hourly_job_reads_feedback_once_a_day(settings: Settings, job: str, days: int, reads: bool) -> None:
    """Each reading makes new tables. Only a retraining reads at any time."""
    dataset = Dataset(settings)
    assert why_not(dataset, DRIFT) == ""  # there are no tables yet
    clock = settings.home / "clock"
    with drill_clock(clock):
        set_time(clock, datetime(2026, 5, 4, 13, tzinfo=UTC))
        dataset.ingest()
        set_time(clock, datetime(2026, 5, 4, 23, tzinfo=UTC) + timedelta(days=days))
        why = why_not(dataset, job)
    assert why == ("" if reads else "the tables of 2026-05-04 are there; a retraining reads at once")


def test_new_feedback_is_what_a_version_was_not_trained_on(settings: Settings) -> None:
    settings = settings.model_copy(update={"feedback_share": 0.001})
    dataset = Dataset(settings)
    assert dataset.new_feedback(None) == (0, 0)  # there are no tables yet
    dataset.ingest()
    until, needed = newest(settings), round(0.001 * settings.tables.current().counts.kept)
    assert dataset.new_feedback(None) == (0, needed)  # there is no store yet
    send(settings, [after(until, 1), after(until, 0), after(until, 3, event="cart")])
    assert dataset.new_feedback(None) == (1, needed)
    assert Dataset(settings.model_copy(update={"feedback_weights": {}})).new_feedback(None) == (0, 0)
    collect(dataset.feedback_store, dataset.feedback)
    assert dataset.data_version() != settings.tables.current().data_version
    dataset.ingest()
    assert dataset.data_version() == settings.tables.current().data_version
    assert dataset.new_feedback(None) == (1, needed)  # in the tables, but in no version
    assert dataset.new_feedback(Position(3, "e3"))[0] == 0
    send(settings, [after(until, number) for number in range(10, 100)])
    assert dataset.new_feedback(Position(3, "e3"))[0] == needed  # it counts no further
