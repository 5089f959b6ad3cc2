"""The variety metrics against the same definitions over pairs."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recommenders.metrics import variety

N_ITEMS = 9
RANKED = st.lists(st.permutations(range(N_ITEMS)).map(lambda order: order[:4]), min_size=2, max_size=7)


def test_diversity_is_one_minus_the_mean_cosine_of_pairs() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(9, 5))  # the last is in no list
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[7] = 0  # no features
    ranked = np.array([[0, 1, 2, 7], [3, 4, -1, -1], [5, -1, -1, -1], [6, 6, -1, -1]], np.int32)
    got = variety.diversity(ranked, csr_array(vectors))
    pairs = [(0, 1), (0, 2), (0, 7), (1, 2), (1, 7), (2, 7)]
    assert got[0] == pytest.approx(1 - np.mean([vectors[a] @ vectors[b] for a, b in pairs]))
    assert got[1] == pytest.approx(1 - vectors[3] @ vectors[4])
    assert np.isnan(got[2])
    assert got[3] == pytest.approx(0.0)


def test_places_after_the_last_item_are_empty() -> None:
    lists = variety.as_matrix(np.array([[1, -1], [-1, -1], [2, 0]], np.int32), 3)
    assert lists.indices.tolist() == [1, 2, 0]
    assert lists.toarray().tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 1]]


def test_lists_of_another_catalogue_are_an_error() -> None:
    with pytest.raises(ValueError, match="got item column 8; allowed: below 8"):
        variety.diversity(np.array([[0, 8]], np.int32), csr_array((8, 2)))


def test_coverage_counts_each_candidate_once() -> None:
    candidates = np.array([True, True, True, False])
    shown = variety.covered(np.array([[0, 3], [0, -1], [0, 2]], np.int32), candidates)
    assert shown.tolist() == [1, 0, 1]


@settings(max_examples=60)
@given(lists=RANKED)
def test_personalisation_is_one_minus_the_mean_overlap_of_pairs(lists: list[list[int]]) -> None:
    got = variety.personalisation(np.array(lists, np.int32), N_ITEMS)
    overlaps = [len(set(one) & set(other)) / 4 for one, other in combinations(lists, 2)]
    assert got.mean() == pytest.approx(1 - np.mean(overlaps))
    assert ((got >= -1e-12) & (got <= 1)).all()


def test_personalisation_of_equal_disjoint_empty_and_single_lists() -> None:
    assert variety.personalisation(np.array([[0, 1], [1, 0]], np.int32), 4).tolist() == [0, 0]
    assert variety.personalisation(np.array([[0, 1], [2, 3]], np.int32), 4).tolist() == [1, 1]
    assert variety.personalisation(np.array([[0, -1], [-1, -1]], np.int32), 4).tolist() == [1, 1]
    assert np.isnan(variety.personalisation(np.array([[0, 1]], np.int32), 4)).all()


@settings(max_examples=60)
@given(shown=st.lists(st.integers(0, 50), min_size=1, max_size=12).filter(any))
def test_gini_is_half_the_relative_mean_difference(shown: list[int]) -> None:
    mean_difference = np.abs(np.subtract.outer(shown, shown)).mean()
    got = variety.gini(np.array(shown))
    assert got == pytest.approx(mean_difference / (2 * np.mean(shown)))
    assert -1e-12 <= got < 1


def test_gini_of_equal_single_and_no_exposure() -> None:
    assert variety.gini(np.array([3, 3, 3])) == pytest.approx(0)
    assert variety.gini(np.array([0, 0, 0, 7])) == pytest.approx(0.75)
    assert np.isnan(variety.gini(np.zeros(4, np.int64)))
