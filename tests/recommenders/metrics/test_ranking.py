"""The ranking metrics against NIST's trec_eval and against the same definitions as loops; and their properties."""

import math
from typing import Any

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recommenders.metrics import ranking

N_ITEMS = 12
K = 5
LISTS = st.lists(
    st.tuples(st.permutations(range(N_ITEMS)), st.integers(0, K), st.sets(st.integers(0, N_ITEMS - 1), max_size=8)),
    min_size=1,
    max_size=6,
)
SINGLE = {
    "precision": ranking.precision,
    "recall": ranking.recall,
    "ndcg": ranking.ndcg,
    "hit_rate": ranking.hit_rate,
    "map": ranking.average_precision,
    "mrr": ranking.mrr,
}
TREC = {"precision": "P", "recall": "recall", "ndcg": "ndcg_cut", "hit_rate": "success", "map": "map_cut"}


def table(cases: list[Any], k: int = K) -> tuple[np.ndarray, csr_array]:
    """Lists of k places, the last ones empty, and the relevant items."""
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
        "map": sum((i + 1) / place for i, place in enumerate(at)) / min(k, len(relevant)),
        "ndcg": sum(1 / math.log2(place + 1) for place in at) / ideal,
    }[name]


def trec_metrics(ranked: np.ndarray, cases: list[Any], k: int) -> dict[str, list[float]]:
    """The values of trec_eval for the same lists; nan without relevant items, 0 for an empty list."""
    qrels = {
        str(row): {f"d{item}": 1 for item in relevant_items}
        for row, (_, _, relevant_items) in enumerate(cases)
        if relevant_items
    }
    run = {
        str(row): {f"d{item}": float(-place) for place, item in enumerate(columns[:k].tolist()) if item >= 0}
        for row, columns in enumerate(ranked)
    }
    measures = {f"{name}.{k}" for name in TREC.values()} | {"recip_rank"}
    evaluated = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run) if qrels else {}
    found: dict[str, list[float]] = {name: [] for name in SINGLE}
    for row, (_, _, relevant_items) in enumerate(cases):
        figures = evaluated.get(str(row), {})
        for name, values in found.items():
            value = figures.get("recip_rank" if name == "mrr" else f"{TREC[name]}_{k}", 0.0)
            if name == "map" and relevant_items:  # trec_eval divides by all relevant items, also for shorter lists
                value *= len(relevant_items) / min(k, len(relevant_items))
            values.append(value if relevant_items else math.nan)
    return found


@settings(max_examples=80)
@given(cases=LISTS, k=st.integers(1, K))
def test_agrees_with_trec_eval_at_every_k(cases: list[Any], k: int) -> None:
    ranked, relevant = table(cases)
    got = ranking.all_metrics(ranked, relevant, [k])
    for name, expected in trec_metrics(ranked, cases, k).items():
        np.testing.assert_allclose(got[f"{name}@{k}"], expected, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("name", SINGLE)
@settings(max_examples=40)
@given(cases=LISTS)
def test_agrees_with_loops_and_stays_in_bounds(name: str, cases: list[Any]) -> None:
    ranked, relevant = table(cases)
    got = SINGLE[name](ranked, relevant)
    expected = [
        naive(name, row.tolist(), relevant_items) for row, (_, _, relevant_items) in zip(ranked, cases, strict=True)
    ]
    np.testing.assert_allclose(got, expected)
    assert ((got >= 0) & (got <= 1) | np.isnan(got)).all()


@settings(max_examples=40)
@given(cases=LISTS)
def test_all_metrics_returns_the_values_of_each_function(cases: list[Any]) -> None:
    ranked, relevant = table(cases)
    together = ranking.all_metrics(ranked, relevant, range(1, K + 1))
    assert list(together) == [f"{name}@{k}" for k in range(1, K + 1) for name in SINGLE]
    for k in range(1, K + 1):
        for name, metric in SINGLE.items():
            np.testing.assert_array_equal(together[f"{name}@{k}"], metric(ranked[:, :k], relevant))


@settings(max_examples=40)
@given(relevant_items=st.sets(st.integers(0, N_ITEMS - 1), min_size=1))
def test_the_ideal_ranking_scores_one(relevant_items: set[int]) -> None:
    order = [*sorted(relevant_items), *(i for i in range(N_ITEMS) if i not in relevant_items)]
    ranked, relevant = table([(order, 5, relevant_items)])
    for metric in (ranking.ndcg, ranking.average_precision, ranking.mrr, ranking.hit_rate):
        assert metric(ranked, relevant) == pytest.approx(1.0)
    assert ranking.precision(ranked, relevant) == pytest.approx(min(5, len(relevant_items)) / 5)


@settings(max_examples=60)
@given(
    order=st.permutations(range(N_ITEMS)), relevant_items=st.sets(st.integers(0, N_ITEMS - 1), min_size=1), at=st.data()
)
def test_moving_a_hit_up_lowers_no_metric(order: list[int], relevant_items: set[int], at: Any) -> None:
    low = at.draw(st.integers(1, K - 1))
    better = list(order)
    if order[low] in relevant_items:
        better[low - 1], better[low] = better[low], better[low - 1]
    before, after = (ranking.all_metrics(*table([(some, K, relevant_items)])) for some in (order, better))
    for name in before:
        assert after[name][0] >= before[name][0] - 1e-12


def test_columns_in_any_order_are_found() -> None:
    relevant = csr_array((np.ones(3), np.array([7, 2, 5]), np.array([0, 3])), shape=(1, 8))
    assert ranking.hits(np.array([[2, 3, 7, -1]], np.int32), relevant).tolist() == [[True, False, True, False]]


def test_without_relevant_items_all_metrics_are_undefined() -> None:
    found = ranking.all_metrics(np.zeros((2, 3), np.int32), csr_array((2, 4)))
    assert np.isnan(list(found.values())).all()


def test_no_users_no_values() -> None:
    found = ranking.all_metrics(np.zeros((0, 3), np.int32), csr_array((0, 4)))
    assert all(values.shape == (0,) for values in found.values())


@pytest.mark.parametrize("metric", [*SINGLE.values(), ranking.all_metrics])
def test_lists_of_other_users_are_an_error(metric: Any) -> None:
    with pytest.raises(ValueError, match="2 lists for 1 rows"):
        metric(np.zeros((2, 3), np.int32), csr_array((1, 4)))


@pytest.mark.parametrize("ks", [[0], [4], [], [1, 9]])
def test_a_k_beyond_the_list_length_is_an_error(ks: list[int]) -> None:
    with pytest.raises(ValueError, match="allowed: 1 to 3"):
        ranking.all_metrics(np.zeros((1, 3), np.int32), csr_array((1, 4)), ks)
