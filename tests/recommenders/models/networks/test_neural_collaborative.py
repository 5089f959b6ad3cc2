"""Tests of NeuMF beyond the contract of all models: its scores, its training data, and when training stops."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recommenders.errors import ConfigurationError, ModelTooLargeError, UnsuitableError
from recommenders.events.histories import Histories
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.models.networks.neural_collaborative import loss as loss_module
from recommenders.models.networks.neural_collaborative.checkpoint import FILE
from recommenders.models.networks.neural_collaborative.config import NeuralCollaborativeConfig
from recommenders.models.networks.neural_collaborative.inference import pooling_weights, user_embedding_rows
from recommenders.models.networks.neural_collaborative.loss import Pairs, cross_entropy, pair_loss
from recommenders.models.networks.neural_collaborative.model import NeuralCollaborative
from recommenders.models.networks.neural_collaborative.network import MASKED, NeuMF, RowAdam
from recommenders.models.networks.neural_collaborative.sampling import Batch, Sampler
from recommenders.models.networks.neural_collaborative.trainer import Trainer
from recommenders.models.networks.neural_collaborative.training import hold_out_latest

SMALL: dict[str, Any] = {"embedding_dim": 6, "hidden_layers": (12, 5), "batch_size": 64}
CPU = torch.device("cpu")


class RecordingTracker:
    """A tracker that records the points it receives, and interrupts the fit at one epoch."""

    def __init__(self, checkpoints: Path | None = None, interrupt_at: int = 0) -> None:
        self.checkpoints, self.interrupt_at = checkpoints, interrupt_at
        self.points: list[tuple[int, dict[str, float]]] = []

    def log(self, step: int, metrics: dict[str, float]) -> None:
        self.points.append((step, metrics))
        if step == self.interrupt_at:
            raise InterruptedError(f"interrupted at epoch {step}")


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
    network.item_embeddings[:, -1] = torch.randn(22)
    model = NeuralCollaborative(config)
    model._store_context(log)
    numbered = {"user_embedding_rows": np.arange(24, dtype=np.int32), "epochs": np.array([1])}
    model.restore({**network.arrays(), **numbered})
    newest = torch.from_numpy(model.histories_.latest(5).astype(np.int64))
    with torch.no_grad():
        expected = network(network.user_embeddings, newest, torch.arange(22).expand(24, 22)).numpy()
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
    whole = network.encode_users(network.user_embeddings[:1], network.item_embeddings, slots, torch.tensor([[0, 2, 4]]))
    for row, end in enumerate((0, 2, 4)):
        alone = network.encode_users(
            network.user_embeddings[:1], network.item_embeddings, slots[:, :end], torch.tensor([[end]])
        )
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
        trainer = Trainer(log, NeuralCollaborativeConfig(**SMALL, negative_pool=pool), np.random.default_rng(0))
        for batch in trainer.sampler.epoch():
            assert (batch.known.numpy() == bought[batch.users][:, batch.pool]).all()
            factors = torch.randn(batch.target_positions.numel(), 6)
            chosen, shift = trainer._choose_negatives(factors, torch.randn(len(batch.pool), 7), batch)
            users, known = batch.users.repeat_interleave(batch.target_positions.shape[1])[:, None], shift == MASKED
            assert (bought[users, batch.pool[chosen]] == known.numpy()).all()
            has_unknown = ~bought[batch.users][:, batch.pool].all(axis=1)
            assert not known[np.repeat(has_unknown, batch.target_positions.shape[1])].any()


def test_a_user_of_all_items_has_no_negatives(toy_events: Any) -> None:
    log = Interactions.from_table(toy_events([(0, 0), (0, 1)], [0, 1]))
    trainer = Trainer(log, NeuralCollaborativeConfig(**SMALL), np.random.default_rng(0))
    before = trainer.network.item_embeddings.clone()
    assert trainer.epoch() == pytest.approx(0.0, abs=1e-6)
    assert torch.allclose(before, trainer.network.item_embeddings, atol=1e-5)


def test_importance_weights_estimate_the_softmax_over_all_items(world: Any) -> None:
    trainer = Trainer(world[0], NeuralCollaborativeConfig(**SMALL, n_negatives=4000), np.random.default_rng(0))
    batch = next(iter(trainer.sampler.epoch()))
    factors, items = torch.randn(batch.target_positions.numel(), 6), torch.randn(22, 7)
    chosen, shift = trainer._choose_negatives(factors, items, batch)
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
    trainer = Trainer(world[0], NeuralCollaborativeConfig(**SMALL), np.random.default_rng(0))
    batch = next(iter(trainer.sampler.epoch()))
    pool = torch.zeros(22, 7)
    pool[batch.known[0], -1] = 40.0  # a score as high as that of known items in a trained network
    chosen, shift = trainer._choose_negatives(torch.zeros(batch.target_positions.numel(), 6), pool, batch)
    of_first = slice(0, batch.target_positions.shape[1])
    assert not batch.known[0, chosen[of_first]].any()
    n_unknown, n_negatives = float((~batch.known[0]).sum()), trainer.config.n_negatives
    expected = np.log(n_unknown / n_negatives) * torch.ones_like(shift[of_first])
    torch.testing.assert_close(shift[of_first], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_gathered_rows_are_updated_as_by_adamw_and_others_stay(weight_decay: float) -> None:
    table = torch.randn(5, 3)
    start, twin = table.clone(), torch.nn.Parameter(table.clone())
    ours, theirs = RowAdam(table, 0.1, weight_decay), torch.optim.AdamW([twin], lr=0.1, weight_decay=weight_decay)
    theirs.param_groups[0]["lr"] = ours.learning_rate
    for _ in range(3):
        gathered = ours.gather(torch.tensor([[4, 1], [1, 4]]))
        loss = (gathered.embeddings[gathered.positions] ** 2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        ours.step(gathered)
        theirs.zero_grad()
        (twin[torch.tensor([[4, 1], [1, 4]])] ** 2).sum().backward()  # type: ignore[no-untyped-call]
        theirs.step()
    torch.testing.assert_close(table[[1, 4]], twin.detach()[[1, 4]])
    assert torch.equal(table[[0, 2, 3]], start[[0, 2, 3]])


def test_recent_events_weigh_more_in_a_dated_log(toy_events: Any) -> None:
    table = toy_events([(0, 0), (0, 1)], [0, 60])
    dated = sampler(Interactions.from_table(table), half_life_share=0.5).weights
    assert dated[1] > dated[0] > 0
    assert sampler(Interactions.from_table(table), half_life_share=None).weights.tolist() == [1, 1]
    assert sampler(Interactions.from_table(table, dated=False)).weights.tolist() == [1, 1]


def test_validation_is_the_latest_visit_and_not_in_training(world: Any) -> None:
    log, _ = world
    config = NeuralCollaborativeConfig(validation_split=0.5)
    kept, validation = hold_out_latest(log, config, np.random.default_rng(0))
    assert validation is not None
    assert len(validation.user_rows) == 12
    assert len(kept) + validation.relevant.nnz == len(log)
    assert validation.histories.counts.tolist() == np.bincount(kept.user_rows)[validation.user_rows].tolist()
    for row, relevant in zip(validation.user_rows, validation.relevant.toarray(), strict=True):
        of_user = log.user_rows == row
        latest = log.item_columns[of_user & (log.timestamps == log.timestamps[of_user].max())]
        assert validation.item_columns[np.flatnonzero(relevant)].tolist() == sorted(latest.tolist())


def test_training_never_stops_before_the_layers_are_trained(world: Any) -> None:
    config = NeuralCollaborativeConfig(**SMALL, epochs=9, patience=2, min_gain=1e6, pretraining_epochs=4)
    assert len(NeuralCollaborative(config).fit(world[0]).learning_curve) == 6


def test_a_fit_that_diverges_raises(world: Any) -> None:
    config = NeuralCollaborativeConfig(**{**SMALL, "learning_rate": 1e30}, epochs=3)
    with pytest.raises(UnsuitableError, match=r"diverged: loss (nan|inf) .* set a lower learning_rate"):
        NeuralCollaborative(config).fit(world[0])


def test_training_stops_without_a_clear_gain(world: Any) -> None:
    never = NeuralCollaborativeConfig(**SMALL, epochs=9, patience=2, min_gain=1e6)
    assert len(NeuralCollaborative(never).fit(world[0]).learning_curve) == 3  # the first epoch is always a gain
    assert len(NeuralCollaborative(never.model_copy(update={"patience": 4})).fit(world[0]).learning_curve) == 5


def test_a_curve_is_reported_to_the_tracker_and_a_refit_repeats_its_epochs(world: Any) -> None:
    tracker = RecordingTracker()
    model = NeuralCollaborative(NeuralCollaborativeConfig(**SMALL, epochs=4, patience=4)).fit(world[0], tracker=tracker)
    assert [step for step, _ in tracker.points] == [1, 2, 3, 4]
    assert set(tracker.points[0][1]) == {"loss", "validation_ndcg@50"}
    assert [point["epoch"] for point in model.learning_curve] == [1, 2, 3, 4]
    again = NeuralCollaborative(model.refit_config()).fit(world[0])
    assert again.epochs_ == len(again.learning_curve) == model.epochs_
    assert "validation_ndcg@50" not in again.learning_curve[0]


CONFIGS: dict[str, dict[str, Any]] = {
    "early stopping": {"epochs": 6, "patience": 2, "learning_rate": 0.02},
    "with features and pretraining": {"epochs": 5, "patience": 5, "side_features": True}
    | {"pretraining_epochs": 3, "weight_decay": 0.01, "dropout": 0.2},
    "a refit": {"fixed_epochs": 5},
}


def interrupted_fit(folder: Path, world: Any, config: NeuralCollaborativeConfig, interrupt_at: int = 2) -> None:
    """Starts a fit and interrupts it at the end of an epoch."""
    with pytest.raises(InterruptedError):
        NeuralCollaborative(config).fit(*world, tracker=RecordingTracker(folder, interrupt_at))
    assert [path.name for path in folder.iterdir()] == [FILE]


def assert_same(model: NeuralCollaborative, expected: NeuralCollaborative) -> None:
    assert model.learning_curve == expected.learning_curve
    for name, array in expected.arrays().items():
        np.testing.assert_array_equal(model.arrays()[name], array)


@pytest.fixture
def epochs_run(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Grows by one with each epoch that is trained."""
    run: list[bool] = []
    real = Trainer.epoch

    def epoch(self: Trainer, factors_only: bool = False) -> float:
        run.append(factors_only)
        return real(self, factors_only)

    monkeypatch.setattr(Trainer, "epoch", epoch)
    return run


@pytest.mark.parametrize("case", CONFIGS)
def test_an_interrupted_fit_continues_with_the_same_result(
    world: Any, case: str, tmp_path: Path, epochs_run: list[bool]
) -> None:
    config = NeuralCollaborativeConfig(**SMALL, threads=1, **CONFIGS[case])
    whole = NeuralCollaborative(config).fit(*world)
    n_epochs = len(whole.learning_curve)
    assert n_epochs >= 3
    assert epochs_run == [epoch <= config.pretraining_epochs for epoch in range(1, n_epochs + 1)]
    epochs_run.clear()
    interrupted_fit(tmp_path, world, config, interrupt_at=2)
    interrupted_fit(
        tmp_path, world, config.model_copy(update={"enabled": False}), interrupt_at=n_epochs
    )  # all epochs are done
    tracker = RecordingTracker(tmp_path)
    resumed = NeuralCollaborative(config).fit(*world, tracker=tracker)
    assert len(epochs_run) == n_epochs
    assert_same(resumed, whole)
    assert [step for step, _ in tracker.points] == list(range(1, n_epochs + 1))  # a new run shows the whole curve
    assert not list(tmp_path.iterdir())


def test_time_before_an_interruption_counts(world: Any, tmp_path: Path, epochs_run: list[bool]) -> None:
    config = NeuralCollaborativeConfig(**SMALL, fixed_epochs=9, max_minutes=5e-3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "recommenders.models.networks.neural_collaborative.training.time.monotonic", lambda: 0.25 * len(epochs_run)
        )
        interrupted_fit(tmp_path, world, config, interrupt_at=1)
        model = NeuralCollaborative(config).fit(*world, tracker=RecordingTracker(tmp_path))
    assert len(model.learning_curve) == 2  # 0.3 seconds are over after 0.5


@pytest.mark.parametrize("damage", ["no archive", "empty", "short", "one bit of an array"])
def test_a_damaged_checkpoint_is_logged_and_not_used(
    world: Any, damage: str, tmp_path: Path, epochs_run: list[bool], caplog: pytest.LogCaptureFixture
) -> None:
    config = NeuralCollaborativeConfig(**SMALL, fixed_epochs=3, threads=1)
    whole = NeuralCollaborative(config).fit(*world)
    interrupted_fit(tmp_path, world, config)
    path = tmp_path / FILE
    content = bytearray(path.read_bytes())
    content[content.index(b"trainer/network/user_embeddings.npy") + 300] ^= 1
    damaged = {"no archive": b"not an archive", "empty": b"", "short": content[:-1000]}
    path.write_bytes(damaged.get(damage, content))
    epochs_run.clear()
    with caplog.at_level(logging.WARNING):
        model = NeuralCollaborative(config).fit(*world, tracker=RecordingTracker(tmp_path))
    assert f"{path} is damaged and not used" in caplog.text
    assert len(epochs_run) == 3
    assert_same(model, whole)
    assert not path.exists()


@pytest.mark.parametrize("other", ["log", "task", "configuration", "features"])
def test_a_checkpoint_of_another_fit_is_not_used(
    world: Any, other: str, tmp_path: Path, epochs_run: list[bool], caplog: pytest.LogCaptureFixture
) -> None:
    (log, features), config = world, NeuralCollaborativeConfig(**SMALL, fixed_epochs=3, side_features=True)
    interrupted_fit(tmp_path, world, config)
    if other == "log":
        log = replace(log, weights=log.weights * np.where(np.arange(len(log)) == 3, np.float32(2), np.float32(1)))
    elif other == "task":
        log = replace(log, horizon_days=10.0)
    elif other == "features":
        features = replace(features, vectors=features.vectors * 2)
    else:
        config = config.model_copy(update={"learning_rate": 0.002})
    epochs_run.clear()
    NeuralCollaborative(config).fit(log, features, RecordingTracker(tmp_path))
    assert len(epochs_run) == 3
    assert not caplog.records


def test_a_checkpoint_that_cannot_be_written_is_logged_and_the_fit_continues(
    world: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    config = NeuralCollaborativeConfig(**SMALL, fixed_epochs=1)
    model = NeuralCollaborative(config).fit(*world, tracker=RecordingTracker(tmp_path / "file" / "folder"))
    assert model.epochs_ == 1
    assert "cannot be written" in caplog.text


def test_training_restores_the_state_of_torch(world: Any) -> None:
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    NeuralCollaborative(NeuralCollaborativeConfig(**SMALL, fixed_epochs=1, threads=threads + 1)).fit(world[0])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads


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
    trainer = Trainer(log, config, np.random.default_rng(0), features)
    plain, stored = trainer.network.item_embeddings.numpy(), trainer.network.arrays()["item_embeddings"]
    projected = trainer.network.item_features
    assert projected is not None
    assert trainer.network.feature_layer is not None
    expected = plain + projected.numpy() @ trainer.network.feature_layer.weight.detach().numpy().T
    np.testing.assert_allclose(stored, expected, rtol=1e-4, atol=1e-5)
    before = trainer.network.feature_layer.weight.detach().clone()
    trainer.epoch()
    assert not torch.equal(before, trainer.network.feature_layer.weight)
    alike, unlike = (
        np.linalg.norm(projected[0] - projected[item]) for item in (18, 19)
    )  # of the same colour, and of another
    assert alike < unlike
    with pytest.raises(ConfigurationError, match="side_features: got true without item features"):
        NeuralCollaborative(config).fit(log)


def test_pretraining_changes_the_factors_and_no_layer(world: Any) -> None:
    trainer = Trainer(world[0], NeuralCollaborativeConfig(**SMALL), np.random.default_rng(0))
    before = {name: tensor.clone() for name, tensor in trainer.network.state_dict().items()}
    losses = [trainer.epoch(factors_only=True) for _ in range(10)]
    assert losses[-1] < losses[0]
    after = trainer.network.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in after if name.startswith(("layers", "first_item")))
    assert not torch.equal(after["item_embeddings"][:, :6], before["item_embeddings"][:, :6])
    assert torch.equal(after["item_embeddings"][:, 6:12], before["item_embeddings"][:, 6:12])


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
