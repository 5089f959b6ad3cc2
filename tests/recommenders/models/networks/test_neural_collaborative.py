"""Tests of NeuMF beyond the contract of all models: its scores, its training data, and when training stops."""

from typing import Any

import numpy as np
import pytest
import torch

from recommenders.errors import ConfigurationError, ModelTooLargeError, UnsuitableError
from recommenders.events.histories import Histories
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.models.networks.checkpoint import Checkpoint
from recommenders.models.networks.neural_collaborative import loss as loss_module
from recommenders.models.networks.neural_collaborative.config import NeuralCollaborativeConfig
from recommenders.models.networks.neural_collaborative.inference import pooling_weights, user_embedding_rows
from recommenders.models.networks.neural_collaborative.loss import Pairs, cross_entropy, pair_loss
from recommenders.models.networks.neural_collaborative.model import NeuralCollaborative
from recommenders.models.networks.neural_collaborative.network import MASKED, NeuMF
from recommenders.models.networks.neural_collaborative.sampling import Batch, Sampler
from recommenders.models.networks.neural_collaborative.training import NeuMFTrainer
from recommenders.models.networks.training_loop import TrainingResult, run_epochs
from recommenders.models.recommender import TrainingOptions

SMALL: dict[str, Any] = {"embedding_dim": 6, "hidden_layers": (12, 5), "batch_size": 64}
CPU = torch.device("cpu")


def run(trainer: NeuMFTrainer, n_epochs: int = 1) -> TrainingResult:
    trainer.config = trainer.config.model_copy(update={"fixed_epochs": n_epochs})
    return run_epochs(trainer, None, TrainingOptions(), Checkpoint(None, ""))


def sampler(log: Interactions, **settings: Any) -> Sampler:
    return Sampler(log, NeuralCollaborativeConfig(**{**SMALL, **settings}), np.random.default_rng(0), CPU)


def targets(batches: list[Batch]) -> list[tuple[int, int]]:
    """(user, item) of every target."""
    return [
        (user, slots[position])
        for batch in batches
        for user, slots, positions, weights in zip(
            batch.users.tolist(),
            batch.slots.tolist(),
            batch.target_positions.tolist(),
            batch.weights.tolist(),
            strict=True,
        )
        for position, weight in zip(positions, weights, strict=True)
        if weight > 0
    ]


def test_numpy_scores_equal_the_network_output(world: Any) -> None:
    log, _ = world
    config = NeuralCollaborativeConfig(**SMALL, history_length=5)
    torch.manual_seed(3)
    network = NeuMF(24, 22, config).eval()
    with torch.no_grad():
        network.item_embeddings.weight[:, -1] = torch.randn(22)
    model = NeuralCollaborative(config)
    model._store_context(log)
    numbered = {"user_embedding_rows": np.arange(24, dtype=np.int32), "epochs": np.array([1])}
    model.restore({**network.arrays(), **numbered})
    newest = torch.from_numpy(model.histories_.latest(5).astype(np.int64))
    with torch.no_grad():
        expected = network(network.user_embeddings.weight, newest, torch.arange(22).expand(24, 22)).numpy()
    rows = np.arange(24, dtype=np.int32)
    np.testing.assert_allclose(model.score(rows, model.histories_), expected, rtol=1e-4, atol=1e-5)
    columns = np.array([[3, 1, 21], [7, 7, 0]], dtype=np.int32)
    some = model.score_items(rows[:2], model.histories_[:2], columns)
    np.testing.assert_allclose(some, np.take_along_axis(expected[:2], columns, axis=1), rtol=1e-4, atol=1e-5)


def test_recent_events_have_larger_pooling_weights_which_sum_to_one() -> None:
    config = NeuralCollaborativeConfig(pooling_half_lives=(1.0, 1e9), history_length=3)
    table = pooling_weights(config)
    np.testing.assert_allclose(table[3], [[1 / 7, 2 / 7, 4 / 7], [1 / 3, 1 / 3, 1 / 3]], rtol=1e-5)
    np.testing.assert_allclose(table[1], [[0, 0, 1], [0, 0, 1]], rtol=1e-5)
    assert not table[0].any()


def test_training_pools_a_history_as_inference_does(world: Any) -> None:
    config = NeuralCollaborativeConfig(**SMALL, history_length=4)
    network = NeuMF(1, 22, config)
    slots = torch.tensor([[5, 2, 9, 0]])
    users, items = network.user_embeddings.weight[:1], network.item_embeddings.weight
    whole = network.encode_users(users, items, slots, torch.tensor([[0, 2, 4]]))
    for row, end in enumerate((0, 2, 4)):
        alone = network.encode_users(users, items, slots[:, :end], torch.tensor([[end]]))
        for part, expected in zip(whole, alone, strict=True):
            torch.testing.assert_close(part[row : row + 1], expected)


def test_compiled_history_pooling_equals_the_plain_one_forward_and_backward() -> None:
    torch.manual_seed(5)
    network = NeuMF(1, 40, NeuralCollaborativeConfig(embedding_dim=6, hidden_layers=(8,), history_length=9))
    slots, ends = torch.randint(0, 40, (5, 7)), torch.randint(0, 8, (5, 4))  # in no order, some after no event
    vectors = torch.randn(40, 13, requires_grad=True)
    found, expected = network.pool_history(vectors, slots, ends), network.pool_history_plain(vectors, slots, ends)
    outer = [torch.randn_like(half) for half in expected]
    for half, plain in zip(found, expected, strict=True):
        torch.testing.assert_close(half, plain)
    gradient, wanted = (torch.autograd.grad(halves, vectors, outer)[0] for halves in (found, expected))
    torch.testing.assert_close(gradient, wanted)
    assert not gradient[:, -1].any()  # the bias is not pooled


def test_each_event_is_a_target_once_after_the_events_before_it(world: Any) -> None:
    log, _ = world
    histories, drawn = log.histories(), list(sampler(log, half_life_share=None).epoch())
    assert sorted(targets(drawn)) == sorted(zip(log.user_rows.tolist(), log.item_columns.tolist(), strict=True))
    for batch in drawn:
        assert torch.equal(batch.ends, batch.target_positions)  # task next event: the history is all events before
        for row, user in enumerate(batch.users.tolist()):
            events = histories[[user]].item_columns
            assert batch.slots[row, : len(events)].tolist() == events.tolist()


def test_chunks_of_low_weight_are_drawn_less_often_with_the_same_expected_weight(toy_events: Any) -> None:
    pairs, days = [(user, item) for user in range(40) for item in range(5)], [float(user) for user in range(40)] * 5
    log = Interactions.from_table(toy_events(pairs, sorted(days)), horizon_days=10.0)
    drawer, epochs = sampler(log), 400
    drawn = [list(drawer.epoch()) for _ in range(epochs)]
    weights = np.zeros(40)
    for batch in (batch for epoch in drawn for batch in epoch):
        weights[batch.users.numpy()] += batch.weights.sum(dim=1).double().numpy() / epochs
    once = drawer.weights.reshape(40, 5).sum(axis=1)  # each user is one chunk
    n_drawn = np.bincount([user for epoch in drawn for user, _ in targets(epoch)], minlength=40) / (5 * epochs)
    assert (n_drawn[once >= 5] == 1).all()
    assert n_drawn[:10].max() < 0.6 < n_drawn[-15:].min()
    np.testing.assert_allclose(weights, once, rtol=0.2)  # four standard errors of the rarest, and seeded


def test_a_long_history_is_cut_into_chunks_with_the_events_before_them(toy_events: Any) -> None:
    pairs = [(0, item % 7) for item in range(300)]
    log = Interactions.from_table(toy_events(pairs, list(range(300))))
    drawn = list(sampler(log, history_length=100, half_life_share=None).epoch())
    assert len(targets(drawn)) == 300
    for batch in drawn:
        assert batch.slots.shape[1] <= 100
        assert int(batch.ends.max()) < 100


def test_with_a_window_a_history_ends_some_time_before_its_target(toy_events: Any) -> None:
    pairs, days = [(user, item) for user in range(3) for item in range(20)], [float(i % 20) for i in range(60)]
    log = Interactions.from_table(toy_events(pairs, days), horizon_days=10.0)
    gaps = torch.cat(
        [(batch.target_positions - batch.ends).flatten() for batch in sampler(log, half_life_share=None).epoch()]
    )
    assert int(gaps.min()) >= 0
    assert 7 < int(gaps.max()) <= 11
    same_day = Interactions.from_table(toy_events(pairs, [0.0] * 60), horizon_days=10.0)
    assert not any(
        batch.ends.any() for batch in sampler(same_day).epoch()
    )  # the lines of an order are not each other's history


def test_negatives_are_never_known_pairs(world: Any) -> None:
    log, _ = world
    bought = log.matrix().toarray() > 0
    for pool in (8, 512):
        trainer = NeuMFTrainer(log, NeuralCollaborativeConfig(**SMALL, negative_pool=pool), np.random.default_rng(0))
        for batch in trainer.sampler.epoch():
            assert (batch.known.numpy() == bought[batch.users][:, batch.pool]).all()
            factors = torch.randn(batch.target_positions.numel(), 6)
            chosen, shift = trainer.module._choose_negatives(factors, torch.randn(len(batch.pool), 7), batch)
            users, known = batch.users.repeat_interleave(batch.target_positions.shape[1])[:, None], shift == MASKED
            assert (bought[users, batch.pool[chosen]] == known.numpy()).all()
            has_unknown = ~bought[batch.users][:, batch.pool].all(axis=1)
            assert not known[np.repeat(has_unknown, batch.target_positions.shape[1])].any()


def test_a_user_of_all_items_has_no_negatives(toy_events: Any) -> None:
    log = Interactions.from_table(toy_events([(0, 0), (0, 1)], [0, 1]))
    trainer = NeuMFTrainer(log, NeuralCollaborativeConfig(**SMALL), np.random.default_rng(0))
    before = trainer.arrays()["item_embeddings"]
    assert run(trainer).curve[-1]["loss"] == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(trainer.arrays()["item_embeddings"], before, atol=1e-5)


def test_importance_weights_estimate_the_softmax_over_all_items(world: Any) -> None:
    trainer = NeuMFTrainer(world[0], NeuralCollaborativeConfig(**SMALL, n_negatives=4000), np.random.default_rng(0))
    batch = next(iter(trainer.sampler.epoch()))
    factors, items = torch.randn(batch.target_positions.numel(), 6), torch.randn(22, 7)
    chosen, shift = trainer.module._choose_negatives(factors, items, batch)
    scores = (factors @ items[:, :-1].T + items[:, -1]).view(len(batch.users), -1, 22)
    exact = torch.logsumexp(scores.masked_fill(batch.known[:, None], -1e9), dim=2).flatten()
    other = torch.randn(22)  # the output of the layers
    shifted = torch.logsumexp((scores + other).masked_fill(batch.known[:, None], -1e9), dim=2).flatten()
    logits = (scores.flatten(0, 1)).gather(1, chosen) + shift
    torch.testing.assert_close(torch.logsumexp(logits, dim=1), exact, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(torch.logsumexp(logits + other[chosen], dim=1), shifted, atol=0.15, rtol=0.0)


@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_the_written_backward_pass_equals_autograd(dropout: float, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    config = NeuralCollaborativeConfig(embedding_dim=6, hidden_layers=(12, 1, 5), dropout=dropout)
    network = NeuMF(5, 40, config).train()
    columns, shift, weights = torch.randint(0, 40, (33, 5)), torch.randn(33, 4), torch.rand(33)
    inputs = [torch.randn(size, requires_grad=True) for size in ((33, 6), (33, 12), (40, 7), (40, 12))]
    tensors = [*inputs, *network.layers.parameters()]
    torch.manual_seed(4)
    logits = network.logits(inputs[0], inputs[1], inputs[2], inputs[3], columns)
    plain = (cross_entropy(logits[:, :1], logits[:, 1:] + shift) * weights).sum()
    expected = torch.autograd.grad(plain / 7, tensors)
    # random numbers are drawn per block, so dropout is the same only with one block
    monkeypatch.setattr(loss_module, "BLOCK", 30 if dropout == 0 else 1000)
    torch.manual_seed(4)
    factors = torch.nn.functional.pad(inputs[0], (0, 1), value=1.0)
    pairs = Pairs(columns, torch.nn.functional.pad(shift, (1, 0)), weights, dropout)
    loss = pair_loss(pairs, factors, *inputs[1:], *network.layers.parameters())
    torch.testing.assert_close(loss, plain)
    for found, gradient in zip(torch.autograd.grad(loss / 7, tensors), expected, strict=True):
        torch.testing.assert_close(found, gradient)


def test_negatives_are_unknown_items_even_if_known_items_score_highest(world: Any) -> None:
    trainer = NeuMFTrainer(world[0], NeuralCollaborativeConfig(**SMALL), np.random.default_rng(0))
    batch = next(iter(trainer.sampler.epoch()))
    pool = torch.zeros(22, 7)
    pool[batch.known[0], -1] = 40.0  # a score as high as that of known items in a trained network
    chosen, shift = trainer.module._choose_negatives(torch.zeros(batch.target_positions.numel(), 6), pool, batch)
    of_first = slice(0, batch.target_positions.shape[1])
    assert not batch.known[0, chosen[of_first]].any()
    n_unknown, n_negatives = float((~batch.known[0]).sum()), trainer.config.n_negatives
    expected = np.log(n_unknown / n_negatives) * torch.ones_like(shift[of_first])
    torch.testing.assert_close(shift[of_first], expected, atol=1e-4, rtol=1e-4)


def test_recent_events_weigh_more_in_a_dated_log(toy_events: Any) -> None:
    table = toy_events([(0, 0), (0, 1)], [0, 60])
    dated = sampler(Interactions.from_table(table), half_life_share=0.5).weights
    assert dated[1] > dated[0] > 0
    assert sampler(Interactions.from_table(table), half_life_share=None).weights.tolist() == [1, 1]
    assert sampler(Interactions.from_table(table, dated=False)).weights.tolist() == [1, 1]


def test_training_never_stops_before_the_layers_are_trained(world: Any) -> None:
    config = NeuralCollaborativeConfig(**SMALL, epochs=9, patience=2, min_gain=1e6, pretraining_epochs=4)
    assert len(NeuralCollaborative(config).fit(world[0]).learning_curve) == 6


def test_training_stops_without_a_clear_gain(world: Any) -> None:
    never = NeuralCollaborativeConfig(**SMALL, epochs=9, patience=2, min_gain=1e6)
    assert len(NeuralCollaborative(never).fit(world[0]).learning_curve) == 3  # the first epoch is always a gain
    assert len(NeuralCollaborative(never.model_copy(update={"patience": 4})).fit(world[0]).learning_curve) == 5


def test_a_new_event_changes_the_scores_of_known_and_cold_start_users(world: Any) -> None:
    log, _ = world
    model = NeuralCollaborative(NeuralCollaborativeConfig(**SMALL, fixed_epochs=30, learning_rate=0.01)).fit(log)
    even, odd = Histories.from_lists([[0, 2, 4]], 22), Histories.from_lists([[0, 2, 4, 1, 3, 5]], 22)
    for row in (0, -1):
        before, after = (model.score(np.array([row], np.int32), known)[0] for known in (even, odd))
        drift = after - before
        assert drift[7:20:2].mean() > drift[8:20:2].mean()


def test_users_of_few_events_have_no_user_embedding(toy_events: Any) -> None:
    config = NeuralCollaborativeConfig(**SMALL, min_user_events=2, fixed_epochs=1)
    assert user_embedding_rows(np.array([1, 2, 0, 3]), config).tolist() == [-1, 0, -1, 1]
    log = Interactions.from_table(toy_events([(0, 0), (1, 0), (1, 1), (2, 1)], [0, 1, 2, 3]))
    model = NeuralCollaborative(config).fit(log)
    assert model.arrays()["user_embeddings"].shape == (1, 12)
    known, cold_start = (model.score(np.array([row], np.int32), log.histories()[[0]]) for row in (0, -1))
    np.testing.assert_array_equal(known, cold_start)


def test_features_are_part_of_all_stored_item_embeddings(world: Any) -> None:
    log, features = world
    config = NeuralCollaborativeConfig(**SMALL, side_features=True, fixed_epochs=3)
    trainer = NeuMFTrainer(log, config, np.random.default_rng(0), features)
    network = trainer.module.network
    plain, stored = network.item_embeddings.weight.detach().numpy(), network.arrays()["item_embeddings"]
    projected, layer = network.item_features, network.feature_layer
    assert projected is not None
    assert layer is not None
    expected = plain + projected.numpy() @ layer.weight.detach().numpy().T
    np.testing.assert_allclose(stored, expected, rtol=1e-4, atol=1e-5)
    before = layer.weight.detach().clone()
    run(trainer)
    assert not torch.equal(before, layer.weight)
    alike, unlike = (
        np.linalg.norm(projected[0] - projected[item]) for item in (18, 19)
    )  # of the same colour, and of another
    assert alike < unlike
    with pytest.raises(ConfigurationError, match="side_features: got true without item features"):
        NeuralCollaborative(config).fit(log)


def test_pretraining_changes_the_factors_and_no_layer(world: Any) -> None:
    trainer = NeuMFTrainer(
        world[0], NeuralCollaborativeConfig(**SMALL, pretraining_epochs=10), np.random.default_rng(0)
    )
    network = trainer.module.network
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    losses = [point["loss"] for point in run(trainer, 10).curve]
    assert losses[-1] < losses[0]
    after = network.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in after if name.startswith(("layers", "first_item")))
    items_before, items = before["item_embeddings.weight"], after["item_embeddings.weight"]
    assert not torch.equal(items[:, :6], items_before[:, :6])
    assert torch.equal(items[:, 6:12], items_before[:, 6:12])


def test_a_log_without_two_events_of_any_user_is_skipped(toy_events: Any) -> None:
    log = Interactions.from_table(toy_events([(0, 0), (1, 0), (2, 1)], [0, 1, 2]))
    with pytest.raises(UnsuitableError, match=r"nothing to learn from: got 0 users with two events.*enabled: false"):
        NeuralCollaborative(NeuralCollaborativeConfig(**SMALL, epochs=2)).fit(log)


def test_a_network_that_exceeds_the_memory_limit_is_skipped_before_it_is_built(world: Any) -> None:
    log, _ = world
    small = NeuralCollaborativeConfig(**SMALL)
    many = Interactions(
        log.users,
        IdMap(np.array([f"{i:06}" for i in range(200_000)])),
        log.user_rows,
        log.item_columns,
        log.timestamps,
        log.weights,
        log.strengths,
        np.ones(200_000, dtype=np.bool_),
        False,
    )
    wide = small.model_copy(update={"embedding_dim": 4000})
    assert NeuralCollaborative(small).memory_needed(many) < 1e9
    with pytest.raises(ModelTooLargeError, match="neural_collaborative"):
        NeuralCollaborative(wide).fit(many)
