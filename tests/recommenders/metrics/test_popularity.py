"""Novelty, serendipity and popularity lift: known answers and laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recommenders.metrics import popularity, ranking

N_ITEMS = 8
LIST = st.permutations(range(N_ITEMS)).map(lambda order: order[:4])


def test_novelty_is_the_mean_surprise_in_bits() -> None:
    n_buyers = np.array([8, 4, 1, 0])
    ranked = np.array([[0, 1], [2, 3], [1, -1], [-1, -1]], np.int32)
    got = popularity.novelty(ranked, n_buyers, n_users=8)
    np.testing.assert_allclose(got, [0.5, 3.0, 1.0, np.nan])  # nobody had item 3: as surprising as one that one had


@settings(max_examples=60)
@given(ranked=LIST, expected=LIST, wanted=st.sets(st.integers(0, N_ITEMS - 1), min_size=1))
def test_serendipity_counts_the_hits_that_were_not_expected(
    ranked: list[int], expected: list[int], wanted: set[int]
) -> None:
    relevant = csr_array(np.isin(np.arange(N_ITEMS), list(wanted))[None, :].astype(np.float32))
    lists, popular = np.array([ranked], np.int32), np.array([expected], np.int32)
    got = popularity.serendipity(lists, relevant, popular)
    assert got[0] == pytest.approx(len((set(ranked) & wanted) - set(expected)) / 4)
    assert got[0] <= ranking.precision(lists, relevant)[0]
    assert popularity.serendipity(popular, relevant, popular)[0] == 0


def test_serendipity_of_a_user_with_nothing_relevant_is_undefined() -> None:
    assert np.isnan(popularity.serendipity(np.array([[0, 1]], np.int32), csr_array((1, 3)), np.array([[2]], np.int32)))


def test_popularity_lift_compares_what_is_shown_with_what_was_chosen() -> None:
    n_buyers = np.array([10, 20, 40, 0])
    chosen = csr_array(np.array([[5, 1, 0, 0], [2, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 3]], np.float32))
    ranked = np.array([[0, 1], [1, 2], [-1, -1], [0, 1], [0, 1]], np.int32)
    got = popularity.popularity_lift(ranked, n_buyers, chosen)
    # the same items; three times as popular; an empty list; no history; a history that nobody else shares
    np.testing.assert_allclose(got, [0.0, 2.0, np.nan, np.nan, np.nan])
