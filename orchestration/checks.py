"""What must hold before the next step may run (blocking), and what a person should know (warnings)."""

import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from monitoring.drift import DriftReport
from orchestration.settings import Settings
from recommenders import schema
from recommenders.datasets.interactions import Interactions
from recommenders.datasets.reading.ingest import Counts, count_nulls
from recommenders.datasets.spec import Protocol
from recommenders.datasets.splits import cut_time
from recommenders.datasets.stops import MIN_INTERACTIONS, volume_stops
from recommenders.evaluation.comparison import paired_difference
from recommenders.evaluation.report import Report
from recommenders.features import hindsight
from recommenders.features import tables as feature_tables
from serving.gate import beats_popularity, choose_candidate
from serving.registry import Registry

Check = Callable[..., dg.AssetCheckResult]

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


def interactions_schema(
    context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings]
) -> dg.AssetCheckResult:
    """The stored table has the columns, types and non-null values that every later step relies on."""
    found = misfits(settings.of(context.partition_key).tables.files("interactions"), schema.INTERACTIONS)
    return dg.AssetCheckResult(
        passed=not found, severity=ERROR, description="; ".join(found) or "columns and types are those of the schema"
    )


def misfits(files: Sequence[Path], wanted: pa.Schema) -> list[str]:
    """Where Parquet files do not fit a schema, in words, by their metadata alone; optional columns may be lacking."""
    found = []
    for path in files:
        metadata = pq.read_metadata(path)
        columns = metadata.schema.to_arrow_schema()
        for field in wanted:
            if field.name not in columns.names:
                found += [] if field.nullable else [f"{field.name} is missing"]
            elif columns.field(field.name).type != field.type:
                found.append(f"{field.name} is {columns.field(field.name).type}, not {field.type}")
            elif not field.nullable and (nulls := count_nulls(metadata, field.name)):
                found.append(f"{field.name} holds {nulls} nulls")
    return found


def interactions_volume(
    context: dg.AssetCheckExecutionContext, settings: dg.ResourceParam[Settings]
) -> dg.AssetCheckResult:
    """There are enough rows to learn from, and not too many had to be quarantined."""
    platform = settings.of(context.partition_key)
    version = platform.tables.current()
    assert version is not None  # the asset has just been made
    return volume(version.counts, platform.spec.max_quarantined, platform.tables.files("quarantine", version))


def volume(counts: Counts, most: float, quarantine: Sequence[Path] = ()) -> dg.AssetCheckResult:
    """Passed with MIN_INTERACTIONS rows kept, and no more than a share `most` of those read in quarantine.

    quarantine: the files of that table, from which the reasons are told.
    """
    kept, bad = counts.kept, counts.quarantined
    share = bad / max(counts.read, 1)
    found = volume_stops(counts, most, quarantine)
    fine = (
        f"{kept:,} interactions (at least {MIN_INTERACTIONS:,}), {share:.1%} of rows quarantined (at most {most:.1%})"
    )
    return dg.AssetCheckResult(
        passed=not found,
        severity=ERROR,
        description="; ".join(found) or fine,
        metadata={"rows": kept, "quarantined": bad, "share quarantined": share},
    )


def no_future_in_training_data(
    context: dg.AssetCheckExecutionContext,
    settings: dg.ResourceParam[Settings],
    training_log: Interactions,
    split: pa.Table,
) -> dg.AssetCheckResult:
    """No event that models learn from lies after the cut, and none of the test window is among them."""
    found = leaks(training_log, split, settings.of(context.partition_key).spec.protocol)
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
        last = log.last_event
        if last > cut:
            found.append(f"an event of {last.isoformat()} is learned from; the cut is {cut.isoformat()}")
        if pc.min(times.filter(is_test)).as_py() <= cut:
            found.append(f"the test window holds events before the cut {cut.isoformat()}")
    return found


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


def no_drift(drift_report: DriftReport) -> dg.AssetCheckResult:
    """The newest window is like the training window."""
    return dg.AssetCheckResult(passed=not drift_report.fired, severity=WARN, description=drift_report.summary)


def features_know_no_future(
    user_features: pa.Table, item_features: pa.Table, split: pa.Table, items: pa.Table, users: pa.Table
) -> dg.AssetCheckResult:
    """The stored features are those that the log gives when all that came after the cut is taken out of it."""
    found = feature_leaks(item_features, user_features, split, items, users)
    return dg.AssetCheckResult(
        passed=not found,
        severity=ERROR,
        description="; ".join(found) or "no feature changes when the future is taken out of the log",
        metadata={"cut": cut_time(split).isoformat(), "items": item_features.num_rows, "users": user_features.num_rows},
    )


def feature_leaks(
    item_features: pa.Table, user_features: pa.Table, split: pa.Table, items: pa.Table, users: pa.Table
) -> list[str]:
    """Which features differ from those of the log cut at the split's cut, in words."""
    cut = cut_time(split)
    log, described = hindsight.events_until(split, cut), hindsight.items_until(items, split, cut)
    rebuilt_items = feature_tables.item_features(log, described, cut)
    rebuilt_users = feature_tables.user_features(log, users, cut, described)
    return [
        *(f"item_features {found}" for found in hindsight.differences(item_features, rebuilt_items)),
        *(f"user_features {found}" for found in hindsight.differences(user_features, rebuilt_users)),
    ]


def checks(partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetChecksDefinition]:
    """All checks with the partitions of the assets, so that Dagster shows which data set a result is about."""

    def check(function: Check, asset: str, *, blocking: bool = False, **options: Any) -> dg.AssetChecksDefinition:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.PreviewWarning)  # partitions of a check, as of Dagster 1.13
            return dg.asset_check(asset=asset, blocking=blocking, partitions_def=partitions, **options)(named(function))

    features = {name: dg.AssetIn(name) for name in ("item_features", "split", "items", "users")}
    return [
        check(interactions_schema, "interactions", blocking=True),
        check(interactions_volume, "interactions", blocking=True, additional_deps=["quarantine"]),
        check(no_future_in_training_data, "training_log", blocking=True, additional_ins={"split": dg.AssetIn("split")}),
        check(features_know_no_future, "user_features", blocking=True, additional_ins=features),
        check(release_candidate_beats_popularity, "evaluation_report", blocking=True),
        check(members_beat_popularity, "evaluation_report"),
        check(no_drift, "drift_report"),
    ]


def named(function: Check) -> Check:
    """The check with the data set's name at the start of its description."""

    @wraps(function)
    def check(*given: Any, **inputs: Any) -> dg.AssetCheckResult:
        name, found = dg.AssetCheckExecutionContext.get().partition_key, function(*given, **inputs)
        return found._replace(description=f"{name}: {found.description}")

    return check
