"""The sensors that act on what monitoring found: a retraining, or the version before the champion serves again."""

import math
from datetime import datetime, timedelta
from typing import Any

import dagster as dg

from monitoring.alerts.alert import Alert
from monitoring.decisions.retraining import Decision, PastRun, Signs, decide
from monitoring.decisions.rollback import Release, decide_rollback
from monitoring.drift.feed.problems import describe
from monitoring.drift.report import DriftReport
from monitoring.drift.reviews import expected_now, recent_to_retrain
from orchestration.assets.json_outputs import QualityMonitor
from orchestration.drift_review import reviews_of
from orchestration.io_manager import Lake
from orchestration.jobs import CAUSE_TAG, PARTITION_TAG, REQUESTED_TAG, RETRAINING, is_retraining, retraining_job
from orchestration.sensors.new_data import request
from orchestration.settings import Settings
from recommenders import clock
from recommenders.errors import DataError, ReleaseError
from serving.champion.pointer import Pointer
from serving.release.registry import Registry
from serving.release.versions import Version

DRIFT_REPORT = dg.AssetKey("drift_report")
decisions = dg.AssetSpec(
    "decisions",
    group_name="monitoring",
    description="What the sensors monitoring and rollback decided, each with its reason, as observations.",
)
CAUSES = ("drift", "quality", "follow-up", "age")


def monitoring_sensor(settings: Settings) -> dg.SensorDefinition:
    """Requests a retraining for drift, a fall of the quality, or the age of the champion."""

    @dg.sensor(
        name="monitoring",
        job=retraining_job,
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Retrains for drift of {settings.dataset}, for a fall of the quality, or for age; once a cause.",
    )
    def monitoring(
        context: dg.SensorEvaluationContext,
        settings: dg.ResourceParam[Settings],
        registry: dg.ResourceParam[Registry],
        lake: dg.ResourceParam[Lake],
    ) -> dg.SensorResult | dg.SkipReason:
        """Decides by the newest drift report and quality monitor. A report from before the first poll starts nothing.

        A decision that differs from the last one is recorded.
        """
        instance, dataset = context.instance, settings.dataset
        newest = newest_report(instance, dataset)
        first, _, recorded = (context.cursor or "").partition(" ")
        if not first:
            context.update_cursor(str(newest))
            return dg.SkipReason("first poll: the newest drift report is stored")
        if str(newest) == first:
            return dg.SkipReason("no drift report since the first poll")
        if is_retraining(instance, dataset):
            return dg.SkipReason("a retraining is running; polling again when it has ended")
        signs = signs_of(settings, lake, registry.champion(dataset))
        cool_down = timedelta(hours=settings.cool_down_hours)
        decision = decide(signs, past_retrainings(instance, dataset), cool_down, clock.now())
        events = [] if decision.reason == recorded else [record(dataset, "retrain", decision.retrain, decision)]
        return dg.SensorResult(
            run_requests=[request(dataset, decision.key, decision.cause)] if decision.retrain else [],
            skip_reason=None if decision.retrain else decision.reason,
            cursor=f"{first} {decision.reason}",
            asset_events=events,
        )

    return monitoring


def rollback_sensor(settings: Settings) -> dg.SensorDefinition:
    """Rolls the champion back if its lists became worse with its release."""

    @dg.sensor(
        name="rollback",
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Takes the champion of {settings.dataset} back if its lists are worse than those before it.",
    )
    def rollback(
        context: dg.SensorEvaluationContext,
        settings: dg.ResourceParam[Settings],
        registry: dg.ResourceParam[Registry],
        lake: dg.ResourceParam[Lake],
    ) -> dg.SensorResult | dg.SkipReason:
        """Decides by the newest quality monitor. A repeated tick finds another champion, and only sends the alert."""
        dataset, pointer = settings.dataset, registry.pointer(settings.dataset)
        monitor = quality_of(lake, dataset)
        if pointer is None or monitor is None:
            return dg.SkipReason("the champion has not been judged yet")
        worse = monitor.release.reason if monitor.release.fell else ""
        if monitor.version != pointer.version:
            if worse and monitor.version is not None:
                send_missing_alert(settings, registry, monitor.version, pointer.version, worse)
            return dg.SkipReason("the champion has not been judged yet")
        recent = report.recent[-1] if (report := report_of(lake, dataset)) and report.recent else ()
        earlier = next(reversed(pointer.earlier), None)
        decision = decide_rollback(Release(pointer.version, earlier, worse, recent, pointer.pinned))
        if not decision.roll_back:
            return dg.SkipReason(decision.reason)
        reason = f"version {roll_back(settings, registry, pointer, worse)} serves again: {worse}"
        event = record(dataset, "roll back", True, Decision(True, reason, "rollback"))
        return dg.SensorResult(skip_reason=reason, asset_events=[event])

    return rollback


def roll_back(settings: Settings, registry: Registry, pointer: Pointer, worse: str) -> int:
    """Rolls the champion back, then sends the alert; returns the version that serves.

    Raises ReleaseError, after another alert, if no earlier version can be loaded.
    """
    dataset, number, promoted_at = pointer.dataset, pointer.version, pointer.promoted_at
    try:
        serving = registry.rollback(dataset).number
    except ReleaseError as error:
        title, subject = f"version {number} of {dataset} cannot be rolled back", f"version {number} stays"
        id_ = f"no rollback {dataset} {number} {promoted_at}"
        settings.alerts.send(
            Alert(title, f"{worse}; {error}", "critical", "rollback", dataset, subject=subject, id=id_)
        )
        raise
    settings.alerts.send(rollback_alert(dataset, number, promoted_at, serving, worse))
    return serving


def send_missing_alert(settings: Settings, registry: Registry, number: int, serving: int, worse: str) -> None:
    """Sends the alert of a rollback whose tick was killed before it; an alert that is stored is not sent again."""
    dataset = settings.dataset
    replaced = next((version for version in registry.versions(dataset) if version.number == number), None)
    if replaced and replaced.rolled_back_at and replaced.promoted_at:
        promoted_at = replaced.promoted_at.isoformat(timespec="seconds")  # as in a pointer
        settings.alerts.send(rollback_alert(dataset, number, promoted_at, serving, worse))


def rollback_alert(dataset: str, number: int, promoted_at: str, serving: int, worse: str) -> Alert:
    """The alert of a rollback, an incident of its own. A tick that was killed and is repeated gives the same id."""
    return Alert(
        f"version {number} of {dataset} is rolled back",
        worse,
        "critical",
        "rollback",
        dataset,
        subject=f"version {number}",
        done=f"Version {serving} serves.",
        id=f"rollback {dataset} {number} {promoted_at}",
    )


def signs_of(settings: Settings, lake: Lake, champion: Version | None) -> Signs:
    """What the newest drift report and quality monitor found about the champion."""
    report, monitor = report_of(lake, settings.dataset), quality_of(lake, settings.dataset)
    name = f"v{champion.number}" if champion else "none"
    if report is None:
        return Signs(None, name, summary="there is no drift report yet")
    end, max_age, reviews = report.current.end, settings.max_age_days, reviews_of(settings).entries()
    trained = champion.trained_until if champion else None
    judged = monitor is not None and champion is not None and monitor.version == champion.number
    return Signs(
        end,
        name,
        recent_to_retrain(report, reviews),
        windows_since(report, trained),
        report.summary,
        monitor.decay.reason if judged and monitor and monitor.decay.fell else "",
        describe(report.feed_problems),
        champion is not None and champion.data_version == report.data_version,
        end - trained if end and trained else None,
        None if max_age is None else timedelta(days=max_age),
        expected_now(reviews),
        window_of(report),
    )


def window_of(report: DriftReport) -> timedelta | None:
    """The length of the newest window, None if it has no events."""
    begin, end = report.current.start, report.current.end
    return None if begin is None or end is None or end <= begin else end - begin


def windows_since(report: DriftReport, trained: datetime | None) -> int | None:
    """How many of the newest windows end after the last event that the champion was trained on; None: not known."""
    length, end = window_of(report), report.current.end
    if trained is None or length is None or end is None:
        return None
    return max(math.ceil((end - trained) / length), 0)


def report_of(lake: Lake, dataset: str) -> DriftReport | None:
    """The newest drift report; None if there is none, or one of an earlier release."""
    try:
        found: DriftReport = lake.read(dataset, "drift_report", DriftReport)
    except DataError:
        return None
    return found


def quality_of(lake: Lake, dataset: str) -> QualityMonitor | None:
    """The newest quality monitor; None if there is none, or one of an earlier release."""
    try:
        found: QualityMonitor = lake.read(dataset, "quality_monitor", QualityMonitor)
    except (OSError, DataError):
        return None
    return found


def record(dataset: str, decision: str, done: bool, found: Decision) -> dg.AssetObservation:
    """A decision as Dagster keeps it, on the page of the asset `decisions`."""
    metadata: dict[str, Any] = {"decision": decision, "done": done, "reason": found.reason}
    metadata |= {name: value for name, value in (("cause", found.cause), ("key", found.key)) if value}
    return dg.AssetObservation(decisions.key, partition=dataset, metadata=metadata)


def newest_report(instance: dg.DagsterInstance, dataset: str) -> int:
    """The id of the newest materialisation of the drift report; 0 if there is none."""
    filter_ = dg.AssetRecordsFilter(DRIFT_REPORT, asset_partitions=[dataset])
    newest = next(iter(instance.fetch_materializations(filter_, limit=1).records), None)
    return newest.storage_id if newest else 0


def past_retrainings(instance: dg.DagsterInstance, dataset: str) -> list[PastRun]:
    """The newest retrainings that monitoring started."""
    found: list[dg.RunRecord] = []
    for cause in CAUSES:
        filter_ = dg.RunsFilter(job_name=RETRAINING, tags={PARTITION_TAG: dataset, CAUSE_TAG: cause})
        found += instance.get_run_records(filter_, limit=20)
    return [
        PastRun(
            one.dagster_run.tags.get("dagster/run_key", ""),
            requested_at(one),
            one.dagster_run.status is dg.DagsterRunStatus.FAILURE,
        )
        for one in found
    ]


def requested_at(run: dg.RunRecord) -> datetime:
    """When a sensor requested a run, UTC: Dagster stores the real time only."""
    stored = run.dagster_run.tags.get(REQUESTED_TAG)
    return datetime.fromisoformat(stored) if stored else run.create_timestamp
