"""Visits and distinct items of histories."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recommenders.datasets.histories import Histories
from recommenders.models.visits import known_items, visits_since

EVENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=8)  # (time, item)


def of(buyers: list[list[tuple[int, int]]]) -> Histories:
    ordered = [sorted(events, key=lambda event: event[0]) for events in buyers]
    lists = Histories.of_lists([[item for _, item in events] for events in ordered], 5)
    times = np.array([time for events in ordered for time, _ in events], dtype=np.int64)
    return Histories(lists.indptr, lists.item_columns, times, np.arange(1.0, len(times) + 1, dtype=np.float32), 5)


@given(buyers=st.lists(EVENTS, min_size=1, max_size=4))
def test_visits_are_distinct_later_moments(buyers: list[list[tuple[int, int]]]) -> None:
    histories = of(buyers)
    expected = []
    for row in range(len(histories)):
        times = histories[[row]].timestamps
        expected += [len({later for later in times.tolist() if later > time}) for time in times.tolist()]
    assert visits_since(histories).tolist() == expected


@given(buyers=st.lists(EVENTS, min_size=1, max_size=4))
def test_known_items_sum_like_the_matrix_and_keep_the_newest_visit(buyers: list[list[tuple[int, int]]]) -> None:
    histories = of(buyers)
    known = known_items(histories)
    matrix = histories.matrix
    np.testing.assert_array_equal(known.indptr, matrix.indptr)
    np.testing.assert_array_equal(known.item_columns, matrix.indices)
    np.testing.assert_allclose(known.weights, matrix.data)
    since = visits_since(histories)
    for row, column, visits in zip(known.rows, known.item_columns, known.visits_ago, strict=True):
        assert visits == since[(histories.rows == row) & (histories.item_columns == column)].min()
    some = known.select(known.visits_ago < 1)
    assert (some.visits_ago == 0).all()
    assert np.diff(some.indptr).sum() == len(some.item_columns) == (known.visits_ago == 0).sum()
