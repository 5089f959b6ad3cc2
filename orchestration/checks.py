"""The asset checks: a failed blocking check stops the next step, the other checks only warn."""

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
from orchestration.assets.json_outputs import ReleaseCandidate
from orchestration.assets.metadata import APPLICABLE
from orchestration.feed_check import feed_is_sound
from orchestration.resources import Datasets
from recommenders.datasets.reading.ingest import Counts, count_nulls
from recommenders.datasets.spec import Protocol
from recommenders.datasets.stop_reasons import MIN_INTERACTIONS, volume_stop_reasons
from recommenders.evaluation.report import Report
from recommenders.events.interactions import Interactions
from recommenders.features import leakage
from recommenders.features import tables as feature_tables
from recommenders.metrics.ranking import PRIMARY_METRIC
from recommenders.splitting.temporal import cut_time
from recommenders.splitting.temporal import training_log as build_log
from recommenders.storage import schema
from serving.release.gate import BASELINE, MIN_USERS, GateRules, Vector, beats_popularity, compare

KEYS = ["user_id", "item_id", "timestamp"]

Check = Callable[..., dg.AssetCheckResult]

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


def interactions_schema(
    context: dg.AssetCheckExecutionContext, datasets: dg.ResourceParam[Datasets]
) -> dg.AssetCheckResult:
    """The stored table has the columns, types and non-null values that the later steps need."""
    found = schema_mismatches(datasets[context.partition_key].tables.files("interactions"), schema.INTERACTIONS)
    return dg.AssetCheckResult(
        passed=not found, severity=ERROR, description="; ".join(found) or "columns and types are those of the schema"
    )


def schema_mismatches(files: Sequence[Path], expected: pa.Schema) -> list[str]:
    """Mismatches between Parquet files and a schema, from the files' metadata; optional columns may be missing."""
    found = []
    for path in files:
        metadata = pq.read_metadata(path)
        columns = metadata.schema.to_arrow_schema()
        for field in expected:
            if field.name not in columns.names:
                found += [] if field.nullable else [f"{field.name} is missing"]
            elif columns.field(field.name).type != field.type:
                found.append(f"{field.name} is {columns.field(field.name).type}, not {field.type}")
            elif not field.nullable and (nulls := count_nulls(metadata, field.name)):
                found.append(f"{field.name} holds {nulls} nulls")
    return found


def interactions_volume(
    context: dg.AssetCheckExecutionContext, datasets: dg.ResourceParam[Datasets]
) -> dg.AssetCheckResult:
    """There are enough rows for training, and not too many were quarantined."""
    dataset = datasets[context.partition_key]
    version = dataset.tables.current()
    assert version is not None  # the asset has just been made
    return volume(version.counts, dataset.spec.max_quarantined, dataset.tables.files("quarantine", version))


def volume(counts: Counts, max_quarantined: float, quarantine: Sequence[Path] = ()) -> dg.AssetCheckResult:
    """Passed if MIN_INTERACTIONS rows are kept, and at most a share `max_quarantined` of the rows read is quarantined.

    quarantine: the files of that table, for the reasons.
    """
    kept, bad = counts.kept, counts.quarantined
    share = bad / max(counts.read, 1)
    found = volume_stop_reasons(counts, max_quarantined, quarantine)
    summary = (
        f"{kept:,} interactions (at least {MIN_INTERACTIONS:,}), "
        f"{share:.1%} of rows quarantined (at most {max_quarantined:.1%})"
    )
    return dg.AssetCheckResult(
        passed=not found,
        severity=ERROR,
        description="; ".join(found) or summary,
        metadata={"rows": kept, "quarantined": bad, "share quarantined": share},
    )


def no_temporal_leakage(
    context: dg.AssetCheckExecutionContext,
    datasets: dg.ResourceParam[Datasets],
    training_log: Interactions,
    split: pa.Table,
) -> dg.AssetCheckResult:
    """No event of the training log lies after the cut, and none is of the test window."""
    found = leaks(training_log, split, datasets[context.partition_key].spec.protocol)
    return dg.AssetCheckResult(
        passed=not found,
        severity=ERROR,
        description="; ".join(found) or "the training log has no event after the cut",
        metadata={"events": len(training_log), "cut": cut_time(split).isoformat()},
    )


def leaks(log: Interactions, split: pa.Table, protocol: Protocol) -> list[str]:
    """Events of the future in a training log, in words. The cut is computed again, not taken from the labels.

    Each event of the training log (user, item, time) must be an event before the test part, and must not be in the log
    more often than there.
    """
    found, before = [], before_test(split, protocol)
    training = pa.table(
        {
            "user_id": log.users.ids[log.user_rows],
            "item_id": log.items.ids[log.item_columns],
            "timestamp": pa.array(log.timestamps).cast(schema.TIME),
        }
    )
    counted = [events.group_by(KEYS).aggregate([([], "count_all")]) for events in (training, split.filter(before))]
    both = counted[0].join(counted[1], KEYS, join_type="left outer", right_suffix="_before")
    leaked = both.filter(pc.greater(both["count_all"], pc.fill_null(both["count_all_before"], 0)))
    if leaked.num_rows:
        first = leaked.sort_by("timestamp").slice(leaked.num_rows - 1).to_pylist()[0]
        found.append(
            f"{leaked.num_rows} events of the training log do not lie before the test window, such as item "
            f"{first['item_id']} of user {first['user_id']} at {first['timestamp'].isoformat()}"
        )
    if mislabelled := pc.sum(pc.and_(before, pc.equal(split["part"], "test"))).as_py():
        found.append(f"{mislabelled} events with the label test lie before the test window")
    return found


def before_test(split: pa.Table, protocol: Protocol) -> pa.ChunkedArray:
    """A mask of the events for training: those up to the cut, or all but each user's latest (ties by item id)."""
    if protocol.split == "time_cut":
        cut = pc.max(split["timestamp"]).as_py() - timedelta(days=protocol.test_days)
        return pc.less_equal(split["timestamp"], pa.scalar(cut, schema.TIME))
    placed = split.select(KEYS).append_column("place", pa.array(range(split.num_rows)))
    ordered = placed.sort_by([(key, "ascending") for key in ("user_id", "timestamp", "item_id", "place")])
    latest = ordered.group_by("user_id", use_threads=False).aggregate([("place", "last"), ("place", "count")])
    held_out = latest.filter(pc.greater(latest["place_count"], 1))["place_last"]
    return pc.invert(pc.is_in(placed["place"], held_out.combine_chunks()))


def release_candidate_beats_popularity(
    release_candidate: ReleaseCandidate, evaluation_report: Report
) -> dg.AssetCheckResult:
    """The release candidate ranks better than popularity by a paired 95 % confidence interval.

    Popularity may be the candidate: any list is better than none, and the gate compares it with the champion.
    """
    return candidate_check(evaluation_report.vectors(PRIMARY_METRIC), release_candidate.candidate)


def candidate_check(vectors: Mapping[str, Vector], candidate: str) -> dg.AssetCheckResult:
    """Passed if the candidate beats popularity; not applicable to popularity itself."""
    if candidate == BASELINE:
        return not_applicable(ERROR, "popularity is the release candidate, and no model is compared with itself")
    found = compare(vectors[candidate], vectors[BASELINE], GateRules())
    values = {"difference": found.difference, "low": found.low, "high": found.high}
    if found.users < MIN_USERS:
        description = f"undefined: {found.users} users have a defined NDCG@10 of {candidate} and of popularity"
    else:
        description = (
            f"NDCG@10 of {candidate} minus popularity: {found.difference:.4f} [{found.low:.4f}, {found.high:.4f}]"
        )
    return dg.AssetCheckResult(
        passed=beats_popularity(vectors, candidate),
        severity=ERROR,
        description=description,
        metadata={"candidate": candidate, **{name: value for name, value in values.items() if value == value}},
    )


def members_beat_popularity(evaluation_report: Report) -> dg.AssetCheckResult:
    """Each model ranks better than popularity on average. A model that does not causes a warning, not a stop."""
    return models_check({name: values[PRIMARY_METRIC][0] for name, values in evaluation_report.models.items()})


def models_check(scores: Mapping[str, float | None]) -> dg.AssetCheckResult:
    """Passed if each model's mean NDCG@10 is defined and above popularity's."""
    baseline, others = scores[BASELINE], {name: score for name, score in scores.items() if name != BASELINE}
    if not others:
        return not_applicable(WARN, "popularity is the only model, and no model is compared with itself")
    undefined = sorted(name for name, score in scores.items() if score is None)
    defined = {name: score for name, score in others.items() if score is not None}
    below = [] if baseline is None else sorted(name for name, score in defined.items() if score <= baseline)
    problems = [f"not above popularity: {', '.join(below)}"] if below else []
    problems += [f"undefined: {', '.join(undefined)}"] if undefined else []
    return dg.AssetCheckResult(
        passed=not problems,
        severity=WARN,
        description="; ".join(problems) or "every model is above popularity",
        metadata={name: score for name, score in scores.items() if score is not None},
    )


def not_applicable(severity: dg.AssetCheckSeverity, why: str) -> dg.AssetCheckResult:
    """A passed result that is marked as not applicable; Dagster has no other results than passed and failed."""
    return dg.AssetCheckResult(
        passed=True, severity=severity, description=f"not applicable: {why}", metadata={APPLICABLE: False}
    )


def no_drift(drift_report: DriftReport) -> dg.AssetCheckResult:
    """The newest window shows no drift from the training window."""
    return dg.AssetCheckResult(passed=not drift_report.fired, severity=WARN, description=drift_report.summary)


def no_feature_leakage(
    context: dg.AssetCheckExecutionContext,
    datasets: dg.ResourceParam[Datasets],
    user_features: pa.Table,
    item_features: pa.Table,
    split: pa.Table,
    items: pa.Table,
    users: pa.Table,
) -> dg.AssetCheckResult:
    """The stored features equal those of source tables that were cut before the training log was built."""
    protocol = datasets[context.partition_key].spec.protocol
    found = feature_leaks(item_features, user_features, split, items, users, protocol)
    return dg.AssetCheckResult(
        passed=not found,
        severity=ERROR,
        description="; ".join(found) or "no feature changes when the rows after the cut are removed first",
        metadata={"cut": cut_time(split).isoformat(), "items": item_features.num_rows, "users": user_features.num_rows},
    )


def feature_leaks(
    item_features: pa.Table,
    user_features: pa.Table,
    split: pa.Table,
    items: pa.Table,
    users: pa.Table,
    protocol: Protocol,
) -> list[str]:
    """The features that differ from those of the tables up to the cut, in words. The labels of the split are not used.

    Neither is the stored training log: it is built again, from tables that hold nothing later.
    """
    before = split.filter(before_test(split, protocol))
    cut = pc.max(before["timestamp"]).as_py()
    events = leakage.events_until(before, cut)
    known = leakage.items_until(items, events, cut, undated_are_known=protocol.candidates == "on_sale")
    log = build_log(events, known, protocol, cut)
    rebuilt = {"item": feature_tables.item_features(log, known), "user": feature_tables.user_features(log, users)}
    return [
        *(f"item_features {found}" for found in leakage.differences(item_features, rebuilt["item"])),
        *(f"user_features {found}" for found in leakage.differences(user_features, rebuilt["user"])),
    ]


def checks(partitions: dg.PartitionsDefinition[str]) -> list[dg.AssetChecksDefinition]:
    """All checks, with the partitions of the assets, so that Dagster shows the data set of a result."""

    def check(function: Check, asset: str, *, blocking: bool = False, **options: Any) -> dg.AssetChecksDefinition:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.PreviewWarning)  # partitions of a check, as of Dagster 1.13
            return dg.asset_check(asset=asset, blocking=blocking, partitions_def=partitions, **options)(named(function))

    features = {name: dg.AssetIn(name) for name in ("item_features", "split", "items", "users")}
    tables = {name: dg.AssetIn(name) for name in ("items", "users")}
    return [
        check(interactions_schema, "interactions", blocking=True),
        check(interactions_volume, "interactions", blocking=True, additional_deps=["quarantine"]),
        check(feed_is_sound, "interactions", blocking=True, additional_ins=tables),
        check(no_temporal_leakage, "training_log", blocking=True, additional_ins={"split": dg.AssetIn("split")}),
        check(no_feature_leakage, "user_features", blocking=True, additional_ins=features),
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
    def check(*args: Any, **inputs: Any) -> dg.AssetCheckResult:
        name, found = dg.AssetCheckExecutionContext.get().partition_key, function(*args, **inputs)
        return found._replace(description=f"{name}: {found.description}")

    return check
