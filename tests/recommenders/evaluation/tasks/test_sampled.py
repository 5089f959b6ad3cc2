"""Sampled candidates against a simple implementation, and models that must not gain from ties."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommenders.evaluation.tasks.sampled import rank_candidates, shuffled_candidates
from recommenders.evaluation.tasks.task import EvaluationTask
from recommenders.events.histories import Histories
from recommenders.math.sparse import ones
from recommenders.metrics import ranking
from recommenders.models.recommender import Recommender


class Given(Recommender):
    """A model with given scores, (n_users, n_items)."""

    name = "given"

    def __init__(self, scores: np.ndarray) -> None:
        super().__init__()
        self.scores = scores.astype(np.float32)

    def _fit(self, *_: Any) -> None: ...

    def score(self, user_rows: np.ndarray, histories: Histories) -> np.ndarray:
        return self.scores[user_rows]

    def arrays(self) -> dict[str, np.ndarray]:
        return {}

    def restore(self, arrays: dict[str, np.ndarray]) -> None: ...


def task_of(relevant: np.ndarray) -> EvaluationTask:
    n_users, n_items = relevant.shape
    rows, columns = np.nonzero(relevant)
    return EvaluationTask(
        np.array([f"u{row:05}" for row in range(n_users)]),
        np.arange(n_users, dtype=np.int32),
        Histories.from_lists([[]] * n_users, n_items),
        ones(rows, columns, (n_users, n_items)),
        np.ones(n_items, dtype=np.bool_),
        False,
        "toy",
        0,
        0,
    )


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_ranks_are_those_of_a_simple_implementation(seed: int, n_relevant: int) -> None:
    rng = np.random.default_rng(seed)
    n_users, n_items = 7, 30
    relevant = np.zeros((n_users, n_items))
    for row in range(n_users):
        relevant[row, rng.choice(n_items, rng.integers(1, n_relevant + 1), replace=False)] = 1
    scores = rng.permuted(np.tile(np.arange(n_items), (n_users, 1)), axis=1)  # no equal scores
    places = rng.integers(0, n_users, 60)
    columns = rng.integers(0, n_items + 4, 60)  # the last four are unknown items
    ranked = rank_candidates(
        Given(scores), task_of(relevant), shuffled_candidates(task_of(relevant), places, columns), 5
    )
    for row in range(n_users):
        relevant_items = set(np.flatnonzero(relevant[row]))
        chosen = relevant_items | {int(column) for column in columns[places == row] if column < n_items}
        best = sorted(chosen, key=lambda column: -scores[row, column])[:5]
        assert ranked[row].tolist() == best + [-1] * (5 - len(best))


def test_a_model_with_constant_scores_gains_nothing() -> None:
    n_users, n_items = 4000, 100
    relevant = np.zeros((n_users, n_items))
    relevant[:, 0] = 1  # the first column, and the first candidate
    places, columns = np.repeat(np.arange(n_users), 99), np.tile(np.arange(1, 100), n_users)
    task = task_of(relevant)
    ranked = rank_candidates(Given(np.zeros((n_users, n_items))), task, shuffled_candidates(task, places, columns), 10)
    hit = ranking.hit_rate(ranked, task.relevant).mean()
    assert hit == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / n_users))


def test_the_order_depends_on_the_seed_only() -> None:
    task = task_of(np.eye(5, 20))
    places, columns = np.repeat(np.arange(5), 10), np.tile(np.arange(10, 20), 5)
    orders = [shuffled_candidates(task, places, columns, seed).item_columns.tolist() for seed in (1, 1, 2)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert (
        shuffled_candidates(task, places, columns).item_columns.tolist()
        == shuffled_candidates(task, places, columns, 42).item_columns.tolist()
    )


def test_unknown_items_count_as_candidates_and_rank_last() -> None:
    task = task_of(np.eye(1, 3))
    candidates = shuffled_candidates(task, np.array([0, 0, 0]), np.array([3, 4, 1]))
    assert candidates.counts.tolist() == [4]
    assert sorted(candidates.item_columns[0].tolist()) == [-1, -1, 0, 1]
    uneven = shuffled_candidates(task_of(np.eye(2, 3)), np.array([1, 1]), np.array([0, 2]))
    assert uneven.item_columns[0].tolist() == [0, -1, -1]
    ranked = rank_candidates(Given(np.array([[-5.0, -9.0, 0.0]])), task, candidates, 4)
    assert ranked.tolist() == [[0, 1, -1, -1]]
    assert candidates.describe(task).startswith("sampled candidates: 3 negatives a user")
