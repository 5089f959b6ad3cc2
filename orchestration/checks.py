"""What must hold before the next step may run (blocking), and what a person should know (warnings)."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from monitoring.drift.report import DriftReport
from orchestration.assets.metadata import APPLICABLE
from orchestration.settings import Settings
from recommenders.datasets.reading.ingest import Counts, count_nulls
from recommenders.datasets.spec import Protocol
from recommenders.datasets.stops import MIN_INTERACTIONS, volume_stops
from recommenders.evaluation.report import Report
from recommenders.events.interactions import Interactions
from recommenders.features import leakage
from recommenders.features import tables as feature_tables
from recommenders.metrics.ranking import PRIMARY_METRIC
from recommenders.splitting.temporal import cut_time
from recommenders.storage import schema
from serving.release.gate import BASELINE, FEWEST_USERS, GateRules, Vector, beats_popularity, compare

KEYS = ["user_id", "item_id", "timestamp"]

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
    """What a training log knows of the future, in words; the cut is found anew, not taken from the labels.

    Every event that is learned from (user, item, moment) must be one before the test part, and stand in the log no more
    often than there.
    """
    found, before = [], before_test(split, protocol)
    learned = pa.table(
        {
            "user_id": log.users.ids[log.user_rows],
            "item_id": log.items.ids[log.item_columns],
            "timestamp": pa.array(log.timestamps).cast(schema.TIME),
        }
    )
    counted = [events.group_by(KEYS).aggregate([([], "count_all")]) for events in (learned, split.filter(before))]
    both = counted[0].join(counted[1], KEYS, join_type="left outer", right_suffix="_before")
    leaked = both.filter(pc.greater(both["count_all"], pc.fill_null(both["count_all_before"], 0)))
    if leaked.num_rows:
        first = leaked.sort_by("timestamp").slice(leaked.num_rows - 1).to_pylist()[0]
        found.append(
            f"{leaked.num_rows} events are learned from that do not lie before the test window, such as item "
            f"{first['item_id']} of user {first['user_id']} at {first['timestamp'].isoformat()}"
        )
    if mislabelled := pc.sum(pc.and_(before, pc.equal(split["part"], "test"))).as_py():
        found.append(f"{mislabelled} events of the test window lie before it")
    return found


def before_test(split: pa.Table, protocol: Protocol) -> pa.ChunkedArray:
    """Which events models may learn from: those up to the cut, or all but each user's latest, ties by item id."""
    if protocol.split == "time_cut":
        cut = pc.max(split["timestamp"]).as_py() - timedelta(days=protocol.test_days)
        return pc.less_equal(split["timestamp"], pa.scalar(cut, schema.TIME))
    placed = split.select(KEYS).append_column("place", pa.array(range(split.num_rows)))
    ordered = placed.sort_by([(key, "ascending") for key in ("user_id", "timestamp", "item_id", "place")])
    latest = ordered.group_by("user_id", use_threads=False).aggregate([("place", "last"), ("place", "count")])
    held_out = latest.filter(pc.greater(latest["place_count"], 1))["place_last"]
    return pc.invert(pc.is_in(placed["place"], held_out.combine_chunks()))


def release_candidate_beats_popularity(
    release_candidate: dict[str, Any], evaluation_report: Report
) -> dg.AssetCheckResult:
    """The release candidate ranks better than popularity by a paired 95 % interval.

    Popularity itself may be the candidate: some list is better than none, and the gate compares it with what serves.
    """
    return candidate_check(evaluation_report.vectors(PRIMARY_METRIC), release_candidate["candidate"])


def candidate_check(vectors: Mapping[str, Vector], candidate: str) -> dg.AssetCheckResult:
    """Passed where the candidate beats popularity; not applicable to popularity itself."""
    if candidate == BASELINE:
        return not_applicable(ERROR, "popularity is the release candidate, and nothing is compared with itself")
    found = compare(vectors[candidate], vectors[BASELINE], GateRules())
    figures = {"difference": found.difference, "low": found.low, "high": found.high}
    if found.users < FEWEST_USERS:
        said = f"undefined: {found.users} users have a defined NDCG@10 of {candidate} and of popularity"
    else:
        said = f"NDCG@10 of {candidate} less popularity's: {found.difference:.4f} [{found.low:.4f}, {found.high:.4f}]"
    return dg.AssetCheckResult(
        passed=beats_popularity(vectors, candidate),
        severity=ERROR,
        description=said,
        metadata={"candidate": candidate, **{name: value for name, value in figures.items() if value == value}},
    )


def members_beat_popularity(evaluation_report: Report) -> dg.AssetCheckResult:
    """Each model ranks better than popularity on average; one that does not is a warning, not a stop."""
    return members_check({name: values[PRIMARY_METRIC][0] for name, values in evaluation_report.models.items()})


def members_check(scores: Mapping[str, float | None]) -> dg.AssetCheckResult:
    """Passed where every model's mean NDCG@10 is above popularity's; one that is undefined shows nothing."""
    baseline, others = scores[BASELINE], {name: score for name, score in scores.items() if name != BASELINE}
    if not others:
        return not_applicable(WARN, "popularity is the only model, and nothing is compared with itself")
    undefined = sorted(name for name, score in scores.items() if score is None)
    known = {name: score for name, score in others.items() if score is not None}
    below = [] if baseline is None else sorted(name for name, score in known.items() if score <= baseline)
    said = [f"not above popularity: {', '.join(below)}"] if below else []
    said += [f"undefined: {', '.join(undefined)}"] if undefined else []
    return dg.AssetCheckResult(
        passed=not said,
        severity=WARN,
        description="; ".join(said) or "every model is above popularity",
        metadata={name: score for name, score in scores.items() if score is not None},
    )


def not_applicable(severity: dg.AssetCheckSeverity, why: str) -> dg.AssetCheckResult:
    """Dagster knows passed and failed only: a pass whose description and metadata say that nothing was shown."""
    return dg.AssetCheckResult(
        passed=True, severity=severity, description=f"not applicable: {why}", metadata={APPLICABLE: False}
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
    log, described = leakage.events_until(split, cut), leakage.items_until(items, split, cut)
    rebuilt_items = feature_tables.item_features(log, described, cut)
    rebuilt_users = feature_tables.user_features(log, users, cut, described)
    return [
        *(f"item_features {found}" for found in leakage.differences(item_features, rebuilt_items)),
        *(f"user_features {found}" for found in leakage.differences(user_features, rebuilt_users)),
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
        check(
            release_candidate_beats_popularity,
            "release_candidate",
            blocking=True,
            additional_ins={"evaluation_report": dg.AssetIn("evaluation_report")},
        ),
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
