"""What must hold before the next step may run (blocking), and what a person should know (warnings)."""

from datetime import UTC, timedelta

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.drift import DriftReport
from orchestration.settings import Settings
from recommenders import schema
from recommenders.datasets.catalog import dataset
from recommenders.datasets.interactions import Interactions
from recommenders.datasets.spec import Protocol
from recommenders.datasets.splits import cut_time
from recommenders.evaluation.comparison import paired_difference
from recommenders.evaluation.report import Report
from serving.gate import beats_popularity, choose_candidate
from serving.registry import Registry

MIN_INTERACTIONS = 1_000
MAX_QUARANTINED = 0.05  # of all rows read

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


@dg.asset_check(asset="interactions", blocking=True)
def interactions_schema(interactions: pa.Table) -> dg.AssetCheckResult:
    """The table has the columns, types and non-null values that every later step relies on."""
    wanted = [(field.name, field.type) for field in schema.INTERACTIONS]
    got = [(field.name, field.type) for field in interactions.schema]
    required = [f.name for f in schema.INTERACTIONS if not f.nullable and f.name in interactions.column_names]
    nulls = {name: interactions[name].null_count for name in required}
    passed = got == wanted and not any(nulls.values())
    return dg.AssetCheckResult(passed=passed, severity=ERROR, metadata={"columns": str(got), "nulls": nulls})


@dg.asset_check(
    asset="interactions",
    blocking=True,
    additional_ins={"quarantine": dg.AssetIn("quarantine")},
)
def interactions_volume(interactions: pa.Table, quarantine: pa.Table) -> dg.AssetCheckResult:
    """There are enough rows to learn from, and not too many had to be quarantined."""
    kept, bad = interactions.num_rows, quarantine.num_rows
    share = bad / max(kept + bad, 1)
    return dg.AssetCheckResult(
        passed=kept >= MIN_INTERACTIONS and share <= MAX_QUARANTINED,
        severity=ERROR,
        description=f"{kept} rows (least: {MIN_INTERACTIONS}), {share:.1%} quarantined (most: {MAX_QUARANTINED:.0%})",
        metadata={"rows": kept, "quarantined": bad, "share quarantined": share},
    )


@dg.asset_check(asset="training_log", blocking=True, additional_ins={"split": dg.AssetIn("split")})
def no_future_in_training_data(
    context: dg.AssetCheckExecutionContext, training_log: Interactions, split: pa.Table
) -> dg.AssetCheckResult:
    """No event that models learn from lies after the cut, and none of the test window is among them."""
    found = leaks(training_log, split, dataset(context.partition_key).protocol)
    return dg.AssetCheckResult(
        passed=not found,
        severity=ERROR,
        description="; ".join(found) or "models learn from nothing after the cut",
        metadata={"events": len(training_log), "cut": cut_time(split).isoformat()},
    )


def leaks(log: Interactions, split: pa.Table, protocol: Protocol) -> list[str]:
    """What a training log knows of the future, in words; the cut is computed anew, not taken from the labels."""
    is_test = pc.equal(split["part"], "test")
    found = []
    if len(log) > split.num_rows - pc.sum(is_test).as_py():
        found.append(f"{len(log)} events are learned from, more than lie outside the test window")
    if protocol.split == "time_cut":
        times = split["timestamp"]
        cut = pc.max(times).as_py() - timedelta(days=protocol.test_days)
        last = log.timestamps.max().astype("datetime64[us]").item().replace(tzinfo=UTC)
        if last > cut:
            found.append(f"an event of {last.isoformat()} is learned from; the cut is {cut.isoformat()}")
        if pc.min(times.filter(is_test)).as_py() <= cut:
            found.append(f"the test window holds events before the cut {cut.isoformat()}")
    return found


@dg.asset_check(asset="evaluation_report", blocking=True)
def release_candidate_beats_popularity(
    context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings], evaluation_report: Report
) -> dg.AssetCheckResult:
    """The release candidate ranks better than popularity by a paired 95 % interval.

    Where nothing serves yet, popularity itself may be the candidate: some list is better than none.
    """
    name = context.partition_key
    vectors = evaluation_report.vectors("ndcg@10")
    has_champion = Registry(settings.of(name)).champion(name) is not None
    candidate = choose_candidate(vectors, has_champion=has_champion)
    difference, low, high = paired_difference(vectors[candidate], vectors["popularity"])
    return dg.AssetCheckResult(
        passed=beats_popularity(vectors, candidate) or (candidate == "popularity" and not has_champion),
        severity=ERROR,
        description=f"NDCG@10 of {candidate} less popularity's: {difference:.4f} [{low:.4f}, {high:.4f}]",
        metadata={"candidate": candidate, "difference": float(difference), "low": float(low), "high": float(high)},
    )


@dg.asset_check(asset="evaluation_report")
def members_beat_popularity(evaluation_report: Report) -> dg.AssetCheckResult:
    """Each member ranks better than popularity; one that does not is a warning, not a stop."""
    scores = {name: values["ndcg@10"][0] or 0.0 for name, values in evaluation_report.models.items()}
    below = sorted(name for name, score in scores.items() if score < scores["popularity"])
    return dg.AssetCheckResult(
        passed=not below,
        severity=WARN,
        description=f"below popularity: {', '.join(below)}" if below else "every member is above popularity",
        metadata=scores,
    )


@dg.asset_check(asset="drift_report")
def no_drift(drift_report: DriftReport) -> dg.AssetCheckResult:
    """The newest window is like the training window."""
    return dg.AssetCheckResult(passed=not drift_report.fired, severity=WARN, description=drift_report.summary)


CHECKS = [
    interactions_schema,
    interactions_volume,
    no_future_in_training_data,
    release_candidate_beats_popularity,
    members_beat_popularity,
    no_drift,
]
