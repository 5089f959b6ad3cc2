"""EASE: its weights, which of them are kept, and the weights of the events of a history."""

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array, random_array

from recommenders.errors import ModelTooLargeError
from recommenders.events.histories import DAY, Histories
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.math import gram as grams
from recommenders.math.gram import gram, invert_in_place, sparse_gram
from recommenders.models.ease import EASE, EASEConfig
from recommenders.models.event_weighting import EventWeighting, EventWeightingConfig
from recommenders.models.recommender import Recommender, TrainingOptions

COLD_START = np.array([-1], np.int32)


def a_log(n_users: int = 300, n_items: int = 60, seed: int = 0, repeat: bool = True) -> Interactions:
    """A log of a month with very popular and rare items, and with repeat purchases."""
    rng = np.random.default_rng(seed)
    n_events = 12 * n_users
    columns = (n_items * rng.random(n_events) ** 2.5).astype(np.int32)
    ones = np.ones(n_events, np.float32)
    return Interactions(
        IdMap.from_ids(f"u{user:04}" for user in range(n_users)),
        IdMap.from_ids(f"i{item:04}" for item in range(n_items)),
        rng.integers(0, n_users, n_events).astype(np.int32),
        columns,
        np.sort(rng.integers(0, 30 * DAY, n_events)),
        ones,
        ones,
        np.ones(n_items, dtype=np.bool_),
        repeat,
    )


def textbook(matrix: np.ndarray, reg: float) -> np.ndarray:
    """EASE in double precision: a ridge regression for each column."""
    weights = np.zeros((matrix.shape[1], matrix.shape[1]))
    for column in range(matrix.shape[1]):
        others = np.delete(np.arange(matrix.shape[1]), column)
        x = matrix[:, others]
        weights[others, column] = np.linalg.solve(x.T @ x + reg * np.eye(len(others)), x.T @ matrix[:, column])
    return weights


@pytest.mark.parametrize("density", [0.02, 0.3])
def test_the_gramian_equals_that_of_numpy(density: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grams, "ROWS", 7)  # several blocks and tiles
    monkeypatch.setattr(grams, "BLOCK_PRODUCTS", 50)
    rng = np.random.default_rng(1)
    dense = np.round(random_array((90, 31), density=density, rng=rng).toarray() * 4).astype(np.float32)
    dense[:, :5] = rng.integers(0, 3, (90, 5))
    dense = dense[:, np.argsort(-(dense > 0).sum(axis=0), kind="stable")]
    matrix = csr_array(dense)
    np.testing.assert_array_equal(np.tril(gram(matrix, (dense > 0).sum(axis=0))), np.tril(dense.T @ dense))
    blocks = [block.toarray() for _, block in sparse_gram(matrix)]
    assert len(blocks) > 1
    np.testing.assert_array_equal(np.concatenate(blocks), dense.T @ dense)


def test_the_inverse_is_correct_to_single_precision() -> None:
    factors = np.random.default_rng(2).standard_normal((200, 50))
    matrix = factors.T @ factors + 10 * np.eye(50)
    np.testing.assert_allclose(invert_in_place(matrix.astype(np.float32)), np.linalg.inv(matrix), rtol=1e-3, atol=1e-6)


def test_a_matrix_without_inverse_is_an_error() -> None:
    with pytest.raises(ValueError, match="not positive definite; raise reg"):
        invert_in_place(-np.eye(3, dtype=np.float32))


def test_the_weights_are_the_ridge_regressions_of_the_paper() -> None:
    log = a_log()
    model = EASE(EASEConfig(reg=20.0, events="summed")).fit(log)
    values = np.log2(1 + log.matrix().toarray().astype(np.float64))
    np.testing.assert_allclose(model.weights_.toarray(), textbook(values, 20.0), atol=2e-5)


def test_the_largest_weights_are_kept() -> None:
    log = a_log()
    every = EASE().fit(log).weights_.toarray()
    few = EASE(EASEConfig(max_weights=9)).fit(log).weights_
    assert np.diff(few.indptr).tolist() == [9] * 60
    for row, kept in zip(every, few.toarray(), strict=True):
        np.testing.assert_array_equal(kept[kept != 0], row[kept != 0])
        assert np.abs(kept[kept != 0]).min() >= np.abs(row[kept == 0]).max()


def test_rare_items_have_pair_weights_and_the_others_exact_weights() -> None:
    log = a_log()
    values = np.log2(1 + log.matrix().toarray().astype(np.float64))
    weights = EASE(EASEConfig(dense_items=20, reg=50.0, events="summed")).fit(log).weights_.toarray()
    order = np.argsort(-(values > 0).sum(axis=0), kind="stable")
    often, rare = order[:20], order[20:]
    np.testing.assert_allclose(weights[np.ix_(often, often)], textbook(values[:, often], 50.0), atol=2e-5)
    assert not weights[np.ix_(often, rare)].any()
    products = values.T @ values
    sizes = products.diagonal() + 50.0
    pairs = products / np.maximum(sizes[:, None], sizes)
    np.fill_diagonal(pairs, 0.0)
    np.testing.assert_allclose(weights[rare], pairs[rare], atol=1e-6)


def test_max_weights_also_limits_rare_items() -> None:
    model = EASE(EASEConfig(dense_items=20, max_weights=7)).fit(a_log())
    assert np.diff(model.weights_.indptr).max() == 7


@pytest.mark.parametrize("dense_items", [60, 20])
def test_one_user_scores_as_among_others(dense_items: int) -> None:
    log = a_log()
    model = EASE(EASEConfig(dense_items=dense_items, max_weights=30)).fit(log)
    known = log.histories()
    rows = np.arange(300, dtype=np.int32)
    together = model.score(rows, known)
    for row in (0, 17, 299):
        np.testing.assert_allclose(model.score(rows[[row]], known[[row]])[0], together[row], rtol=1e-4, atol=1e-6)
    assert not model.score(COLD_START, Histories.from_lists([[]], 60)).any()


def test_items_bought_together_are_recommended(world: Any, answers: np.ndarray) -> None:
    log, _ = world
    model = EASE().fit(log)
    first = model.recommend(np.arange(24, dtype=np.int32), log.histories(), 1).item_columns[:, 0]
    np.testing.assert_array_equal(first, answers)


def test_old_events_decay_from_the_users_newest_event() -> None:
    log = a_log()
    values = EventWeighting("log", half_life_days=10.0)
    times = np.array([0, 10, 20], np.int64) * DAY
    history = Histories(np.array([0, 3]), np.array([4, 2, 4], np.int32), times, np.ones(3, np.float32), 60)
    columns, worth = values.weighted_items(history)
    assert columns.tolist() == [2, 4]
    np.testing.assert_allclose(worth, np.log2([1.5, 2.25]), rtol=1e-6)
    np.testing.assert_allclose(values.history_matrix(history).toarray()[0, [2, 4]], worth, rtol=1e-6)
    assert EventWeighting.from_log(EASEConfig(), log).half_life_days == pytest.approx(log.ages().max() / 4)
    assert EventWeighting.from_log(EventWeightingConfig(), log).half_life_days == pytest.approx(log.ages().max() / 2)


def test_no_decay_without_ages() -> None:
    from dataclasses import replace

    log = a_log()
    undated = EASE().fit(replace(log, dated=False))
    summed = EASE(EASEConfig(events="summed")).fit(log)
    assert (undated.weights_ != summed.weights_).nnz == 0


def test_events_of_nearly_zero_weight_are_left_out() -> None:
    values = EventWeighting("log", half_life_days=1.0)
    times = np.array([0, 400], np.int64) * DAY
    history = Histories(np.array([0, 2]), np.array([4, 2], np.int32), times, np.ones(2, np.float32), 60)
    assert values.weighted_items(history).item_columns.tolist() == [2]
    assert values.history_matrix(history).indices.tolist() == [2]


def test_scoring_does_not_change_a_history() -> None:
    log = a_log()
    model = EASE().fit(log)
    known = Histories.from_lists([[5, 3, 5], [9, 1, 9]], 60)
    model.score(np.array([-1, -1], np.int32), known)
    assert known.item_columns.tolist() == [5, 3, 5, 9, 1, 9]
    assert known.weights.tolist() == [1] * 6


def test_drops_are_those_of_scoring_without_each_item() -> None:
    log = a_log()
    model = EASE(EASEConfig(events="summed")).fit(log)  # with decay, other events of a user may weigh more
    for row in (3, 11):
        history = log.histories()[row : row + 1]
        np.testing.assert_allclose(model.drops(history, [5, 20]), Recommender.drops(model, history, [5, 20]), atol=1e-5)
        assert Recommender.drops(model, history, [5, 20]).any()


def test_a_loaded_model_has_the_same_scores(tmp_path: Any) -> None:
    log = a_log()
    model = EASE(EASEConfig(max_weights=30)).fit(log)
    again = EASE.load(model.save(tmp_path / "bundle"))
    rows = np.arange(300, dtype=np.int32)
    np.testing.assert_array_equal(again.score(rows, log.histories()), model.score(rows, log.histories()))
    np.testing.assert_array_equal(
        again.score(rows[:1], log.histories()[:1]), model.score(rows[:1], log.histories()[:1])
    )


def test_logs_of_one_event_and_of_one_item() -> None:
    log = a_log(n_users=3, n_items=4)
    one = log.select(np.arange(len(log)) == 5)
    assert np.isfinite(EASE().fit(one).score(COLD_START, Histories.from_lists([[0, 3]], 4))).all()
    lonely = a_log(n_users=3, n_items=1)
    assert EASE().fit(lonely).score(COLD_START, Histories.from_lists([[0]], 1)).tolist() == [[0.0]]


def test_too_little_memory_is_an_error_before_fitting() -> None:
    with pytest.raises(ModelTooLargeError, match="ease on 300 users x 60 items would need"):
        EASE().fit(a_log(), options=TrainingOptions(max_memory_mb=0.1))
