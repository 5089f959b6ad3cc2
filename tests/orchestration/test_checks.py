"""Each check on what it is there to catch."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestration import checks
from recommenders import schema
from recommenders.datasets.interactions import Interactions
from recommenders.datasets.reading.ingest import Counts
from recommenders.datasets.spec import Protocol
from recommenders.datasets.splits import split

START = datetime(2026, 1, 1, tzinfo=UTC)


def log(n_events: int, days: int = 90) -> pa.Table:
    """Events spread evenly over the days."""
    rng = np.random.default_rng(0)
    times = [START + timedelta(days=days * i / n_events) for i in range(n_events)]
    table = pa.table(
        {
            "user_id": [str(u) for u in rng.integers(0, 20, n_events)],
            "item_id": [str(i) for i in rng.integers(0, 30, n_events)],
            "timestamp": pa.array(times, schema.TIME),
            "event": ["purchase"] * n_events,
            "weight": pa.array([1.0] * n_events, pa.float32()),
        }
    )
    return schema.conform(table, schema.INTERACTIONS, "interactions")


def test_schema_check_sees_a_null_a_missing_column_and_another_type(tmp_path: Path) -> None:
    def misfits(table: pa.Table) -> list[str]:
        pq.write_table(table, tmp_path / "part.parquet")
        return checks.misfits([tmp_path / "part.parquet"], schema.INTERACTIONS)

    events = log(10).cast(pa.schema([field.with_nullable(True) for field in schema.INTERACTIONS]))
    assert misfits(events) == []
    assert misfits(events.drop_columns(["rating"])) == []
    assert misfits(events.drop_columns(["event"])) == ["event is missing"]
    place = events.column_names.index("item_id")
    assert misfits(events.set_column(place, "item_id", pa.array([None] * 3 + ["a"] * 7))) == ["item_id holds 3 nulls"]
    assert misfits(events.set_column(place, "item_id", pa.array(range(10)))) == ["item_id is int64, not string"]


def test_volume_check_wants_enough_rows_and_few_bad_ones() -> None:
    assert checks.volume(Counts(2000, 2000), 0.05).passed
    assert checks.volume(Counts(2100, 2000, quarantined=100), 0.05).passed
    assert not checks.volume(Counts(10, 10), 0.05).passed
    assert not checks.volume(Counts(2500, 2000, quarantined=500), 0.05).passed
    assert checks.volume(Counts(2500, 2000, quarantined=500), 0.25).passed
    stop = checks.volume(Counts(2500, 2000, quarantined=500), 0.05)
    assert stop.description == "500 of 2,500 rows (20.0%) are quarantined; at most 5.0% may be (max_quarantined)"


def test_a_planted_leak_is_caught() -> None:
    protocol = Protocol(split="time_cut", test_days=20)
    parts = split(log(2000), protocol)
    before = parts.filter(pc.not_equal(parts["part"], "test"))
    assert checks.leaks(Interactions.from_table(before), parts, protocol) == []
    assert len(checks.leaks(Interactions.from_table(parts), parts, protocol)) == 2


def test_a_split_that_lies_is_caught() -> None:
    protocol = Protocol(split="time_cut", test_days=20)
    parts = split(log(2000), protocol)
    late = pc.equal(pc.rank(parts["timestamp"], sort_keys="descending", tiebreaker="first"), 1)
    labels = pc.if_else(late, "train", parts["part"])  # the very last event passes for training data
    lied = parts.set_column(parts.schema.get_field_index("part"), "part", labels)
    learned = Interactions.from_table(lied.filter(pc.not_equal(lied["part"], "test")))
    (leak,) = checks.leaks(learned, lied, protocol)
    assert "is learned from" in leak
