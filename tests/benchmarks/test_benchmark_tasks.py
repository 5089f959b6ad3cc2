"""The benchmark tasks: the task on the validation window does not use the test window."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import calibration
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import ranker_trees
from measuring import benchmark_tasks
from measuring.accuracy import entrant_lists

from recommenders.events.interactions import Interactions
from recommenders.storage import schema

START = datetime(2026, 1, 1, tzinfo=UTC)
N_USERS, N_ITEMS, DAYS = 12, 15, 365


def tables(late: int = 0, event: str = "purchase") -> tuple[pa.Table, pa.Table]:
    """A year of two events a day, and the items; late: seed of other items in the last 60 days, the test window."""
    rng = np.random.default_rng(7)
    rows = [
        (day, int(rng.integers(N_USERS)), int(rng.integers(N_ITEMS))) for day in range(0, DAYS, 1) for _ in range(2)
    ]
    end = DAYS - 60
    other = np.random.default_rng(late)
    changed = [(day, user, int(other.integers(N_ITEMS)) if late and day >= end else item) for day, user, item in rows]
    table = {
        "user_id": [f"u{user:02}" for _, user, _ in changed],
        "item_id": [f"i{item:02}" for _, _, item in changed],
        "timestamp": [START + timedelta(days=day) for day, _, _ in changed],
        "event": [event] * len(changed),
        "weight": [1.0] * len(changed),
    }
    interactions = schema.conform(pa.table(table), schema.INTERACTIONS, "toy")
    items = {"item_id": [f"i{item:02}" for item in range(N_ITEMS)], "title": ["thing"] * N_ITEMS}
    return interactions, schema.conform(pa.table(items), schema.ITEMS, "toy")


@pytest.fixture
def patch_tables(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def patch(late: int = 0, event: str = "purchase") -> None:
        monkeypatch.setattr(benchmark_tasks, "_tables", lambda *_: ("v", *tables(late, event)))

    return patch


def arrays_of(log: Interactions) -> list[Any]:
    return [log.users.ids.tolist(), log.user_rows.tolist(), log.item_columns.tolist(), log.timestamps.tolist()]


def relevant_of(task: benchmark_tasks.BenchmarkTask) -> list[tuple[str, str]]:
    rows, columns = task.case.relevant.nonzero()
    return sorted(zip(task.case.user_ids[rows].tolist(), task.log.items.ids[columns].tolist(), strict=True))


def test_the_validation_window_ends_before_the_test_window_begins(patch_tables: Any) -> None:
    """Other events in the test window do not change the validation task."""
    patch_tables()
    test, validation = (
        benchmark_tasks.benchmark_task("online_retail"),
        benchmark_tasks.benchmark_task("online_retail", validation=True),
    )
    assert pc.max(validation.interactions["timestamp"]).as_py() <= pc.min(test.test["timestamp"]).as_py()
    assert validation.log.timestamps.max() < test.log.timestamps.max()
    patch_tables(late=1)
    changed = benchmark_tasks.benchmark_task("online_retail", validation=True)
    assert relevant_of(benchmark_tasks.benchmark_task("online_retail")) != relevant_of(test)
    assert arrays_of(changed.log) == arrays_of(validation.log)
    assert relevant_of(changed) == relevant_of(validation)


def test_with_the_latest_item_held_out_validation_uses_the_item_before(patch_tables: Any) -> None:
    patch_tables(event="rating")
    test, validation = (
        benchmark_tasks.benchmark_task("ml-100k"),
        benchmark_tasks.benchmark_task("ml-100k", validation=True),
    )
    targets = dict(relevant_of(test))
    remaining = validation.interactions
    pairs = set(zip(remaining["user_id"].to_pylist(), remaining["timestamp"].to_pylist(), strict=True))
    held_out = {(row["user_id"], row["timestamp"]) for row in test.test.to_pylist()}
    assert not pairs & held_out
    assert len(remaining) == len(test.interactions) - len(targets)


def test_another_order_of_ties_changes_nothing_but_the_order(patch_tables: Any) -> None:
    patch_tables()
    base = benchmark_tasks.benchmark_task("online_retail")
    other, again = (benchmark_tasks.benchmark_task("online_retail", ties=3) for _ in range(2))
    assert arrays_of(other.log) == arrays_of(again.log)
    assert arrays_of(other.log) != arrays_of(base.log)
    assert other.key != base.key
    assert np.all(np.diff(other.log.timestamps) >= 0)
    assert sorted(zip(*arrays_of(other.log)[1:], strict=True)) == sorted(zip(*arrays_of(base.log)[1:], strict=True))
    assert relevant_of(other) == relevant_of(base)


def test_bought_most_ranks_by_purchase_count_then_by_popularity(patch_tables: Any) -> None:
    patch_tables()
    task = benchmark_tasks.benchmark_task("online_retail")
    lists = entrant_lists.bought_most(task)
    counts = np.zeros(task.case.histories.shape)
    known = task.case.histories
    np.add.at(counts, (known.rows, known.item_columns), 1)
    for user in range(len(counts)):
        first = [counts[user, item] for item in lists["all"][user]]
        assert first == sorted(first, reverse=True)
        assert not any(counts[user, item] for item in lists["discovery"][user] if item >= 0)


def test_cold_start_tasks_are_later_visits_baskets_and_cold_items(patch_tables: Any) -> None:
    patch_tables()
    cold = benchmark_tasks.benchmark_task("online_retail").cold
    assert all(" visits" in name or "basket" in name or name.startswith(benchmark_tasks.COLD_ITEMS) for name in cold)


@pytest.mark.parametrize("script", [calibration, ranker_trees])
def test_a_script_without_arguments_measures_all_data_sets(
    script: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str, **_: object) -> None:
        raise benchmark_tasks.MissingData("not here")

    monkeypatch.setattr(script, "benchmark_task", missing)
    monkeypatch.setattr(script.result_table, "finish", lambda *_: None)
    monkeypatch.setattr("sys.argv", [script.__name__])
    script.main()
    shown = capsys.readouterr().out
    assert [name for name in benchmark_tasks.DATASETS if name in shown] == [*benchmark_tasks.DATASETS]
