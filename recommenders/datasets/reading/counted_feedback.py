"""Feedback events as interactions: those that are later than the newest event of the source.

Up to its newest event the source is the truth, because it holds the same purchases.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from recommenders.datasets.reading.ingest import TABLES, Counts
from recommenders.datasets.reading.relations import show
from recommenders.events.item_states import aliases
from recommenders.storage import schema
from recommenders.storage.erased_users import id_hash
from recommenders.storage.feedback_files import COLUMNS, FeedbackFiles
from recommenders.storage.feedback_position import Position
from recommenders.storage.feedback_tables import TRAINABLE

PASSED_OVER = "feedback up to the newest event of the source"  # name of the rule, among the exclude rules


@dataclass(frozen=True)
class FeedbackRule:
    """Which feedback a data set learns from.

    weights: kind of event -> weight of one event; empty: none. names: kind of event -> its name in the log, where the
    source has another one.
    """

    weights: Mapping[str, float]
    names: Mapping[str, str]

    def interactions(self, events: pa.Table) -> pa.Table:
        """Events of these kinds as rows of schema.INTERACTIONS. The order is that of their values."""
        kinds = events["event"].to_pylist()
        named = pa.array([self.names.get(kind, kind) for kind in kinds], pa.string())
        weights = pa.array([self.weights[kind] for kind in kinds], pa.float32())
        rows = events.set_column(events.column_names.index("event"), "event", named).append_column("weight", weights)
        found = schema.conform(rows, schema.INTERACTIONS, "feedback")
        return found.sort_by([(name, "ascending") for name in schema.INTERACTIONS.names])


@dataclass(frozen=True)
class CountedFeedback:
    """The rows that are added to the log, the number of events that were passed over, and the last event read."""

    rows: pa.Table
    passed_over: int
    position: Position | None

    def data_version(self, source_version: str) -> str:
        """That of the source if no row is added. Otherwise it changes with every value of the added rows.

        It does not depend on the order in which the events came.
        """
        if not self.rows.num_rows:
            return source_version
        content = pa.BufferOutputStream()
        pa_csv.write_csv(self.rows, content)
        digest = hashlib.sha256(content.getvalue()).hexdigest()
        return hashlib.sha256(json.dumps([source_version, digest]).encode()).hexdigest()[:16]


def check_weights(weights: dict[str, float]) -> dict[str, float]:
    """The weights. Raises ValueError if a kind of event or a weight is not allowed."""
    for kind, weight in weights.items():
        if kind not in TRAINABLE:
            raise ValueError(f"got {kind!r}; allowed: {', '.join(TRAINABLE)}; leave it out")
        if not 0 < weight < float("inf"):
            raise ValueError(f"got the weight {weight} of {kind}; allowed: a number above 0; correct it")
    return weights


def count_feedback(rule: FeedbackRule, files: FeedbackFiles, until: int) -> CountedFeedback:
    """The events of the files after the newest event of the source. until: its time, microseconds since 1970, UTC.

    Events of erased users from before their erasure count as if they were not there.
    """
    erased = files.erased()
    kinds, end = pa.array(list(rule.weights), pa.string()), pa.scalar(until, schema.TIME)
    later, passed_over, position = [COLUMNS.empty_table()], 0, None
    for page in files.pages():  # one pass, so that rows and position agree while another process appends events
        weighted = _without_erased(page.filter(pc.is_in(page["event"], kinds)), erased)
        later.append(weighted.filter(pc.greater(weighted["timestamp"], end)))
        passed_over += weighted.num_rows - later[-1].num_rows
        position = Position(page["sequence"][-1].as_py(), page["event_id"][-1].as_py())
    return CountedFeedback(rule.interactions(pa.concat_tables(later)), passed_over, position)


def _without_erased(events: pa.Table, erased: Mapping[str, int]) -> pa.Table:
    """The events without those of erased users. erased: as FeedbackFiles.erased() returns it."""
    users = pc.unique(events["user_id"]).to_pylist() if erased else []
    for user_id in (user_id for user_id in users if id_hash(user_id) in erased):
        last = pa.scalar(erased[id_hash(user_id)], pa.int64())
        gone = pc.and_(pc.equal(events["user_id"], user_id), pc.less_equal(events["sequence"], last))
        events = events.filter(pc.invert(gone))
    return events


def newest_event(files: Sequence[Path]) -> int:
    """The time of the newest event of a log's Parquet files, which is not empty; microseconds since 1970, UTC."""
    with duckdb.connect() as engine:
        show(engine, "log", files, schema.INTERACTIONS)
        return int(engine.execute("select epoch_us(max(timestamp)) from log").fetchall()[0][0])


def add_feedback(folder: Path, found: CountedFeedback, counts: Counts) -> Counts:
    """Adds the rows to the Parquet tables that ingest() wrote below `folder`; returns the counts of rows with them.

    Users and items that the source lacks get a row without attributes. Events of an item with a successor are those of
    the successor.
    """
    if found.rows.num_rows:
        events = _with_successors(found.rows, folder / "items.parquet")
        _append(folder / "interactions.parquet", events)
        for name in ("user", "item"):
            path, ids = folder / f"{name}s.parquet", pc.unique(events[f"{name}_id"])
            known = pq.read_table(path, columns=[f"{name}_id"])[f"{name}_id"]
            unknown = ids.filter(pc.invert(pc.is_in(ids, known.combine_chunks()))).sort()
            rows = pa.table({f"{name}_id": unknown})
            _append(path, schema.conform(rows, TABLES[f"{name}s"], "feedback"))
    kept, passed_over = found.rows.num_rows, found.passed_over
    return replace(
        counts,
        read=counts.read + kept + passed_over,
        kept=counts.kept + kept,
        set_aside={**counts.set_aside, **({PASSED_OVER: passed_over} if passed_over else {})},
        feedback=kept,
    )


def _with_successors(events: pa.Table, items: Path) -> pa.Table:
    """The events, those of an item with a successor under the id of the successor."""
    if "predecessors" not in pq.read_schema(items).names:
        return events
    final = aliases(pq.read_table(items, columns=["item_id", "predecessors"]))
    ids = pa.array([final.get(item_id, item_id) for item_id in events["item_id"].to_pylist()], pa.string())
    return events.set_column(events.column_names.index("item_id"), events.schema.field("item_id"), ids)


def _append(path: Path, rows: pa.Table) -> None:
    """Appends rows to a Parquet file, batch by batch. A column that only the rows have is added."""
    if not rows.num_rows:
        return
    whole = path.with_suffix(".source")
    path.rename(whole)
    with pq.ParquetFile(whole) as file:
        names = file.schema_arrow.names
        columns = pa.schema(
            [field for field in rows.schema if field.name in names or rows[field.name].null_count < rows.num_rows]
        )
        with pq.ParquetWriter(path, columns) as writer:
            for batch in file.iter_batches():
                table = schema.conform(pa.Table.from_batches([batch]), columns, path.stem)
                writer.write_table(table)
            writer.write_table(rows.select(columns.names).cast(columns))
    whole.unlink()
