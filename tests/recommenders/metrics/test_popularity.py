"""Novelty, serendipity and popularity lift: known values and properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recommenders.metrics import popularity, ranking

N_ITEMS = 8
LIST = st.permutations(range(N_ITEMS)).map(lambda order: order[:4])


def test_novelty_is_the_mean_self_information_in_bits() -> None:
    users_per_item = np.array([8, 4, 1, 0])
    ranked = np.array([[0, 1], [2, 3], [1, -1], [-1, -1]], np.int32)
    got = popularity.novelty(ranked, users_per_item, n_users=8)
    np.testing.assert_allclose(got, [0.5, 3.0, 1.0, np.nan])  # no user had item 3: the same as an item of one user


@settings(max_examples=60)
@given(ranked=LIST, expected=LIST, relevant_items=st.sets(st.integers(0, N_ITEMS - 1), min_size=1))
def test_serendipity_counts_unexpected_hits(ranked: list[int], expected: list[int], relevant_items: set[int]) -> None:
    relevant = csr_array(np.isin(np.arange(N_ITEMS), list(relevant_items))[None, :].astype(np.float32))
    lists, popular = np.array([ranked], np.int32), np.array([expected], np.int32)
    got = popularity.serendipity(lists, relevant, popular)
    assert got[0] == pytest.approx(len((set(ranked) & relevant_items) - set(expected)) / 4)
    assert got[0] <= ranking.precision(lists, relevant)[0]
    assert popularity.serendipity(popular, relevant, popular)[0] == 0


def test_serendipity_of_a_user_without_relevant_items_is_undefined() -> None:
    assert np.isnan(popularity.serendipity(np.array([[0, 1]], np.int32), csr_array((1, 3)), np.array([[2]], np.int32)))


def test_popularity_lift_compares_the_list_with_the_history() -> None:
    users_per_item = np.array([10, 20, 40, 0])
    chosen = csr_array(np.array([[5, 1, 0, 0], [2, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 3]], np.float32))
    ranked = np.array([[0, 1], [1, 2], [-1, -1], [0, 1], [0, 1]], np.int32)
    got = popularity.popularity_lift(ranked, users_per_item, chosen)
    # the same items; three times as popular; an empty list; no history; a history without other users
    np.testing.assert_allclose(got, [0.0, 2.0, np.nan, np.nan, np.nan])
