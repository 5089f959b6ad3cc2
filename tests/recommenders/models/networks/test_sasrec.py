"""Tests of SASRec beyond the contract of all models."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from recommenders.errors import ConfigurationError, ModelTooLargeError, UnsuitableError
from recommenders.events.histories import DAY, Histories
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.models.networks.sasrec.batches import SequenceBatcher
from recommenders.models.networks.sasrec.config import SASRecConfig
from recommenders.models.networks.sasrec.inference import encode, network_from_arrays, ordered_share
from recommenders.models.networks.sasrec.loss import SoftmaxSampler, softmax_gradients, softmax_loss
from recommenders.models.networks.sasrec.model import SASRec
from recommenders.models.networks.sasrec.network import INIT_STD, Attention
from recommenders.models.networks.sasrec.training import SASRecTrainer
from recommenders.models.recommender import TrainingOptions

SMALL: dict[str, Any] = {
    "embedding_dim": 16,
    "history_length": 12,
    "learning_rate": 0.02,
    "warmup_steps": 10,
    "dropout": 0.0,
}
N_ITEMS = 12


def log_of(
    lists: list[list[int]], days: list[list[float]] | None = None, n_items: int = N_ITEMS, **facts: Any
) -> Interactions:
    """A log of one list per user. Events are one day apart, or on the given days."""
    days = days or [list(range(len(columns))) for columns in lists]
    users = np.repeat(np.arange(len(lists)), [len(columns) for columns in lists])
    times = (np.concatenate(days) * DAY).astype(np.int64)
    order = np.argsort(times, kind="stable")
    ones = np.ones(len(users), np.float32)
    return Interactions(
        IdMap.from_ids(f"u{i:03}" for i in range(len(lists))),
        IdMap.from_ids(f"i{i:03}" for i in range(n_items)),
        users[order].astype(np.int32),
        np.concatenate(lists)[order].astype(np.int32),
        times[order],
        ones,
        ones,
        np.ones(n_items, np.bool_),
        **{"repeat": True, "dated": False, **facts},
    )


def cycles(n_users: int = 40, n_events: int = 9, n_items: int = N_ITEMS) -> list[list[int]]:
    """Each user goes through the items in the same cyclic order, so an item determines the next one."""
    return [[(start + step) % n_items for step in range(n_events)] for start in range(n_users)]


@pytest.fixture(scope="module")
def walker() -> SASRec:
    return SASRec(SASRecConfig(**SMALL, epochs=3)).fit(log_of(cycles(24)))


@pytest.fixture
def short_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recommenders.models.networks.sasrec.training.MIN_STEPS_PER_EPOCH", 5)


def network(by_visit: bool, n_heads: int = 2, seed: int = 0) -> tuple[Attention, torch.Tensor, dict[str, Any]]:
    torch.manual_seed(seed)
    config = SASRecConfig(embedding_dim=8, history_length=6, n_heads=n_heads)
    attention, table = Attention(config).eval(), 30 * INIT_STD * torch.randn(N_ITEMS, 8)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    arrays = {"item_embeddings": table.numpy(), **attention.arrays(), "by_visit": np.array([by_visit])}
    return attention, table, arrays


@pytest.mark.parametrize("start", [0, 5, 11])
def test_the_next_item_of_a_walk_is_first(walker: SASRec, start: int) -> None:
    known = Histories.from_lists([[(start + step) % N_ITEMS for step in range(3)]], N_ITEMS)
    assert walker.score(np.array([-1], np.int32), known)[0].argmax() == (start + 3) % N_ITEMS


def test_another_order_of_the_same_items_has_another_next_item(walker: SASRec) -> None:
    known = Histories.from_lists([[1, 2, 3], [3, 2, 1]], N_ITEMS)
    first = walker.score(np.full(2, -1, np.int32), known).argmax(axis=1)
    assert first[0] == 4
    assert first[1] != 4


@pytest.mark.parametrize("by_visit", [False, True])
@pytest.mark.parametrize("n_heads", [1, 2])
def test_numpy_encodes_as_the_network_does(by_visit: bool, n_heads: int) -> None:
    attention, table, arrays = network(by_visit, n_heads)
    lists = [[1, 2, 3, 4], [5], [6, 7, 7, 1, 2, 3, 4, 5, 9, 10]]
    days = [[0, 0, 1, 2], [0], [0, 1, 2, 3, 4, 5, 6, 7, 8, 8]]
    known = log_of(lists, days).histories()
    got = encode(known, network_from_arrays(arrays, n_heads))
    tokens: list[list[list[int]]] = [[[column] for column in columns][-6:] for columns in lists]
    if by_visit:
        tokens = [[[1, 2], [3], [4]], [[5]], [[2], [3], [4], [5], [9, 10]][-6:]]
        tokens[2] = [[1], *tokens[2]]
    for i, bags in enumerate(tokens):
        items = torch.tensor([column for bag in bags for column in bag])
        cells = torch.tensor([cell for cell, bag in enumerate(bags) for _ in bag])
        with torch.no_grad():
            expected = attention(table[items], cells, (1, len(bags)))[0, -1].numpy()
        np.testing.assert_allclose(got[i], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            encode(known[[i]], network_from_arrays(arrays, n_heads))[0], expected, rtol=1e-4, atol=1e-5
        )


@given(st.lists(st.lists(st.integers(0, N_ITEMS - 1), max_size=9), min_size=1, max_size=6), st.booleans())
@settings(max_examples=25)
def test_embeddings_do_not_depend_on_the_other_users(lists: list[list[int]], by_visit: bool) -> None:
    net = network_from_arrays(network(by_visit)[2], 2)
    days = [[float(step // 2) for step in range(len(columns))] for columns in lists]
    known = log_of(lists, days).histories() if any(lists) else Histories.from_lists(lists, N_ITEMS)
    together = encode(known, net)
    for i in range(len(lists)):
        np.testing.assert_allclose(encode(known[[i]], net)[0], together[i], rtol=1e-4, atol=1e-5)
        assert lists[i] or not together[i].any()


def test_items_of_one_visit_have_no_order() -> None:
    net = network_from_arrays(network(by_visit=True)[2], 2)
    known = Histories.from_lists([[1, 5, 3], [3, 1, 5]], N_ITEMS)
    vectors = encode(known, net)
    np.testing.assert_allclose(vectors[0], vectors[1], rtol=1e-5, atol=1e-6)


def test_gradients_are_those_of_cross_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recommenders.models.networks.sasrec.loss.logits_dtype", lambda: torch.float32)
    monkeypatch.setattr("recommenders.models.networks.sasrec.loss.LOGIT_ROWS", 3)
    hidden, items = torch.randn(7, 4, requires_grad=True), torch.randn(9, 4, requires_grad=True)
    rows = torch.tensor([0, 1, 1, 2, 3, 4, 4, 4, 5, 6])
    targets, weights = torch.tensor([3, 0, 8, 2, 2, 5, 6, 7, 1, 0]), torch.rand(10)
    expected = -(weights * torch.log_softmax(hidden @ items.T, 1)[rows, targets]).sum()
    expected.backward()
    loss, hidden_gradient, item_gradient = softmax_gradients(hidden.detach(), items.detach(), rows, targets, weights)
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    torch.testing.assert_close(hidden_gradient, hidden.grad)
    torch.testing.assert_close(item_gradient, items.grad)
    loss_3 = 3 * softmax_loss(hidden, items, rows, targets, weights, None)
    found = torch.autograd.grad(loss_3, [hidden, items])
    torch.testing.assert_close(found, (3 * hidden_gradient, 3 * item_gradient))


def test_the_log_q_correction_estimates_the_whole_catalogue() -> None:
    log = log_of(cycles(n_items=400, n_events=20), n_items=400)
    config = SASRecConfig(**SMALL, full_softmax_items=10, n_negatives=80, batch_tokens=100)
    rng = np.random.default_rng(0)
    sampler, batch = SoftmaxSampler(log, config, rng), next(SequenceBatcher(log, config, rng).batches())
    sizes = []
    for _ in range(200):
        sampled, chosen, log_q_correction = sampler.sample(batch)
        assert chosen is not None
        assert np.isin(batch.targets, chosen).all()
        assert (chosen[sampled.items].numpy() == batch.items).all()
        assert (chosen[sampled.targets].numpy() == batch.targets).all()
        assert log_q_correction is not None
        others = ~np.isin(chosen, np.append(batch.items, batch.targets))
        sizes.append(float(log_q_correction.exp()[torch.from_numpy(others)].sum()))
    rare = 400 - len(np.unique(np.append(batch.items, batch.targets)))
    assert np.mean(sizes) == pytest.approx(rare, rel=0.5)


def test_a_large_catalogue_is_trained_on_samples() -> None:
    config = SASRecConfig(**SMALL, epochs=3, full_softmax_items=0, n_negatives=4)
    model = SASRec(config).fit(log_of(cycles(24)))
    known = Histories.from_lists([[1, 2, 3], [6, 7, 8]], N_ITEMS)
    assert model.score(np.full(2, -1, np.int32), known).argmax(axis=1).tolist() == [4, 9]


def test_each_event_but_the_first_is_a_target_once() -> None:
    log = log_of([[1, 2, 3, 4, 5, 6, 7], [8], [9, 2]])
    config = SASRecConfig(**{**SMALL, "history_length": 3}, batch_tokens=4)
    batches = list(SequenceBatcher(log, config, np.random.default_rng(0)).batches())
    assert sorted(np.concatenate([batch.targets for batch in batches])) == [2, 2, 3, 4, 5, 6, 7]
    for batch in batches:
        assert batch.shape[1] <= 3
        current = batch.items[np.searchsorted(batch.cells, np.flatnonzero(batch.has_targets))]
        pairs = set(zip(current.tolist(), batch.targets.tolist(), strict=True))
        assert pairs <= {(1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7), (9, 2)}


def test_the_targets_of_a_visit_are_the_items_of_the_window_after_it() -> None:
    log = log_of([[1, 2, 3, 1, 3, 4, 5]], [[0, 0, 10, 12, 12, 25, 90]], horizon_days=20.0, dated=True)
    (batch,) = SequenceBatcher(log, SASRecConfig(**SMALL), np.random.default_rng(0)).batches()
    assert batch.shape == (1, 5)
    assert batch.cells.tolist() == [0, 0, 1, 2, 2, 3, 4]
    assert batch.has_targets.tolist() == [True, True, True, False, False]
    targets = [sorted(batch.targets[batch.rows == row].tolist()) for row in range(3)]
    assert targets == [[1, 3], [1, 3, 4], [4]]
    np.testing.assert_allclose(np.bincount(batch.rows, batch.weights), np.sqrt([2, 3, 1]), rtol=1e-5)


def test_targets_weigh_as_much_as_their_events() -> None:
    log = log_of([[1, 2, 3]], [[0, 1, 1]], horizon_days=5.0)
    log = replace(log, weights=np.array([1, 0.1, 0.9], np.float32))
    (batch,) = SequenceBatcher(log, SASRecConfig(**SMALL), np.random.default_rng(0)).batches()
    weights = {int(column): weight for column, weight in zip(batch.targets, batch.weights, strict=True)}
    assert weights[3] / weights[2] == pytest.approx(9, rel=1e-4)


def test_a_log_without_order_is_skipped_with_a_message_of_one_line() -> None:
    log = log_of(cycles(6), [[0.0] * 9] * 6)
    assert ordered_share(log.histories()) == 0
    with pytest.raises(ConfigurationError, match=r"sasrec needs order: got 0%.*enabled: false") as caught:
        SASRec().fit(log)
    assert "\n" not in str(caught.value)


def test_users_without_a_second_visit_within_the_horizon_cannot_train() -> None:
    log = log_of([[1, 2], [3, 1]], [[0, 50], [10, 70]], horizon_days=5.0)
    with pytest.raises(UnsuitableError, match="nothing to learn from: got 0 events"):
        SASRec(SASRecConfig(**SMALL, fit_on_windows=True)).fit(log)


def test_a_log_whose_task_is_a_window_is_trained_on_only_if_configured(short_epochs: None) -> None:
    log = log_of(cycles(6), [[float(day) for day in range(9)]] * 6, horizon_days=5.0)
    with pytest.raises(UnsuitableError, match=r"got a window of 5 days, .*set models\.sasrec\.fit_on_windows: true"):
        SASRec(SASRecConfig(**SMALL, fixed_epochs=1)).fit(log)
    assert SASRec(SASRecConfig(**SMALL, fixed_epochs=1, fit_on_windows=True)).fit(log).epochs_ == 1


def test_users_of_one_event_do_not_count_for_the_ordered_share() -> None:
    log = log_of([[1], [2], [3, 4]], [[0], [0], [0, 1]])
    assert ordered_share(log.histories()) == 1


def test_a_stored_user_embedding_is_used_until_the_user_has_new_events(
    walker: SASRec, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, known = np.array([0, 7], np.int32), walker.histories_[[0, 7]]
    fresh = walker.score(np.full(2, -1, np.int32), known)
    np.testing.assert_allclose(walker.score(rows, known), fresh, rtol=1e-4, atol=1e-4)
    more = log_of([cycles()[0] + [9], cycles()[7]]).histories()
    assert walker.score(rows, more)[0].argmax() == 10
    assert walker.score(rows, more)[1].argmax() == fresh[1].argmax()
    monkeypatch.setattr("recommenders.models.networks.sasrec.model.encode", None)
    walker.score(rows, known)
    with pytest.raises(TypeError):
        walker.score(rows, more)


def test_embeddings_of_too_many_users_are_not_stored(monkeypatch: pytest.MonkeyPatch, short_epochs: None) -> None:
    monkeypatch.setattr("recommenders.models.networks.sasrec.model.MAX_STORED_USERS", 23)
    model = SASRec(SASRecConfig(**SMALL, fixed_epochs=1)).fit(log_of(cycles(24)))
    assert model.user_embeddings_.shape == (0, 16)
    rows = np.arange(24, dtype=np.int32)
    cold_start_rows = np.full(24, -1, np.int32)
    np.testing.assert_array_equal(model.score(rows, model.histories_), model.score(cold_start_rows, model.histories_))


def test_scores_of_some_items_equal_those_of_all_items(walker: SASRec) -> None:
    rows, known = np.array([0, -1], np.int32), walker.histories_[[0, 3]]
    columns = np.array([[3, 1, 3], [11, 0, 2]])
    expected = np.take_along_axis(walker.score(rows, known), columns, axis=1)
    np.testing.assert_allclose(walker.score_items(rows, known, columns), expected, rtol=1e-4, atol=1e-5)


def test_an_empty_history_scores_zero(walker: SASRec) -> None:
    rows, known = np.array([-1], np.int32), Histories.from_lists([[]], N_ITEMS)
    assert not walker.covers(rows, known).any()
    assert not walker.score(rows, known).any()


def test_the_kept_weights_are_the_mean_of_the_newest_epochs(short_epochs: None) -> None:
    """All fits have the same seed, so their first n epochs are the same."""

    def kept_of(epochs: int, averaged: int) -> dict[str, Any]:
        config = SASRecConfig(**SMALL, fixed_epochs=epochs, averaged_epochs=averaged)
        arrays = SASRec(config).fit(log_of(cycles(20))).arrays()
        return {name: array for name, array in arrays.items() if name not in ("user_embeddings", "epochs")}

    third, fourth, both = kept_of(3, 1), kept_of(4, 1), kept_of(4, 2)
    assert set(both) == set(fourth)
    for name, array in both.items():
        assert array.dtype == fourth[name].dtype
        np.testing.assert_allclose(array, (third[name].astype(float) + fourth[name]) / 2, rtol=1e-5, atol=1e-6)
    assert np.abs(third["item_embeddings"] - fourth["item_embeddings"]).max() > 1e-3


@pytest.mark.parametrize("patience", [1, 3])
def test_training_stops_after_as_many_epochs_without_a_better_one(short_epochs: None, patience: int) -> None:
    config = SASRecConfig(**SMALL, epochs=60, patience=patience)
    model = SASRec(config).fit(log_of(cycles(20)))
    reached = [point["validation_ndcg@10"] for point in model.learning_curve]
    assert model.epochs_ == int(np.argmax(reached)) + 1
    assert len(reached) == model.epochs_ + patience < 60


def test_a_fit_that_exceeds_the_memory_limit_is_skipped() -> None:
    with pytest.raises(ModelTooLargeError, match=r"^sasrec on .* raise fit\.max_memory_mb"):
        SASRec().fit(log_of(cycles(4)), options=TrainingOptions(max_memory_mb=1))


def test_heads_divide_embedding_dim() -> None:
    with pytest.raises(ValidationError, match="choose a divisor of embedding_dim"):
        SASRecConfig(embedding_dim=10, n_heads=3)


def test_only_the_newest_events_of_a_long_history_count() -> None:
    trainer = SASRecTrainer(log_of(cycles()), SASRecConfig(**SMALL), np.random.default_rng(0))
    net = network_from_arrays(trainer.arrays(), 1)
    long = [step * 5 % N_ITEMS for step in range(30)]
    np.testing.assert_allclose(*encode(Histories.from_lists([long, long[-12:]], N_ITEMS), net), rtol=1e-5, atol=1e-6)


def test_scoring_imports_no_heavy_library(walker: SASRec, tmp_path: Path) -> None:
    folder = walker.save(tmp_path / "bundle")
    script = (
        "import sys, numpy as np; from pathlib import Path;"
        "from recommenders.models.networks.sasrec.model import SASRec;"
        f"m = SASRec.load(Path({str(folder)!r}));"
        "s = m.score(np.array([0, -1], np.int32), m.histories_[[0, 1]]);"
        "print(*[n for n in ('torch', 'sklearn', 'numba', 'pyarrow', 'pandas') if n in sys.modules], s.argmax(axis=1))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[ 9 10]"
