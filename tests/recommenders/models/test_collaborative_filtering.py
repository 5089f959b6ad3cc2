"""Neighbours: similarities by definition, the same result on every code path, and logs with known results."""

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array, random_array

from recommenders.events.histories import Histories
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.models.collaborative_filtering import neighbour_index
from recommenders.models.collaborative_filtering.model import (
    CollaborativeFiltering,
    CollaborativeFilteringConfig,
)
from recommenders.models.collaborative_filtering.neighbour_index import NeighbourIndex

PLAIN = {"shrinkage": 0.0, "recency_visits": None, "item_damping": 0.0, "repeat_share": 0.0}


def make_log(pairs: list[tuple[int, int]], repeat: bool = False, times: list[int] | None = None) -> Interactions:
    """One event of weight 1 a pair, a day apart unless times are given."""
    users, items = np.array(pairs, dtype=np.int32).T
    days = np.arange(len(pairs)) if times is None else np.array(times)
    return Interactions(
        IdMap(np.array([f"u{user:03}" for user in range(users.max() + 1)])),
        IdMap(np.array([f"i{item:03}" for item in range(items.max() + 1)])),
        users,
        items,
        days.astype(np.int64) * 86_400_000_000,
        np.ones(len(pairs), np.float32),
        (1.0 + (users + items) % 5).astype(np.float32),
        np.ones(items.max() + 1, dtype=np.bool_),
        repeat,
    )


@pytest.fixture(scope="module")
def random_log() -> Interactions:
    """80 users, 60 items, some pairs several times; later items are rarer."""
    rng = np.random.default_rng(0)
    pairs = list(
        zip(rng.integers(0, 80, 1500).tolist(), (60 * rng.random(1500) ** 2).astype(int).tolist(), strict=True)
    )
    return make_log([*pairs, (79, 59)], repeat=True)


def fitted(log: Interactions, **settings: Any) -> CollaborativeFiltering:
    return CollaborativeFiltering(CollaborativeFilteringConfig(**settings)).fit(log)


def dense_sample(seed: int = 1) -> np.ndarray:
    sample = random_array((30, 20), density=0.3, rng=np.random.default_rng(seed), dtype=np.float32)
    return np.asarray(sample.toarray())


def test_cosines_and_correlations_equal_those_of_numpy() -> None:
    rows, queries = dense_sample(), dense_sample(2)
    lengths = np.outer(np.linalg.norm(queries, axis=1), np.linalg.norm(rows, axis=1))
    cosines = NeighbourIndex(csr_array(rows)).similarities(csr_array(queries))
    np.testing.assert_allclose(cosines, queries @ rows.T / lengths, atol=1e-5)
    correlations = NeighbourIndex(csr_array(rows), centred=True).similarities(csr_array(queries))
    np.testing.assert_allclose(correlations, np.corrcoef(queries, rows)[:30, 30:], atol=1e-5)


def test_shrinkage_of_one_halves_the_similarity_of_a_row_of_mean_norm() -> None:
    rows = csr_array(np.eye(3, dtype=np.float32))
    np.testing.assert_allclose(NeighbourIndex(rows, shrinkage=1.0).similarities(rows), 0.5 * np.eye(3))


@pytest.mark.parametrize("centred", [False, True])
def test_every_path_finds_the_same_neighbours(centred: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, queries = dense_sample(), csr_array(dense_sample(2))
    own_rows = np.arange(30, dtype=np.int32)
    index = NeighbourIndex(csr_array(rows), centred, shrinkage=0.2)
    expected = index.similarities(queries)
    expected[own_rows, own_rows] = 0.0
    expected[expected < -np.sort(-expected, axis=1)[:, 4:5]] = 0.0
    expected = np.maximum(expected, 0.0)
    np.testing.assert_allclose(index.nearest(queries, 5, own_rows).toarray(), expected, rtol=1e-4)
    for place in range(30):
        chosen = slice(queries.indptr[place], queries.indptr[place + 1])
        nearest, values = index.nearest_of_one(queries.indices[chosen], queries.data[chosen], 5, place)
        alone = np.zeros(30)
        alone[nearest] = values
        np.testing.assert_allclose(alone, expected[place], rtol=1e-4)
    monkeypatch.setattr(neighbour_index, "DENSE_ROWS", 1)  # too many rows for dense blocks, a few queries at a time
    monkeypatch.setattr(neighbour_index, "SPARSE_PRODUCTS", 100)
    shared = (np.asarray(queries.toarray()) != 0).astype(int) @ (rows != 0).T.astype(int) > 0
    np.testing.assert_allclose(index.nearest(queries, 5, own_rows).toarray(), expected * shared, rtol=1e-4)


@pytest.mark.parametrize("most", [1, 100, 1_000_000])  # multiplications at once: one row, some rows, all rows
@pytest.mark.parametrize("density", [0.0, 0.02, 0.5])
def test_the_dense_product_equals_that_of_numpy(density: float, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbour_index, "SUMMED_PRODUCTS", most)
    rng = np.random.default_rng(3)
    left, right = (random_array(shape, density=density, rng=rng, dtype=np.float32) for shape in ((25, 40), (40, 15)))
    expected = left.toarray() @ right.toarray()
    product = neighbour_index.dense_product(csr_array(left), csr_array(right))
    assert product.dtype == np.float32
    np.testing.assert_allclose(product, expected, rtol=1e-5, atol=1e-6)
    assert neighbour_index.dense_product(csr_array(left)[:0], csr_array(right)).shape == (0, 15)


def test_a_known_user_is_not_its_own_neighbour() -> None:
    log = make_log([(0, 0), (0, 1), (1, 1), (1, 2)])
    scores = fitted(log, **PLAIN).score(np.array([0, -1], np.int32), log.histories()[[0, 0]])
    assert scores[0, 0] == 0  # only user 0 bought it
    assert scores[1, 0] > 0  # for a cold-start user, user 0 is a neighbour


def test_scores_are_the_weighted_mean_of_the_neighbours_log_weights() -> None:
    log = make_log([(0, 0), (0, 1), (1, 1), (1, 2), (2, 0), (2, 1), (2, 3), (3, 4)])
    model = fitted(log, **PLAIN, n_neighbours=2, similarity_power=1.0)
    near, far = 2 / np.sqrt(2 * 3), 1 / np.sqrt(2 * 2)  # cosines of user 0 with users 2 and 1
    expected = np.log(2) * np.array([near, near + far, far, near, 0.0]) / (near + far)
    np.testing.assert_allclose(model.score(np.array([0], np.int32), log.histories()[:1])[0], expected, rtol=1e-4)


def test_item_neighbours_score_by_similarity_to_the_history() -> None:
    log = make_log([(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 2), (3, 3)])
    model = fitted(log, **PLAIN, neighbours="items")
    scores = model.score(np.array([-1], np.int32), Histories.from_lists([[0]], 4))[0]
    np.testing.assert_allclose(scores, np.log(2) * np.array([0.0, 1.0, 0.5, 0.0]), rtol=1e-4)
    one = fitted(log, **PLAIN, neighbours="items", n_neighbours=1)
    assert (np.diff(one.item_similarity_.T.tocsr().indptr) <= 1).all()


@pytest.mark.parametrize("metric", ["cosine", "pearson"])
@pytest.mark.parametrize("kind", ["users", "items"])
def test_single_users_score_as_in_a_batch_and_a_bundle_round_trips(
    random_log: Any, kind: Any, metric: Any, tmp_path: Any
) -> None:
    model = fitted(random_log, neighbours=kind, similarity_metric=metric, n_neighbours=10)
    known = random_log.histories()[np.arange(40)]
    rows = np.where(np.arange(40) % 3 == 0, -1, np.arange(40)).astype(np.int32)
    together = model.score(rows, known)
    alone = np.concatenate([model.score(rows[[i]], known[[i]]) for i in range(40)])
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-6)
    assert np.isfinite(together).all()
    again = CollaborativeFiltering.load(model.save(tmp_path / "bundle"))
    np.testing.assert_array_equal(again.score(rows, known), together)


@pytest.mark.parametrize("settings", [{}, {"neighbours": "items"}, {"similarity_metric": "pearson"}])
def test_checkerboard_users_get_the_item_left_out(world: Any, answers: np.ndarray, settings: Any) -> None:
    log, _ = world
    first = fitted(log, **settings).recommend(np.arange(24, dtype=np.int32), log.histories(), 1).item_columns[:, 0]
    np.testing.assert_array_equal(first, answers)


def test_own_purchases_count_only_on_repeat_logs(world: Any, reorder_world: Any) -> None:
    for (log, _), differs in ((world, False), (reorder_world, True)):
        rows, known = np.arange(24, dtype=np.int32), log.histories()
        for kind in ("users", "items"):
            with_repeats = fitted(log, neighbours=kind, repeat_share=0.5).score(rows, known)
            assert (
                np.allclose(with_repeats, fitted(log, neighbours=kind, repeat_share=0.0).score(rows, known)) != differs
            )


def test_the_newest_visit_has_the_largest_weight() -> None:
    group_a, group_b = [(u, i) for u in (1, 2) for i in (0, 1)], [(u, i) for u in (3, 4) for i in (2, 3)]
    log = make_log([(0, 0), *group_a, *group_b, (0, 2)])
    scores = fitted(log, repeat_share=0.0).score(np.array([0], np.int32), log.histories()[:1])[0]
    assert scores[3] > scores[1]
    no_decay = fitted(log, repeat_share=0.0, recency_visits=None).score(np.array([0], np.int32), log.histories()[:1])[0]
    assert no_decay[3] == pytest.approx(no_decay[1])
    only_last = fitted(log, repeat_share=0.0, max_visits=1).score(np.array([0], np.int32), log.histories()[:1])[0]
    assert only_last[3] > only_last[1] == 0


def test_pearson_uses_strengths_of_the_log_and_the_mean_strength_for_new_pairs() -> None:
    log = make_log([(0, 0), (0, 1), (1, 0), (1, 1), (2, 1)])
    model = fitted(log, similarity_metric="pearson", recency_visits=None, item_damping=0.0)
    longer = Histories.from_lists([[0, 1], [0]], 2)
    known = longer.known_items
    np.testing.assert_array_equal(model._query_weights(np.array([1, -1], np.int32), known)[:2], [2.0, 3.0])
    assert model._query_weights(np.array([1, -1], np.int32), known)[2] == model.mean_strength_[0]


def test_empty_histories_are_no_error() -> None:
    log = make_log([(0, 0), (1, 1)])
    for kind in ("users", "items"):
        model = fitted(log, neighbours=kind)
        assert not model.score(np.array([-1], np.int32), Histories.from_lists([[]], 2)).any()
        assert not model.score(np.full(2, -1, np.int32), Histories.from_lists([[], []], 2)).any()
        assert model.score(np.full(2, -1, np.int32), Histories.from_lists([[0], []], 2)).shape == (2, 2)


def test_memory_grows_with_the_log_not_with_users_squared(random_log: Any) -> None:
    model = CollaborativeFiltering()
    many = IdMap(np.array([f"u{user:07}" for user in range(300_000)]))
    from dataclasses import replace

    large = model.memory_needed(replace(random_log, users=many))
    assert large < 512 * 300_000 * 4
    assert model.memory_needed(random_log) > 0
