"""What single models promise beyond the contract."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.sparse import csr_array

from recommenders.datasets.histories import Histories
from recommenders.datasets.interactions import Interactions
from recommenders.errors import ConfigurationError
from recommenders.features.items import ItemFeatures
from recommenders.models.collaborative_filtering import CollaborativeFiltering, CollaborativeFilteringConfig
from recommenders.models.content_based import ContentBased, ContentBasedConfig
from recommenders.models.hybrid import Hybrid, HybridConfig
from recommenders.models.neural_collaborative import NeuralCollaborative, NeuralCollaborativeConfig
from recommenders.models.neural_sampling import Sampler, factors
from recommenders.models.neural_training import NeuMF, hold_out_latest
from recommenders.models.popularity import Popularity, PopularityConfig

SMALL = {"embedding_dim": 6, "hidden_layers": (12, 5), "batch_size": 64}


def test_popularity_sums_decays_and_looks_back(toy_events: Any) -> None:
    log = Interactions.from_table(toy_events([(0, 0), (1, 0), (0, 1)], [0, 0, 30]))

    def scores(**settings: Any) -> list[float]:
        model = Popularity(PopularityConfig(**settings)).fit(log)
        return model.score(np.array([-1], np.int32), csr_array((1, 2)))[0].tolist()

    assert scores(events="summed") == [2, 1]
    assert scores(events="decayed", half_life_days=30) == [1, 1]
    assert scores(events="summed", window_days=10) == [0, 1]


def test_content_keeps_no_more_neighbours_than_asked_and_a_lonely_item_some() -> None:
    vectors = np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0], [0.6, 0.8, 0]], dtype=np.float32)
    log = _log([(0, 0), (0, 1), (1, 2), (1, 3)])
    features = ItemFeatures(csr_array(vectors), np.array([""] * 4))
    model = ContentBased(ContentBasedConfig(max_neighbours=2, fallback_neighbours=1)).fit(log, features)
    assert np.diff(model.similarity_.indptr).tolist() == [2, 2, 2, 2]
    assert model.similarity_.toarray()[3, 0] > 0  # below the threshold, and still its nearest
    alone = ContentBased(ContentBasedConfig(max_neighbours=2, fallback_neighbours=0)).fit(log, features)
    assert np.diff(alone.similarity_.indptr).tolist()[3] == 1


def test_content_refuses_features_of_other_items(world: Any) -> None:
    log, features = world
    fewer = ItemFeatures(features.vectors[:3], features.categories[:3])
    with pytest.raises(ConfigurationError, match="3 rows for 22 items"):
        ContentBased().fit(log, fewer)


@pytest.mark.parametrize("metric", ["cosine", "pearson"])
def test_similarities_agree_with_numpy(world: Any, metric: Any) -> None:
    log, _ = world
    config = CollaborativeFilteringConfig(similarity_metric=metric, shrinkage=0)
    model = CollaborativeFiltering(config).fit(log)
    dense = log.matrix("strength").toarray().astype(np.float64)
    lengths = np.linalg.norm(dense, axis=1)
    expected = np.corrcoef(dense) if metric == "pearson" else dense @ dense.T / np.outer(lengths, lengths)
    rows = np.arange(len(dense), dtype=np.int32)
    np.testing.assert_allclose(model.similarities(rows, model.histories_.matrix), expected, atol=1e-5)


def test_shrinkage_halves_a_similarity_of_as_many_common_items() -> None:
    log = _log([(0, 0), (0, 1), (1, 0), (1, 1)])
    free = CollaborativeFiltering(CollaborativeFilteringConfig(shrinkage=0)).fit(log)
    shrunk = CollaborativeFiltering(CollaborativeFilteringConfig(shrinkage=2)).fit(log)
    rows = np.array([0], np.int32)
    ratio = shrunk.similarities(rows, log.matrix()[:1]) / free.similarities(rows, log.matrix()[:1])
    np.testing.assert_allclose(ratio, 0.5)


def test_a_known_buyer_is_not_its_own_neighbour() -> None:
    log = _log([(0, 0), (0, 1), (1, 1), (1, 2)])
    model = CollaborativeFiltering(CollaborativeFilteringConfig(own_share=0, shrinkage=0)).fit(log)
    scores = model.score(np.array([0, -1], np.int32), log.histories()[[0, 0]])
    assert scores[0, 0] == 0  # only buyer 0 bought it
    assert scores[1, 0] > 0  # a stranger with the same history has buyer 0 as a neighbour


def test_the_own_habit_counts_only_where_buyers_come_back(world: Any, reorder_world: Any) -> None:
    for (log, _), differs in ((world, False), (reorder_world, True)):
        rows, known = np.arange(24, dtype=np.int32), log.histories()
        with_own = CollaborativeFiltering(CollaborativeFilteringConfig(own_share=0.5)).fit(log).score(rows, known)
        without = CollaborativeFiltering(CollaborativeFilteringConfig(own_share=0.0)).fit(log).score(rows, known)
        assert np.allclose(with_own, without) != differs


def test_numpy_answers_what_the_network_says(world: Any) -> None:
    log, _ = world
    config = NeuralCollaborativeConfig(**SMALL)
    torch.manual_seed(3)
    network = NeuMF(*log.shape, config).eval()
    model = NeuralCollaborative(config)
    model._remember(log)
    model.restore({**network.arrays(np.zeros(22, np.float32)), "epochs": np.array([1])})
    model.fold_in_ = model._fold_in()
    rows = torch.arange(24)
    with torch.no_grad():
        expected = network(rows, torch.arange(22).expand(24, 22)).numpy()
    got = model.score(rows.numpy().astype(np.int32), model.histories_)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_negatives_are_never_known_pairs(world: Any) -> None:
    log, _ = world
    sampler = Sampler(log, NeuralCollaborativeConfig(negatives=3), np.random.default_rng(0))
    users, items, weights = sampler.draw()
    bought = log.matrix().toarray() > 0
    assert bought[users, items[:, 0]].all()
    assert sorted(zip(users, items[:, 0], strict=True)) == sorted(zip(*np.nonzero(bought), strict=True))
    assert not (bought[users[:, None], items[:, 1:]] & (weights[:, 1:] > 0)).any()


def test_a_buyer_of_everything_teaches_no_false_negative() -> None:
    log = _log([(0, 0), (0, 1), (1, 0)])
    _, items, weights = (sampler := Sampler(log, NeuralCollaborativeConfig(), np.random.default_rng(0))).draw()
    assert items.shape == (3, 3)
    assert (weights[sampler.draw()[0] == 0][:, 1:].sum() >= 0).all()
    users, _, weights = sampler.draw()
    assert (weights[users == 0, 1:] == 0).all()


def test_recent_purchases_teach_more(toy_events: Any) -> None:
    log = Interactions.from_table(toy_events([(0, 0), (0, 1)], [0, 60]))
    weights = Sampler(log, NeuralCollaborativeConfig(half_life_share=0.5), np.random.default_rng(0)).weights
    assert weights[1] > weights[0] > 0
    timeless = NeuralCollaborativeConfig(half_life_share=None)
    assert Sampler(log, timeless, np.random.default_rng(0)).weights.tolist() == [1, 1]


def test_factors_rebuild_a_matrix_of_their_rank(world: Any) -> None:
    log, _ = world
    users, items = factors(log, 4, np.random.default_rng(0))
    assert users.shape == (24, 4)
    rebuilt = users @ items.T
    colours = np.equal.outer(np.arange(24) % 2, np.arange(20) % 2)
    assert rebuilt[:, :20][colours].min() > rebuilt[:, :20][~colours].max()


def test_validation_is_the_latest_order_and_never_taught(world: Any) -> None:
    log, _ = world
    config = NeuralCollaborativeConfig(validation_split=0.5)
    kept, validation = hold_out_latest(log, config, np.random.default_rng(0))
    assert validation is not None
    assert len(validation.user_rows) == 12
    assert len(kept) + validation.relevant.nnz == len(log)
    for row, relevant in zip(validation.user_rows, validation.relevant.toarray(), strict=True):
        of_user = log.user_rows == row
        latest = log.item_columns[of_user & (log.timestamps == log.timestamps[of_user].max())]
        assert np.flatnonzero(relevant).tolist() == sorted(latest.tolist())


def test_a_curve_is_told_to_the_tracker_and_a_refit_repeats_its_epochs(world: Any) -> None:
    class Notes:
        def __init__(self) -> None:
            self.points: list[tuple[int, dict[str, float]]] = []

        def log(self, step: int, metrics: dict[str, float]) -> None:
            self.points.append((step, metrics))

    notes = Notes()
    model = NeuralCollaborative(NeuralCollaborativeConfig(**SMALL, epochs=4, patience=4)).fit(world[0], tracker=notes)
    assert [step for step, _ in notes.points] == [1, 2, 3, 4]
    assert set(notes.points[0][1]) == {"loss", "validation_ndcg@20"}
    assert [point["epoch"] for point in model.learning_curve] == [1, 2, 3, 4]
    again = NeuralCollaborative(NeuralCollaborativeConfig(**SMALL, fixed_epochs=3)).fit(world[0])
    assert again.epochs_ == len(again.learning_curve) == 3
    assert "validation_ndcg@20" not in again.learning_curve[0]


def test_training_leaves_torch_as_it_was(world: Any) -> None:
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    NeuralCollaborative(NeuralCollaborativeConfig(**SMALL, fixed_epochs=1, threads=threads + 1)).fit(world[0])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_new_purchases_move_a_known_buyer_and_the_same_ones_do_not(world: Any) -> None:
    log, _ = world
    model = NeuralCollaborative(NeuralCollaborativeConfig(**SMALL, fixed_epochs=3)).fit(log)
    row = np.array([0], np.int32)
    np.testing.assert_array_equal(model.user_vectors(row, model.histories_[:1]), model.users_vectors_[:1])
    more = model.histories_[:1].matrix.toarray()
    more[0, 1] = 5.0
    assert not np.allclose(model.user_vectors(row, Histories.of_matrix(csr_array(more))), model.users_vectors_[:1])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"ncff": 1.0}, "unknown member ncff; choose from collaborative_filtering, content_based, neural_collab"),
        ({"content_based": -0.1, "collaborative_filtering": 1.0}, "0 or more"),
        ({"content_based": 0.0}, "at least one"),
        ({"content_based": float("nan")}, "0 or more"),
    ],
)
def test_weights_that_make_no_sense_are_refused(weights: dict[str, float], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        HybridConfig(model_weights=weights)


def test_a_blend_of_one_member_ranks_like_it(world: Any) -> None:
    log, _ = world
    members = {"popularity": Popularity().fit(log), "collaborative_filtering": CollaborativeFiltering().fit(log)}
    config = HybridConfig(model_weights={"collaborative_filtering": 2.0})
    hybrid = Hybrid.compose(members, log, config)
    rows = np.arange(24, dtype=np.int32)
    alone = members["collaborative_filtering"].recommend(rows, log.histories(), 1).item_columns
    np.testing.assert_array_equal(hybrid.recommend(rows, log.histories(), 1).item_columns, alone)


def test_who_is_unknown_to_all_members_gets_what_is_popular(toy_events: Any) -> None:
    log = Interactions.from_table(toy_events([(0, 2), (1, 2), (1, 0), (2, 2), (2, 1), (0, 1)], [0, 1, 2, 3, 4, 5]))
    popular = Popularity(PopularityConfig(events="summed")).fit(log)
    fitted = {"popularity": popular, "collaborative_filtering": CollaborativeFiltering().fit(log)}
    hybrid = Hybrid.compose(fitted, log, HybridConfig(model_weights={"collaborative_filtering": 1.0}))
    ranked = hybrid.recommend(np.array([-1], np.int32), Histories.of_lists([[]], 3), 3)
    assert ranked.item_columns.tolist() == [[2, 1, 0]]


def test_a_blend_lacking_a_member_is_refused(world: Any) -> None:
    with pytest.raises(ConfigurationError, match="the hybrid needs"):
        Hybrid.compose({"popularity": Popularity().fit(world[0])}, world[0], HybridConfig())


def _log(pairs: list[tuple[int, int]]) -> Interactions:
    import pyarrow as pa

    from recommenders import schema

    table = pa.table(
        {
            "user_id": [f"u{user}" for user, _ in pairs],
            "item_id": [f"i{item}" for _, item in pairs],
            "timestamp": pa.array(range(len(pairs)), pa.int64()).cast(schema.TIME),
            "event": ["purchase"] * len(pairs),
            "weight": [1.0] * len(pairs),
        }
    )
    return Interactions.from_table(schema.conform(table, schema.INTERACTIONS, "toy"))
