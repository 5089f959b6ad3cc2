"""The sensors that act on what monitoring found: what they start, what they take back, and what they record."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from monitoring.alerts.listing import recent_alerts
from monitoring.drift.feed.problems import FeedProblem
from monitoring.drift.report import DriftReport, Window
from monitoring.drift.reviews import Review, Verdict
from monitoring.online.falls import QualityFall
from orchestration.assets.json_outputs import QualityMonitor
from orchestration.drift_review import reviews_of
from orchestration.io_manager import Lake, form_of
from orchestration.jobs import RETRAINING
from orchestration.launcher.dagster_internals import origin
from orchestration.resources import resources
from orchestration.sensors.monitoring import decisions, monitoring_sensor, rollback_sensor, windows_since
from orchestration.settings import Settings
from recommenders.errors import ReleaseError
from serving.champion.pointer import Pointer
from serving.release.versions import Version, promoted_tags, rolled_back_tags
from serving.settings import PROJECT

NAME = "online_retail"
NOON = datetime(2010, 12, 9, 12, tzinfo=UTC)
WEEK = timedelta(days=7)
LASTING = (("category",), (), ("category",))
PRICES = FeedProblem("unit_price", 1.0, 0.0, 0.9, "unit_price has a value in 0% of the newest events")
FINE = QualityFall(False, "no fall")
FELL = QualityFall(True, "the quality fell")


@pytest.fixture
def settings(tmp_path: Path, make_settings: Callable[..., Settings]) -> Settings:
    return make_settings(tmp_path / "home", dataset=NAME)


def poll(
    sensor: dg.SensorDefinition, settings: Settings, instance: dg.DagsterInstance, cursor: str | None, **replaced: Any
) -> tuple[dg.RunRequest | None, str, str | None, list[Any]]:
    """One tick: its request, the reason for none, the new cursor, and the recorded decisions."""
    given = resources(settings) | replaced
    with dg.build_sensor_context(instance=instance, cursor=cursor, resources=given) as context:
        result = sensor(context)
        if isinstance(result, dg.SkipReason):
            return None, result.skip_message or "", context.cursor, []
    assert isinstance(result, dg.SensorResult)
    why = result.skip_reason
    message = why.skip_message if isinstance(why, dg.SkipReason) else why
    return next(iter(result.run_requests or ()), None), message or "", result.cursor, list(result.asset_events)


def report_drift(
    instance: dg.DagsterInstance,
    settings: Settings,
    recent: tuple[tuple[str, ...], ...] = LASTING,
    end: datetime | None = NOON,
    **more: Any,
) -> None:
    """A drift report in the lake, and its event, which has no metadata, in the instance."""
    window = Window(end and end - WEEK, end, 900)
    report = DriftReport(True, True, (), window, window, (), "prices moved", recent=recent, data_version="new", **more)
    report.save(Lake(root=str(settings.lake)).path(NAME, "drift_report", DriftReport))
    instance.report_runless_asset_event(dg.AssetMaterialization("drift_report", partition=NAME))


def report_quality(settings: Settings, version: int, release: QualityFall = FINE, decay: QualityFall = FINE) -> None:
    path = Lake(root=str(settings.lake)).path(NAME, "quality_monitor", QualityMonitor)
    path.parent.mkdir(parents=True, exist_ok=True)
    form_of(QualityMonitor).save(QualityMonitor(NAME, version, release, decay), path)


def start_retraining(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED, **tags: str
) -> None:
    """A retraining in the instance, by default one that is running."""

    @dg.job(name=RETRAINING)
    def job() -> None: ...

    place = origin(RETRAINING, PROJECT / "workspace.yaml")  # a queued run must have one
    instance.create_run_for_job(job, status=status, tags={"dagster/partition": NAME, **tags}, remote_job_origin=place)


def champion_of(**values: Any) -> Any:
    """A registry whose champion has these values."""
    champion = SimpleNamespace(**{"number": 3, "data_version": "old", "trained_until": None} | values)
    return SimpleNamespace(champion=lambda _dataset: champion)


def test_lasting_drift_starts_one_retraining_per_window(settings: Settings) -> None:
    sensor = monitoring_sensor(settings)
    with dg.DagsterInstance.ephemeral() as instance:
        report_drift(instance, settings)
        request, why, first, _ = poll(sensor, settings, instance, None)
        assert (request, why) == (None, "first poll: the newest drift report is stored")
        assert poll(sensor, settings, instance, first)[1] == "no drift report since the first poll"
        report_drift(instance, settings)
        request, _, cursor, recorded = poll(sensor, settings, instance, first)
        assert request is not None
        assert (request.tags["cause"], request.run_key) == ("drift", "drift:2010-12-09T12:00:00Z:none")
        assert request.partition_key == NAME
        (decision,) = recorded
        assert (decision.asset_key, decision.partition) == (decisions.key, NAME)
        assert decision.metadata["done"].value is True
        assert "category drifted in 2 or more" in decision.metadata["reason"].value
        again, _, _, recorded = poll(sensor, settings, instance, cursor)  # the daemon was killed before it started it
        assert again is not None
        assert (again.run_key, recorded) == (request.run_key, [])  # Dagster starts one run per key
        report_drift(instance, settings, end=NOON + WEEK)
        other, _, _, recorded = poll(sensor, settings, instance, cursor)
        assert other is not None
        assert other.run_key != request.run_key


def test_before_the_first_report_nothing_is_compared(settings: Settings) -> None:
    sensor = monitoring_sensor(settings)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("drift_report", partition="custom_b2b"))
        cursor = poll(sensor, settings, instance, None)[2]
        assert cursor == "0"
        assert poll(sensor, settings, instance, cursor)[1] == "no drift report since the first poll"
        report_drift(instance, settings, end=None)
        assert poll(sensor, settings, instance, cursor)[:2] == (None, "prices moved")


def test_drift_of_one_window_has_to_be_confirmed(settings: Settings) -> None:
    """By a second window, or by a fall of the quality of the champion's lists."""
    sensor, registry = monitoring_sensor(settings), champion_of()
    with dg.DagsterInstance.ephemeral() as instance:
        report_drift(instance, settings, recent=((), (), ("category",)))
        request, why, cursor, recorded = poll(sensor, settings, instance, "0", registry=registry)
        assert request is None
        assert why == "category drifted in the newest window only; a second window has to confirm it"
        assert recorded[0].metadata["done"].value is False
        assert poll(sensor, settings, instance, cursor, registry=registry)[3] == []  # the same decision again
        report_quality(settings, 2, decay=FELL)  # of another version
        assert poll(sensor, settings, instance, cursor, registry=registry)[0] is None
        report_quality(settings, 3, decay=FELL)
        request = poll(sensor, settings, instance, cursor, registry=registry)[0]
        assert request is not None
        assert request.run_key == "drift:2010-12-09T12:00:00Z:v3"


def test_an_expected_drift_starts_no_retraining(settings: Settings) -> None:
    sensor, log = monitoring_sensor(settings), reviews_of(settings)
    with dg.DagsterInstance.ephemeral() as instance:
        report_drift(instance, settings)
        log.append(Review(NAME, ("category",), Verdict.acknowledged, "Ann", "sale", NOON, NOON))
        assert poll(sensor, settings, instance, "0")[0] is not None
        log.append(Review(NAME, ("category",), Verdict.expected, "Ann", "sale", NOON, NOON))
        request, why, _, _ = poll(sensor, settings, instance, "0")
        assert (request, why) == (None, "no drift but that which a person expected (category), no fall of the quality")
        report_drift(instance, settings, recent=(("category", "region"), (), ("category", "region")))
        request = poll(sensor, settings, instance, "0")[0]
        assert request is not None


def test_a_fall_of_quality_and_age_start_a_retraining_without_drift(settings: Settings) -> None:
    sensor = monitoring_sensor(settings)
    with dg.DagsterInstance.ephemeral() as instance:
        report_drift(instance, settings, recent=((), (), ()))
        assert "no drift, no fall" in poll(sensor, settings, instance, "0", registry=champion_of())[1]
        old = champion_of(trained_until=NOON - timedelta(days=31))
        request = poll(sensor, settings, instance, "0", registry=old)[0]
        assert request is not None
        assert request.tags["cause"] == "age"
        unlimited = settings.model_copy(update={"max_age_days": None})
        assert poll(sensor, unlimited, instance, "0", registry=old)[0] is None
        report_quality(settings, 3, decay=FELL)
        request = poll(sensor, settings, instance, "0", registry=champion_of())[0]
        assert request is not None
        assert request.tags["cause"] == "quality"


@pytest.mark.parametrize(("since", "n_new"), [(-1, 0), (0, 0), (1, 1), (7, 1), (8, 2), (30, 5)])
def test_windows_that_end_after_the_training_are_new(since: int, n_new: int) -> None:
    window = Window(NOON - WEEK, NOON, 900)
    report = DriftReport(False, True, (), window, window, (), "")
    assert windows_since(report, NOON - timedelta(days=since)) == n_new
    assert windows_since(report, None) is None
    assert windows_since(replace(report, current=Window(None, None, 0)), NOON) is None


def test_a_broken_feed_known_data_and_a_running_retraining_start_nothing(settings: Settings) -> None:
    sensor = monitoring_sensor(settings)
    with dg.DagsterInstance.ephemeral() as instance:
        report_drift(instance, settings)
        known = poll(sensor, settings, instance, "0", registry=champion_of(data_version="new"))
        assert known[:2] == (None, "v3 is trained on this data already")
        report_drift(instance, settings, feed_problems=(PRICES,))
        request, why, _, _ = poll(sensor, settings, instance, "0")
        assert request is None
        assert why.startswith("no retraining on a broken feed; repair the source first: unit_price has")
        start_retraining(instance)
        request, why, cursor, _ = poll(sensor, settings, instance, "0")
        assert (request, why, cursor) == (None, "a retraining is running; polling again when it has ended", "0")


def test_a_failed_retraining_is_tried_again_and_another_one_cools_down(settings: Settings) -> None:
    sensor, failed = monitoring_sensor(settings), dg.DagsterRunStatus.FAILURE
    key = "drift:2010-12-09T12:00:00Z:none"
    with dg.DagsterInstance.ephemeral() as instance:
        report_drift(instance, settings)
        start_retraining(instance, dg.DagsterRunStatus.SUCCESS, cause="schedule")  # it may have come before the drift
        assert poll(sensor, settings, instance, "0")[0] is not None
        start_retraining(instance, failed, cause="drift", **{"dagster/run_key": key})
        assert f"{key} failed; it is tried again at" in poll(sensor, settings, instance, "0")[1]
        report_drift(instance, settings, end=NOON + WEEK)
        assert "cool-down until" in poll(sensor, settings, instance, "0")[1]


class Rolling:
    """A registry with a champion 8 and the earlier versions 5 and 7, of which 7 cannot be loaded; and what was done."""

    def __init__(self, **changes: Any) -> None:
        self.champion, self.earlier, self.pinned, self.done = 8, [5, 7], False, list[str]()
        self.__dict__.update(changes)

    def pointer(self, dataset: str) -> Pointer:
        at = NOON.isoformat(timespec="seconds")
        return Pointer(dataset, "ease", self.champion, "", "", at, "", tuple(self.earlier), self.pinned)

    def rollback(self, dataset: str) -> Version:
        self.done.append(dataset)
        self.champion, self.earlier = self.earlier[0], []
        return self.versions(dataset)[0]

    def versions(self, dataset: str) -> list[Version]:
        """Version 5, and version 8 with the mark of its rollback, if there was one."""
        mark = rolled_back_tags(NOON if self.done else None)
        return [Version(dataset, n, "", "ease", (), NOON, promoted_tags(NOON) | m) for n, m in ((5, {}), (8, mark))]


def test_a_champion_with_worse_lists_is_rolled_back_once_with_an_alert(settings: Settings) -> None:
    sensor, registry = rollback_sensor(settings), Rolling()
    with dg.DagsterInstance.ephemeral() as instance:
        assert poll(sensor, settings, instance, None, registry=registry)[1] == "the champion has not been judged yet"
        report_quality(settings, 8)
        assert "no sign that version 8" in poll(sensor, settings, instance, None, registry=registry)[1]
        report_quality(settings, 8, release=FELL)
        _, why, _, (decision,) = poll(sensor, settings, instance, None, registry=registry)
        assert (registry.done, why) == ([NAME], "version 5 serves again: the quality fell")
        assert decision.metadata["decision"].value == "roll back"
        for _ in range(2):
            again = poll(sensor, settings, instance, None, registry=registry)
            assert again[1] == "the champion has not been judged yet"
        (alert,) = recent_alerts(settings.alerts.outbox, 9, repetitions=True)
        assert alert.title == f"version 8 of {NAME} is rolled back"
        assert alert.key == f"rollback/{NAME}/version 8"  # a later rollback of another version alerts, too
        assert "Version 5 serves." in settings.alerts.log_file.read_text()  # not the unloadable 7
    assert registry.done == [NAME]


def test_a_tick_that_was_killed_after_its_rollback_sends_the_alert_when_it_is_repeated(settings: Settings) -> None:
    sensor, registry = rollback_sensor(settings), Rolling(champion=5, earlier=[])
    with dg.DagsterInstance.ephemeral() as instance:
        report_quality(settings, 8, release=FELL)
        poll(sensor, settings, instance, None, registry=registry)
        assert recent_alerts(settings.alerts.outbox, 9) == []  # version 5 serves for another reason
        registry.done.append(NAME)
        for _ in range(2):
            poll(sensor, settings, instance, None, registry=registry)
    (line,) = settings.alerts.log_file.read_text().splitlines()
    assert json.loads(line)["id"] == f"rollback {NAME} 8 2010-12-09T12:00:00+00:00"
    assert json.loads(line)["done"] == "Version 5 serves."


def test_a_champion_that_cannot_be_rolled_back_is_another_alert(settings: Settings) -> None:
    """Its incident does not hide the alert of the rollback, once it succeeds."""
    sensor, registry = rollback_sensor(settings), Rolling()
    report_quality(settings, 8, release=FELL)
    with dg.DagsterInstance.ephemeral() as instance:
        registry.rollback = refuse  # type: ignore[method-assign]
        for _ in range(2):
            with pytest.raises(ReleaseError):
                poll(sensor, settings, instance, None, registry=registry)
        (alert,) = recent_alerts(settings.alerts.outbox, 9, repetitions=True)
        assert alert.title == f"version 8 of {NAME} cannot be rolled back"
        assert "the quality fell; no earlier champion can be loaded" in settings.alerts.log_file.read_text()
        del registry.rollback
        poll(sensor, settings, instance, None, registry=registry)
    titles = [alert.title for alert in recent_alerts(settings.alerts.outbox, 9)]
    assert titles == [f"version 8 of {NAME} is rolled back", f"version 8 of {NAME} cannot be rolled back"]


def refuse(dataset: str) -> Version:
    raise ReleaseError("no earlier champion can be loaded")


def test_a_champion_is_not_rolled_back_in_a_changed_market_or_if_it_is_pinned(settings: Settings) -> None:
    sensor, registry = rollback_sensor(settings), Rolling()
    report_quality(settings, 8, release=FELL)
    with dg.DagsterInstance.ephemeral() as instance:
        assert "is pinned" in poll(sensor, settings, instance, None, registry=Rolling(pinned=True))[1]
        report_drift(instance, settings, recent=((), ("category",)))
        assert (
            "the market changed in the same window (category)"
            in (poll(sensor, settings, instance, None, registry=registry)[1])
        )
    assert registry.done == []
