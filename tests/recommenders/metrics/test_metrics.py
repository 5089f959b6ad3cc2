"""The metrics against the same definitions written as loops, and their laws."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recommenders.metrics import ranking, variety

N_ITEMS = 12
LISTS = st.lists(
    st.tuples(st.permutations(range(N_ITEMS)), st.integers(0, 5), st.sets(st.integers(0, N_ITEMS - 1), max_size=8)),
    min_size=1,
    max_size=6,
)


def table(cases: list[Any], k: int = 5) -> tuple[np.ndarray, csr_array]:
    """Lists cut to k places, the last few empty, and what is relevant."""
    ranked = np.full((len(cases), k), -1, np.int32)
    dense = np.zeros((len(cases), N_ITEMS), np.float32)
    for row, (order, filled, relevant) in enumerate(cases):
        ranked[row, : min(filled, k)] = order[: min(filled, k)]
        dense[row, list(relevant)] = 1
    return ranked, csr_array(dense)


def naive(name: str, columns: list[int], relevant: set[int]) -> float:
    if not relevant:
        return math.nan
    k = len(columns)
    at = [place for place, column in enumerate(columns, 1) if column in relevant]
    ideal = sum(1 / math.log2(place + 1) for place in range(1, min(k, len(relevant)) + 1))
    return {
        "precision": len(at) / k,
        "recall": len(at) / len(relevant),
        "hit_rate": float(bool(at)),
        "mrr": 1 / at[0] if at else 0.0,
        "average_precision": sum((i + 1) / place for i, place in enumerate(at)) / min(k, len(relevant)),
        "ndcg": sum(1 / math.log2(place + 1) for place in at) / ideal,
    }[name]


@pytest.mark.parametrize("name", ["precision", "recall", "hit_rate", "mrr", "average_precision", "ndcg"])
@settings(max_examples=40, deadline=None)
@given(cases=LISTS)
def test_agrees_with_loops_and_stays_in_bounds(name: str, cases: list[Any]) -> None:
    ranked, relevant = table(cases)
    got = getattr(ranking, name)(ranked, relevant)
    expected = [naive(name, row.tolist(), wanted) for row, (_, _, wanted) in zip(ranked, cases, strict=True)]
    np.testing.assert_allclose(got, expected)
    assert ((got >= 0) & (got <= 1) | np.isnan(got)).all()


@settings(max_examples=40, deadline=None)
@given(wanted=st.sets(st.integers(0, N_ITEMS - 1), min_size=1))
def test_the_ideal_ranking_scores_one(wanted: set[int]) -> None:
    order = [*sorted(wanted), *(i for i in range(N_ITEMS) if i not in wanted)]
    ranked, relevant = table([(order, 5, wanted)])
    for metric in (ranking.ndcg, ranking.average_precision, ranking.mrr, ranking.hit_rate):
        assert metric(ranked, relevant) == pytest.approx(1.0)
    assert ranking.precision(ranked, relevant) == pytest.approx(min(5, len(wanted)) / 5)


def test_other_users_lists_are_refused() -> None:
    with pytest.raises(ValueError, match="2 lists for 1 rows"):
        ranking.ndcg(np.zeros((2, 3), np.int32), csr_array((1, 4)))


def test_diversity_is_one_minus_the_mean_cosine_of_pairs() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(8, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[7] = 0  # nothing known
    ranked = np.array([[0, 1, 2, 7], [3, 4, -1, -1], [5, -1, -1, -1], [6, 6, -1, -1]], np.int32)
    got = variety.diversity(ranked, csr_array(vectors))
    pairs = [(0, 1), (0, 2), (0, 7), (1, 2), (1, 7), (2, 7)]
    assert got[0] == pytest.approx(1 - np.mean([vectors[a] @ vectors[b] for a, b in pairs]))
    assert got[1] == pytest.approx(1 - vectors[3] @ vectors[4])
    assert np.isnan(got[2])
    assert got[3] == pytest.approx(0.0)


def test_coverage_counts_each_candidate_once() -> None:
    candidates = np.array([True, True, True, False])
    shown = variety.covered(np.array([[0, 3], [0, -1]], np.int32), candidates)
    assert shown.tolist() == [1, 0, 0]
