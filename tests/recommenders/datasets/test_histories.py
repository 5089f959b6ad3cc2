"""What is known of buyers, as events in order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recommenders.datasets.histories import Histories

lists = st.lists(st.lists(st.integers(0, 6), max_size=6), max_size=5)


@given(of=lists)
def test_the_matrix_counts_the_events(of: list[list[int]]) -> None:
    known = Histories.of_lists(of, 7)
    expected = np.array([np.bincount(columns, minlength=7) for columns in map(np.int64, of)]).reshape(-1, 7)
    np.testing.assert_array_equal(known.matrix.toarray(), expected)
    assert known.matrix.has_canonical_format
    assert known.shape == (len(of), 7)


@given(of=lists, length=st.integers(1, 8))
def test_the_latest_are_the_last_ones(of: list[list[int]], length: int) -> None:
    found = Histories.of_lists(of, 7).latest(length)
    for row, columns in zip(found.tolist(), of, strict=True):
        assert row == [-1] * (length - len(columns)) + columns[-length:]


@given(of=lists, data=st.data())
def test_rows_can_be_chosen_in_any_order(of: list[list[int]], data: st.DataObject) -> None:
    known = Histories.of_lists(of, 7)
    rows = data.draw(st.lists(st.integers(0, len(of) - 1), max_size=6)) if of else []
    chosen = known[rows]
    assert [columns.tolist() for columns in np.split(chosen.item_columns, chosen.indptr[1:-1])][: len(rows)] == [
        of[row] for row in rows
    ]
    np.testing.assert_array_equal(known[1:3].matrix.toarray(), known.matrix.toarray()[1:3])


@given(of=lists)
def test_what_is_left_out_is_gone_and_the_rest_stays(of: list[list[int]]) -> None:
    known = Histories.of_lists(of, 7)
    left = known.select(known.item_columns != 3)
    assert len(left) == len(known)
    expected = known.matrix.toarray()
    expected[:, 3] = 0
    np.testing.assert_array_equal(left.matrix.toarray(), expected)
