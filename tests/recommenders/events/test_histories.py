"""Histories of users."""

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recommenders.events.histories import DAY, Histories
from recommenders.events.interactions import Interactions

lists = st.lists(st.lists(st.integers(0, 6), max_size=6), max_size=5)


@given(of=lists)
def test_the_matrix_counts_the_events(of: list[list[int]]) -> None:
    known = Histories.from_lists(of, 7)
    expected = np.array([np.bincount(columns, minlength=7) for columns in map(np.int64, of)]).reshape(-1, 7)
    np.testing.assert_array_equal(known.matrix.toarray(), expected)
    assert known.matrix.has_canonical_format
    assert known.shape == (len(of), 7)


@given(of=lists, length=st.integers(1, 8))
def test_latest_returns_the_last_events(of: list[list[int]], length: int) -> None:
    found = Histories.from_lists(of, 7).latest(length)
    for row, columns in zip(found.tolist(), of, strict=True):
        assert row == [-1] * (length - len(columns)) + columns[-length:]


@given(of=lists, data=st.data())
def test_rows_can_be_selected_in_any_order(of: list[list[int]], data: st.DataObject) -> None:
    known = Histories.from_lists(of, 7)
    rows = data.draw(st.lists(st.integers(0, len(of) - 1), max_size=6)) if of else []
    selected = known[rows]
    assert [columns.tolist() for columns in np.split(selected.item_columns, selected.indptr[1:-1])][: len(rows)] == [
        of[row] for row in rows
    ]
    np.testing.assert_array_equal(known[1:3].matrix.toarray(), known.matrix.toarray()[1:3])


@given(of=lists)
def test_select_removes_the_masked_events_only(of: list[list[int]]) -> None:
    known = Histories.from_lists(of, 7)
    rest = known.select(known.item_columns != 3)
    assert len(rest) == len(known)
    expected = known.matrix.toarray()
    expected[:, 3] = 0
    np.testing.assert_array_equal(rest.matrix.toarray(), expected)


EVENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=8)  # (time, item)


def timed(users: list[list[tuple[int, int]]]) -> Histories:
    ordered = [sorted(events, key=lambda event: event[0]) for events in users]
    lists = Histories.from_lists([[item for _, item in events] for events in ordered], 5)
    times = np.array([time for events in ordered for time, _ in events], dtype=np.int64)
    return Histories(lists.indptr, lists.item_columns, times, np.arange(1.0, len(times) + 1, dtype=np.float32), 5)


@given(users=st.lists(EVENTS, min_size=1, max_size=4))
def test_visits_are_distinct_time_stamps(users: list[list[tuple[int, int]]]) -> None:
    histories = timed(users)
    expected = []
    for row in range(len(histories)):
        times = histories[[row]].timestamps
        expected += [len({later for later in times.tolist() if later > time}) for time in times.tolist()]
    assert histories.visits_ago.tolist() == expected


@given(users=st.lists(EVENTS, min_size=1, max_size=4))
def test_known_items_sum_like_the_matrix_and_keep_the_newest_visit(users: list[list[tuple[int, int]]]) -> None:
    histories = timed(users)
    known = histories.known_items
    matrix = histories.matrix
    np.testing.assert_array_equal(known.indptr, matrix.indptr)
    np.testing.assert_array_equal(known.item_columns, matrix.indices)
    np.testing.assert_allclose(known.weights, matrix.data)
    for row, column, visits in zip(known.rows, known.item_columns, known.visits_ago, strict=True):
        assert visits == histories.visits_ago[(histories.rows == row) & (histories.item_columns == column)].min()
    some = known.select(known.visits_ago < 1)
    assert (some.visits_ago == 0).all()
    assert np.diff(some.indptr).sum() == len(some.item_columns) == (known.visits_ago == 0).sum()


@given(users=st.lists(EVENTS, min_size=1, max_size=4))
def test_visits_with_an_item_and_days_are_counted_per_user(users: list[list[tuple[int, int]]]) -> None:
    found = timed(users)
    assert found.n_visits.tolist() == [len({time for time, _ in events}) for events in users]
    known, expected = found.known_items, []
    for row, item in zip(known.rows.tolist(), known.item_columns.tolist(), strict=True):
        expected.append(len({time for time, bought in users[row] if bought == item}))
    assert found.item_visits.tolist() == expected
    newest = np.repeat([max((time for time, _ in events), default=0) for events in users], found.counts)
    np.testing.assert_array_equal(found.days_ago, (newest - found.timestamps) / DAY)


@given(users=st.lists(EVENTS, min_size=1, max_size=4))
def test_values_of_known_items_are_added_to_their_scores_alone(users: list[list[tuple[int, int]]]) -> None:
    found = timed(users)
    scores = np.ones(found.shape, np.float32)
    found.known_items.add_to(scores, found.known_items.weights)
    np.testing.assert_array_equal(scores, 1 + found.matrix.toarray())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_a_log_does_not_depend_on_the_order_of_the_tables_rows(toy_events: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = [(int(user), int(item)) for user, item in rng.integers(4, size=(30, 2))]
    table = toy_events(pairs, rng.integers(3, size=30).astype(float))  # many events have equal time stamps
    for name in ("weight", "quantity"):
        place = table.column_names.index(name)
        field = table.schema.field(place)
        table = table.set_column(place, field, pa.array(rng.integers(1, 4, 30).astype(float)).cast(field.type))
    one = Interactions.from_table(table)
    other = Interactions.from_table(table.take(rng.permutation(30)))
    for name in ("user_rows", "item_columns", "timestamps", "weights", "strengths"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("indptr", "item_columns", "timestamps", "weights"):
        np.testing.assert_array_equal(getattr(one.histories(), name), getattr(other.histories(), name))
