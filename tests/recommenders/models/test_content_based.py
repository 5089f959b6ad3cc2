"""The content-based model: similarities, popularity and repeat terms, and the rank of new items."""

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from recommenders.errors import ConfigurationError, ModelTooLargeError
from recommenders.events.histories import Histories
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.features.items import ItemFeatures
from recommenders.models.content_based import ContentBased, ContentBasedConfig
from recommenders.models.recommender import TrainingOptions

COLD_START = np.array([-1], dtype=np.int32)
CONTENT_ONLY = {"popularity_prior": 0.0, "repeat_share": 0.0, "recency_visits": None}


def features_of(vectors: list[list[float]], categories: list[str] | None = None) -> ItemFeatures:
    return ItemFeatures(csr_array(np.array(vectors, dtype=np.float32)), np.array(categories or [""] * len(vectors)))


def make_log(bought: list[tuple[int, int]], n_items: int, repeat: bool = False) -> Interactions:
    """One event of weight 1 a (user, item) pair, a minute apart."""
    users, items = np.array(bought, dtype=np.int32).reshape(-1, 2).T
    ones = np.ones(len(users), np.float32)
    return Interactions(
        IdMap(np.array([f"u{user}" for user in range(int(users.max(initial=0)) + 1)])),
        IdMap(np.array([f"i{item:02}" for item in range(n_items)])),
        users,
        items,
        np.arange(len(users)) * 60_000_000,
        ones,
        ones,
        np.ones(n_items, dtype=np.bool_),
        repeat,
    )


def test_items_keep_at_most_n_neighbours_and_isolated_items_the_fallback() -> None:
    features = features_of([[1, 0, 0], [1, 0, 0], [1, 0, 0], [0.6, 0.8, 0]])
    log = make_log([(0, 0), (0, 1), (1, 2), (1, 3)], 4)
    model = ContentBased(ContentBasedConfig(n_neighbours=2, fallback_neighbours=1)).fit(log, features)
    assert np.diff(model.similarity_.indptr).tolist() == [2, 2, 2, 2]
    assert model.similarity_.toarray()[3, :3].max() > 0  # below the threshold, but among its nearest
    without_fallback = ContentBased(ContentBasedConfig(n_neighbours=2, fallback_neighbours=0)).fit(log, features)
    assert np.diff(without_fallback.similarity_.indptr).tolist()[3] == 1


def test_similarities_are_thresholded_cosines_with_columns_of_sum_one() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.random((40, 6)) ** 3
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    config = ContentBasedConfig(similarity_threshold=0.8, fallback_neighbours=0, sharpness=2.0)
    model = ContentBased(config).fit(make_log([(0, 0)], 40), features_of(vectors.tolist()))
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, 1.0)
    expected = np.where(cosines >= 0.8, cosines, 0.0) ** 2
    np.testing.assert_allclose(model.similarity_.toarray(), expected / expected.sum(axis=0), rtol=1e-4, atol=1e-6)
    assert model.similarity_.indices.dtype == np.int32  # half the memory of int64, and a third less to read


def test_an_item_without_features_is_similar_only_to_itself() -> None:
    model = ContentBased(ContentBasedConfig(**CONTENT_ONLY)).fit(
        make_log([(0, 0)], 3), features_of([[0, 0], [1, 0], [1, 0]])
    )
    scores = model.score(COLD_START, Histories.from_lists([[0]], 3))[0]
    np.testing.assert_allclose(scores, [1, 0, 0])


def test_features_of_other_items_are_rejected(world: Any) -> None:
    log, features = world
    fewer = ItemFeatures(features.vectors[:3], features.categories[:3])
    with pytest.raises(ConfigurationError, match="3 rows for 22 items"):
        ContentBased().fit(log, fewer)


def test_the_prior_ranks_similar_items_and_a_new_item_has_its_category_mean() -> None:
    vectors, categories = [[1, 0]] * 4 + [[0, 1]] * 2, ["a"] * 4 + ["b"] * 2
    bought = [(user, 0) for user in range(9)] + [(0, 1), (1, 4)]
    model = ContentBased().fit(make_log(bought, 6), features_of(vectors, categories))
    best, seldom, new, _, other, other_new = model.prior_
    assert best == 1.0
    assert seldom < new < best
    assert other_new == pytest.approx(other)
    scores = model.score(COLD_START, Histories.from_lists([[1]], 6))[0]
    assert scores[0] > scores[2] > scores[5]


def test_content_alone_ignores_popularity() -> None:
    bought = [(user, 0) for user in range(9)] + [(0, 1)]
    model = ContentBased(ContentBasedConfig(**CONTENT_ONLY)).fit(make_log(bought, 3), features_of([[1, 0]] * 3))
    scores = model.score(COLD_START, Histories.from_lists([[1]], 3))[0]
    np.testing.assert_allclose(scores, 1.0, rtol=1e-5)


def test_own_purchases_count_on_repeat_logs() -> None:
    features, history = features_of([[1, 0]] * 3), Histories.from_lists([[0, 0, 1]], 3)
    config = ContentBasedConfig(popularity_prior=0.0, repeat_share=0.5)
    on_repeat_log = ContentBased(config).fit(make_log([(0, 0), (0, 1)], 3, repeat=True), features)
    scores = on_repeat_log.score(COLD_START, history)[0]
    np.testing.assert_allclose(scores - scores[2], [0.5, 0.5 * np.log(2) / np.log(3), 0], rtol=1e-5)
    without_repeat = ContentBased(config).fit(make_log([(0, 0), (0, 1)], 3), features)
    assert np.ptp(without_repeat.score(COLD_START, history)[0]) < 1e-6


def test_single_users_score_as_in_a_batch(reorder_world: Any) -> None:
    log, features = reorder_world
    model = ContentBased().fit(log, features)
    rows, known = np.arange(24, dtype=np.int32), log.histories()
    alone = np.concatenate([model.score(rows[[i]], known[[i]]) for i in range(24)])
    np.testing.assert_allclose(alone, model.score(rows, known), rtol=1e-5, atol=1e-6)
    empty = model.score(np.full(2, -1, np.int32), Histories.from_lists([[], [0]], 22))
    np.testing.assert_allclose(empty[0], model.config.popularity_prior * model.prior_, rtol=1e-6)


def test_reasons_are_the_terms_of_the_similarity_sum(world: Any) -> None:
    log, features = world
    model = ContentBased(ContentBasedConfig(**CONTENT_ONLY)).fit(log, features)
    history = Histories.from_lists([[0, 2, 4, 1]], 22)
    reasons = model.explain_all(history, [6, 1], n_reasons=4)
    assert {reason.item_column for reason in reasons[0]} == {0, 2, 4}
    terms = np.log(2) * model.similarity_.toarray()[[0, 1, 2, 4]][:, 6]
    assert sum(reason.drop for reason in reasons[0]) == pytest.approx(terms.sum(), rel=1e-5)
    assert [reason.item_column for reason in reasons[1]] == [1]


def test_a_catalogue_beyond_the_memory_limit_is_rejected(world: Any) -> None:
    with pytest.raises(ModelTooLargeError):
        ContentBased().fit(*world, TrainingOptions(max_memory_mb=0.01))
