"""A benchmark from files: training log, evaluation task, row counts, and times."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recommenders.errors import DataError
from recommenders.evaluation import rank
from recommenders.evaluation.benchmark.file_benchmark import BenchmarkFiles, make_file_benchmark
from recommenders.evaluation.tasks.sampled import rank_candidates
from recommenders.models.popularity import Popularity

EPOCH = 1_600_000_000.0


def table(rows: list[tuple[Any, ...]]) -> pa.Table:
    """A table of user, item and optional time, as recommenders.datasets.benchmark_files reads it."""
    users, items, times = zip(*((*row, None)[:3] for row in rows), strict=True)
    columns = {"user_id": list(users), "item_id": list(items), "rating": [None] * len(rows), "time": list(times)}
    types = [("user_id", pa.string()), ("item_id", pa.string()), ("rating", pa.float64()), ("time", pa.float64())]
    return pa.table(columns, schema=pa.schema(types))


TRAIN = table([("b", "i2", 3), ("a", "i1", 2), ("a", "i3", 1), ("b", "i1", 1), ("c", "i3", 5)])


def test_every_test_row_is_counted() -> None:
    rows = [("a", "i2"), ("a", "i2"), ("a", "i1"), ("b", "i3"), ("b", "new"), ("z", "i1"), ("z", "new"), ("c", "i3")]
    found = make_file_benchmark(TRAIN, table(rows))
    counts = dict(found.test_rows)
    assert counts == {"read": 8, "judged": 2, "repeated": 1, "cold_users": 2, "cold_items": 1, "known": 2}
    assert counts.pop("read") == sum(counts.values())
    assert found.task.user_ids.tolist() == ["a", "b"]
    assert (found.task.cold_users, found.task.cold_items) == (1, 1)
    assert [found.log.items.ids[row.indices].tolist() for row in found.task.relevant] == [["i2"], ["i3"]]


def test_with_repeat_known_items_are_relevant_and_stay_in_lists() -> None:
    test = table([("a", "i1"), ("b", "i3")])
    once, repeat = make_file_benchmark(TRAIN, test), make_file_benchmark(TRAIN, test, repeat=True)
    assert (once.task.user_ids.tolist(), once.test_rows["known"]) == (["b"], 1)
    assert (repeat.task.user_ids.tolist(), repeat.test_rows["known"]) == (["a", "b"], 0)
    assert list(once.task.views()) == ["all"]
    assert list(repeat.task.views()) == ["all", "reorder", "discovery"]
    model = Popularity().fit(once.log)
    ranked = rank.rank_users(model, once.task, once.task.views(), 3)["all"]
    assert ranked.tolist() == [[once.log.items.row("i3"), -1, -1]]  # b knows i1 and i2
    assert "known items masked" in once.task.description
    assert "known items stay" in repeat.task.description


def test_any_numbers_order_a_users_events_and_item_ids_break_ties() -> None:
    train = table([("a", "i3", 0.5), ("a", "i1", -7), ("a", "i2", 0.5), ("b", "i1", 1e18), ("a", "i4", 0.25)])
    found = make_file_benchmark(train, table([("b", "i2")]))
    events = found.log.histories()[[found.log.users.row("a")]]
    assert found.log.items.ids[events.item_columns].tolist() == ["i1", "i4", "i2", "i3"]
    assert found.order_given
    assert not found.log.dated
    assert (np.diff(found.log.timestamps) >= 0).all()


@pytest.mark.parametrize("times", [(None,) * 3, (4, 4, 9)])
def test_a_missing_order_is_reported(times: tuple[float | None, ...]) -> None:
    users, items = ("a", "a", "b"), ("i2", "i1", "i3")  # the events of a have one time stamp
    found = make_file_benchmark(table(list(zip(users, items, times, strict=True))), table([("b", "i1")]))
    assert not found.order_given
    events = found.log.histories()[[0]]
    assert found.log.items.ids[events.item_columns].tolist() == ["i1", "i2"]
    assert len(set(events.timestamps.tolist())) == 1


@pytest.mark.parametrize("unit", [1.0, 1e3, 1e6])
def test_a_cut_between_real_times_makes_the_log_dated(unit: float) -> None:
    train = [("a", "i1", EPOCH * unit), ("a", "i2", (EPOCH + 86_400) * unit), ("b", "i3", EPOCH * unit)]
    found = make_file_benchmark(table(train), table([("b", "i1", (EPOCH + 3 * 86_400) * unit)]))
    assert found.log.dated
    assert found.log.horizon_days == pytest.approx(2.0)
    assert found.log.ages().max() == pytest.approx(1.0)
    assert found.log.last_event.timestamp() == EPOCH + 86_400
    early = make_file_benchmark(
        table(train), table([("b", "i1", (EPOCH + 3600) * unit), ("a", "i3", (EPOCH + 9e5) * unit)])
    )
    assert not early.log.dated  # a test event is before the newest training event
    assert early.order_given
    assert early.log.ages().max() == 0


def test_numbers_that_are_not_times_never_make_a_log_dated() -> None:
    found = make_file_benchmark(table([("a", "i1", 1), ("b", "i2", 2)]), table([("a", "i2", 3)]))
    assert not found.log.dated
    assert found.log.horizon_days is None


def test_ratings_become_strengths_and_every_row_has_weight_one() -> None:
    train = TRAIN.set_column(2, "rating", pa.array([1.0, None, 5.0, 3.0, 2.0]))
    log = make_file_benchmark(train, table([("c", "i1")])).log
    strengths = log.matrix("strength").toarray()
    assert strengths[log.users.row("b"), log.items.row("i2")] == 1.0
    assert strengths[log.users.row("a"), log.items.row("i1")] == pytest.approx(np.log(2))
    assert log.weights.tolist() == [1.0] * 5


def test_negatives_are_added_to_the_relevant_items() -> None:
    train = table([("a", "i1"), ("b", "i2"), ("b", "i3"), ("b", "i4"), ("c", "i2"), ("c", "i3"), ("c", "i2")])
    test = table([("a", "i2"), ("a", "i4"), ("b", "i1"), ("z", "i1")])
    negatives = table(
        [("a", "i3"), ("a", "i3"), ("a", "i2"), ("a", "ghost"), ("b", "i3"), ("b", "spirit"), ("z", "i2"), ("c", "i1")]
    )
    found = make_file_benchmark(train, test, negatives)
    assert found.candidates is not None
    assert found.candidates.counts.tolist() == [4, 3]  # a: i2 i4 i3 ghost; b: i1 i3 spirit
    assert found.negatives == {"read": 8, "other_users": 2, "unknown_items": 2}
    assert found.task.description.startswith("sampled candidates: 2 negatives a user; comparable with papers only")
    names = found.log.items.ids
    ranked = rank_candidates(Popularity().fit(found.log), found.task, found.candidates, 5)
    # by popularity; unknown items last; b knows i3, but sampled items are not masked
    assert [[str(names[c]) if c >= 0 else "" for c in row] for row in ranked] == [
        ["i2", "i3", "i4", "", ""],
        ["i3", "i1", "", "", ""],
    ]


def test_an_unknown_item_is_a_miss_among_samples_and_is_skipped_in_full_ranking() -> None:
    test = table([("a", "new"), ("b", "i3")])
    found = make_file_benchmark(TRAIN, test, table([("a", "i2"), ("b", "i2")]))
    assert found.candidates is not None
    assert found.task.user_ids.tolist() == ["a", "b"]
    assert found.test_rows["cold_items"] == 0
    names = found.log.items.ids
    ranked = rank_candidates(Popularity().fit(found.log), found.task, found.candidates, 3)
    assert [[str(names[c]) if c >= 0 else "" for c in row] for row in ranked] == [["i2", "", ""], ["i3", "i2", ""]]
    assert make_file_benchmark(TRAIN, test).task.user_ids.tolist() == ["b"]


def test_known_items_are_not_masked_in_a_sample() -> None:
    test = table([("a", "i1"), ("b", "i3")])
    found = make_file_benchmark(TRAIN, test, table([("a", "i2"), ("b", "i2")]))
    assert found.test_rows["known"] == 0
    assert found.task.user_ids.tolist() == ["a", "b"]


def test_test_files_that_cannot_be_evaluated_are_errors() -> None:
    with pytest.raises(DataError, match="1 of 2 test users have none, the first 'b'"):
        make_file_benchmark(TRAIN, table([("a", "i2"), ("b", "i3")]), table([("a", "i3")]))
    with pytest.raises(DataError, match="of 2 test rows 1 have a user and 1 an item that the training data lacks"):
        make_file_benchmark(TRAIN, table([("z", "i1"), ("a", "new")]))
    with pytest.raises(DataError, match="2 of 3 test users have none, the first 'b'"):
        make_file_benchmark(TRAIN, table([("a", "i2"), ("b", "i3"), ("c", "i1")]), table([("a", "i3")]))


@pytest.mark.parametrize(
    ("train", "dated"),
    [
        ((631_152_000.0, 4_102_444_799.0), True),
        ((631_151_999.0, 4_102_444_799.0), False),
        ((631_152_000.0, 4_102_444_801.0), False),
        ((1e6, 1.6e12), False),  # from 1970 or from 2020: no unit fits both
    ],
)
def test_times_are_those_of_1990_to_2100_in_one_unit(train: tuple[float, float], dated: bool) -> None:
    rows = [("a", "i1", train[0]), ("b", "i2", train[1])]
    found = make_file_benchmark(table(rows), table([("a", "i2", max(train[1], 4_102_444_800.0))]))
    assert found.log.dated is dated
    assert (found.log.timestamps.tolist() == [0, 1]) is not dated  # numbers that are not times give an order only


@pytest.mark.parametrize("other", [None, 13.0])
def test_the_numbers_of_test_must_be_times_too(other: float | None) -> None:
    rows = [("a", "i1", EPOCH), ("b", "i2", EPOCH + 5)]
    found = make_file_benchmark(table(rows), table([("a", "i2", 12.0), ("b", "i1", other)]))
    assert (found.log.dated, found.log.timestamps.tolist()) == (False, [0, 1])


@pytest.mark.parametrize(("days", "horizon"), [((0.0, 10.0), 10.0), ((0.5,), 0.5), ((0.0,), None)])
def test_test_may_begin_at_the_last_time_of_train(days: tuple[float, ...], horizon: float | None) -> None:
    test = [(user, "i2", EPOCH + 86_400 * day) for user, day in zip("ac", days, strict=False)]
    found = make_file_benchmark(table([("a", "i1", EPOCH - 5), ("b", "i2", EPOCH), ("c", "i3", EPOCH)]), table(test))
    assert found.log.dated
    assert found.log.horizon_days == (None if horizon is None else pytest.approx(horizon))


def test_without_times_the_log_is_not_dated() -> None:
    assert not make_file_benchmark(table([("a", "i1"), ("b", "i2")]), table([("a", "i2")])).log.dated


def test_the_first_item_of_the_map_may_be_sampled() -> None:
    found = make_file_benchmark(TRAIN, table([("a", "i2")]), table([("a", "i1"), ("a", "ghost")]))
    assert found.candidates is not None
    assert sorted(found.candidates.item_columns[0].tolist()) == [
        -1,
        found.log.items.row("i1"),
        found.log.items.row("i2"),
    ]
    assert found.negatives["unknown_items"] == 1


def test_the_default_seed_of_the_candidates_is_42() -> None:
    train = table([("a", f"i{n:02}") for n in range(30)] + [("b", "i00")])
    negatives = table([("b", f"i{n:02}") for n in range(2, 30)])
    drawn = [
        make_file_benchmark(train, table([("b", "i01")]), negatives, **given)
        for given in ({}, {"seed": 42}, {"seed": 7})
    ]
    columns = [one.candidates.item_columns.tolist() for one in drawn if one.candidates]
    assert columns[0] == columns[1] != columns[2]


def test_benchmark_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("user_id,item_id\na,i1\na,i3\nb,i2\nb,i1\nc,i2\n")
    (tmp_path / "test.csv").write_text("user_id,item_id\na,i2\nb,i1\n")
    (tmp_path / "negatives.csv").write_text("user_id,item_id\na,i3\nb,i3\n")
    (tmp_path / "items.csv").write_text("item_id,category\ni1,x\ni2,y\ni3,x\n")
    parts = {name: tmp_path / f"{name}.csv" for name in ("train", "test", "negatives", "items")}
    plain = BenchmarkFiles(parts["train"], parts["test"]).read(42)
    assert (plain.candidates, plain.features, plain.task.repeat) == (None, None, False)
    assert plain.task.user_ids.tolist() == ["a"]  # b knows i1
    assert BenchmarkFiles(parts["train"], parts["test"], repeat=True).read(42).task.user_ids.tolist() == ["a", "b"]
    whole = BenchmarkFiles(**parts).read(42)
    assert whole.features is not None
    assert whole.features.categories.tolist() == ["x", "y", "x"]
    model = Popularity().fit(whole.log)
    metrics = whole.evaluate(model, 2)
    assert list(metrics) == ["all"]
    assert metrics["all"]["hit_rate@2"].tolist() == [1.0, 1.0]  # among two candidates each
    assert list(plain.evaluate(model, 1)) == ["all"]
    assert plain.evaluate(model, 1)["all"]["hit_rate@1"].tolist() == [1.0]  # i1 and i3 are known, only i2 remains
