"""What the sequential model promises beyond the contract."""

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
from recommenders.models.networks.sasrec.batches import Sequences, hold_out_latest
from recommenders.models.networks.sasrec.config import SASRecConfig
from recommenders.models.networks.sasrec.inference import encode, network_of, ordered_share
from recommenders.models.networks.sasrec.loss import Columns, ItemTable, softmax_gradients
from recommenders.models.networks.sasrec.model import SASRec
from recommenders.models.networks.sasrec.training import Attention, Trainer

SMALL: dict[str, Any] = {"embedding_dim": 16, "length": 12, "learning_rate": 0.02, "warm_up": 10, "dropout": 0.0}
N_ITEMS = 12


def log_of(
    lists: list[list[int]], days: list[list[float]] | None = None, n_items: int = N_ITEMS, **facts: Any
) -> Interactions:
    """A buyer a list, whose events follow each other by a day, or happen on the days given."""
    days = days or [list(range(len(columns))) for columns in lists]
    users = np.repeat(np.arange(len(lists)), [len(columns) for columns in lists])
    times = (np.concatenate(days) * DAY).astype(np.int64)
    order = np.argsort(times, kind="stable")
    ones = np.ones(len(users), np.float32)
    return Interactions(
        IdMap.of(f"u{i:03}" for i in range(len(lists))),
        IdMap.of(f"i{i:03}" for i in range(n_items)),
        users[order].astype(np.int32),
        np.concatenate(lists)[order].astype(np.int32),
        times[order],
        ones,
        ones,
        np.ones(n_items, np.bool_),
        **{"repeat": True, "dated": False, **facts},
    )


def rings(n_users: int = 40, n_events: int = 9, n_items: int = N_ITEMS) -> list[list[int]]:
    """Everybody walks round the items, one after the other: who knows the order knows the next."""
    return [[(start + step) % n_items for step in range(n_events)] for start in range(n_users)]


@pytest.fixture(scope="module")
def walker() -> SASRec:
    return SASRec(SASRecConfig(**SMALL, epochs=3)).fit(log_of(rings(24)))


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recommenders.models.networks.sasrec.training.STEPS_AN_EPOCH", 5)


def network(by_moment: bool, heads: int = 2, seed: int = 0) -> tuple[Attention, ItemTable, dict[str, Any]]:
    torch.manual_seed(seed)
    config = SASRecConfig(embedding_dim=8, length=6, heads=heads)
    attention, table = Attention(config).eval(), ItemTable(N_ITEMS, 8)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    table.vectors *= 30
    arrays = {"items": table.vectors.numpy(), **attention.arrays(), "by_moment": np.array([by_moment])}
    return attention, table, arrays


@pytest.mark.parametrize("start", [0, 5, 11])
def test_the_next_item_of_a_walk_is_first(walker: SASRec, start: int) -> None:
    known = Histories.of_lists([[(start + step) % N_ITEMS for step in range(3)]], N_ITEMS)
    assert walker.score(np.array([-1], np.int32), known)[0].argmax() == (start + 3) % N_ITEMS


def test_the_same_items_in_another_order_have_another_next(walker: SASRec) -> None:
    known = Histories.of_lists([[1, 2, 3], [3, 2, 1]], N_ITEMS)
    first = walker.score(np.full(2, -1, np.int32), known).argmax(axis=1)
    assert first[0] == 4
    assert first[1] != 4


@pytest.mark.parametrize("by_moment", [False, True])
@pytest.mark.parametrize("heads", [1, 2])
def test_numpy_answers_what_the_network_says(by_moment: bool, heads: int) -> None:
    attention, table, arrays = network(by_moment, heads)
    lists = [[1, 2, 3, 4], [5], [6, 7, 7, 1, 2, 3, 4, 5, 9, 10]]
    days = [[0, 0, 1, 2], [0], [0, 1, 2, 3, 4, 5, 6, 7, 8, 8]]
    known = log_of(lists, days).histories()
    got = encode(known, network_of(arrays, heads))
    tokens: list[list[list[int]]] = [[[column] for column in columns][-6:] for columns in lists]
    if by_moment:
        tokens = [[[1, 2], [3], [4]], [[5]], [[2], [3], [4], [5], [9, 10]][-6:]]
        tokens[2] = [[1], *tokens[2]]
    for i, bags in enumerate(tokens):
        items = torch.tensor([column for bag in bags for column in bag])
        cells = torch.tensor([cell for cell, bag in enumerate(bags) for _ in bag])
        with torch.no_grad():
            expected = attention(table.vectors[items], cells, (1, len(bags)))[0, -1].numpy()
        np.testing.assert_allclose(got[i], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(encode(known[[i]], network_of(arrays, heads))[0], expected, rtol=1e-4, atol=1e-5)


@given(st.lists(st.lists(st.integers(0, N_ITEMS - 1), max_size=9), min_size=1, max_size=6), st.booleans())
@settings(max_examples=25)
def test_company_changes_no_answer(lists: list[list[int]], by_moment: bool) -> None:
    net = network_of(network(by_moment)[2], 2)
    days = [[float(step // 2) for step in range(len(columns))] for columns in lists]
    known = log_of(lists, days).histories() if any(lists) else Histories.of_lists(lists, N_ITEMS)
    together = encode(known, net)
    for i in range(len(lists)):
        np.testing.assert_allclose(encode(known[[i]], net)[0], together[i], rtol=1e-4, atol=1e-5)
        assert lists[i] or not together[i].any()


def test_items_of_one_moment_have_no_order() -> None:
    net = network_of(network(by_moment=True)[2], 2)
    known = Histories.of_lists([[1, 5, 3], [3, 1, 5]], N_ITEMS)
    vectors = encode(known, net)
    np.testing.assert_allclose(vectors[0], vectors[1], rtol=1e-5, atol=1e-6)


def test_gradients_are_those_of_cross_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recommenders.models.networks.sasrec.loss.product_type", lambda: torch.float32)
    monkeypatch.setattr("recommenders.models.networks.sasrec.loss.CHUNK", 3)
    hidden, items = torch.randn(7, 4, requires_grad=True), torch.randn(9, 4, requires_grad=True)
    rows = torch.tensor([0, 1, 1, 2, 3, 4, 4, 4, 5, 6])
    targets, weights = torch.tensor([3, 0, 8, 2, 2, 5, 6, 7, 1, 0]), torch.rand(10)
    expected = -(weights * torch.log_softmax(hidden @ items.T, 1)[rows, targets]).sum()
    expected.backward()
    loss, by_hidden, by_items = softmax_gradients(hidden.detach(), items.detach(), rows, targets, weights)
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    torch.testing.assert_close(by_hidden, hidden.grad)
    torch.testing.assert_close(by_items, items.grad)


def test_drawn_columns_stand_for_all() -> None:
    log = log_of(rings(n_items=400, n_events=20), n_items=400)
    config = SASRecConfig(**SMALL, full_softmax_items=10, negatives=80, batch_tokens=100)
    rng = np.random.default_rng(0)
    columns, batch = Columns(log, config, rng), next(Sequences(log, config, rng).batches())
    sizes = []
    for _ in range(200):
        chosen, correction = columns.choose(batch)
        assert isinstance(chosen, torch.Tensor)
        assert np.isin(batch.targets, chosen).all()
        assert (chosen[columns.place[batch.items]].numpy() == batch.items).all()
        assert correction is not None
        others = ~np.isin(chosen, np.append(batch.items, batch.targets))
        sizes.append(float(correction.exp()[torch.from_numpy(others)].sum()))
    rare = 400 - len(np.unique(np.append(batch.items, batch.targets)))
    assert np.mean(sizes) == pytest.approx(rare, rel=0.5)


def test_a_large_catalogue_is_learned_from_samples() -> None:
    config = SASRecConfig(**SMALL, epochs=3, full_softmax_items=0, negatives=4)
    model = SASRec(config).fit(log_of(rings(24)))
    known = Histories.of_lists([[1, 2, 3], [6, 7, 8]], N_ITEMS)
    assert model.score(np.full(2, -1, np.int32), known).argmax(axis=1).tolist() == [4, 9]


def test_rows_without_a_gradient_stay() -> None:
    table = ItemTable(5, 3)
    before = table.vectors.clone()
    table.step(torch.tensor([1, 3]), torch.ones(2, 3), 0.1)
    assert (table.vectors[[0, 2, 4]] == before[[0, 2, 4]]).all()
    torch.testing.assert_close(table.vectors[[1, 3]], before[[1, 3]] - 0.1)


def test_each_event_but_the_first_is_foretold_once() -> None:
    log = log_of([[1, 2, 3, 4, 5, 6, 7], [8], [9, 2]])
    config = SASRecConfig(**{**SMALL, "length": 3}, batch_tokens=4)
    batches = list(Sequences(log, config, np.random.default_rng(0)).batches())
    assert sorted(np.concatenate([batch.targets for batch in batches])) == [2, 2, 3, 4, 5, 6, 7]
    for batch in batches:
        assert batch.shape[1] <= 3
        current = batch.items[np.searchsorted(batch.cells, np.flatnonzero(batch.foretells))]
        pairs = set(zip(current.tolist(), batch.targets.tolist(), strict=True))
        assert pairs <= {(1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7), (9, 2)}


def test_a_moment_foretells_the_items_of_the_window_behind_it() -> None:
    log = log_of([[1, 2, 3, 1, 3, 4, 5]], [[0, 0, 10, 12, 12, 25, 90]], horizon_days=20.0, dated=True)
    (batch,) = Sequences(log, SASRecConfig(**SMALL), np.random.default_rng(0)).batches()
    assert batch.shape == (1, 5)
    assert batch.cells.tolist() == [0, 0, 1, 2, 2, 3, 4]
    assert batch.foretells.tolist() == [True, True, True, False, False]
    told = [sorted(batch.targets[batch.rows == row].tolist()) for row in range(3)]
    assert told == [[1, 3], [1, 3, 4], [4]]
    np.testing.assert_allclose(np.bincount(batch.rows, batch.weights), np.sqrt([2, 3, 1]), rtol=1e-5)


def test_light_events_are_foretold_lightly() -> None:
    log = log_of([[1, 2, 3]], [[0, 1, 1]], horizon_days=5.0)
    log = replace(log, weights=np.array([1, 0.1, 0.9], np.float32))
    (batch,) = Sequences(log, SASRecConfig(**SMALL), np.random.default_rng(0)).batches()
    share = {int(column): weight for column, weight in zip(batch.targets, batch.weights, strict=True)}
    assert share[3] / share[2] == pytest.approx(9, rel=1e-4)


def test_validation_is_the_latest_and_never_taught() -> None:
    lists = [[1, 2, 3], [4, 5], [6]]
    kept, validation = hold_out_latest(log_of(lists), SASRecConfig(validation_users=5), np.random.default_rng(1))
    assert validation is not None
    assert len(validation.histories) == 1  # half of the two who have an earlier event
    assert len(kept) == 5
    row = validation.histories.item_columns
    assert validation.relevant.indices.tolist() == ([3] if 1 in row else [5])
    window = log_of([[1, 2, 3, 4], [5, 6]], [[0, 50, 90, 99], [0, 95]], horizon_days=20.0)
    kept, validation = hold_out_latest(window, SASRecConfig(), np.random.default_rng(0))
    assert validation is not None
    assert kept.timestamps[np.isin(kept.user_rows, kept.user_rows[kept.item_columns == 1])].max() >= 0
    assert set(validation.relevant.indices.tolist()) in ({3, 4}, {6})


def test_nobody_to_validate_on_is_no_error() -> None:
    log = log_of([[1]], n_items=3)
    assert hold_out_latest(log, SASRecConfig(), np.random.default_rng(0))[1] is None


def test_a_log_without_order_is_declined_in_one_line() -> None:
    log = log_of(rings(6), [[0.0] * 9] * 6)
    assert ordered_share(log.histories()) == 0
    with pytest.raises(ConfigurationError, match=r"sasrec needs order: got 0%.*enabled: false") as caught:
        SASRec().fit(log)
    assert "\n" not in str(caught.value)


def test_buyers_who_never_return_within_the_horizon_teach_nothing() -> None:
    log = log_of([[1, 2], [3, 1]], [[0, 50], [10, 70]], horizon_days=5.0)
    with pytest.raises(UnsuitableError, match="nothing to learn from: got 0 events"):
        SASRec(SASRecConfig(**SMALL, windows=True)).fit(log)


def test_a_log_that_asks_for_a_window_is_learned_from_where_that_is_wanted(brief: None) -> None:
    log = log_of(rings(6), [[float(day) for day in range(9)]] * 6, horizon_days=5.0)
    with pytest.raises(UnsuitableError, match=r"got one of 5 days, .*set models\.sasrec\.windows: true"):
        SASRec(SASRecConfig(**SMALL, fixed_epochs=1)).fit(log)
    assert SASRec(SASRecConfig(**SMALL, fixed_epochs=1, windows=True)).fit(log).epochs_ == 1


def test_buyers_of_one_event_say_nothing_of_order() -> None:
    log = log_of([[1], [2], [3, 4]], [[0], [0], [0, 1]])
    assert ordered_share(log.histories()) == 1


def test_a_known_buyer_is_answered_from_memory_until_there_is_news(
    walker: SASRec, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, known = np.array([0, 7], np.int32), walker.histories_[[0, 7]]
    fresh = walker.score(np.full(2, -1, np.int32), known)
    np.testing.assert_allclose(walker.score(rows, known), fresh, rtol=1e-4, atol=1e-4)
    more = log_of([rings()[0] + [9], rings()[7]]).histories()
    assert walker.score(rows, more)[0].argmax() == 10
    assert walker.score(rows, more)[1].argmax() == fresh[1].argmax()
    monkeypatch.setattr("recommenders.models.networks.sasrec.inference.encode", None)
    walker.score(rows, known)
    with pytest.raises(TypeError):
        walker.score(rows, more)


def test_a_crowd_is_not_stored(monkeypatch: pytest.MonkeyPatch, brief: None) -> None:
    monkeypatch.setattr("recommenders.models.networks.sasrec.model.STORED", 23)
    model = SASRec(SASRecConfig(**SMALL, fixed_epochs=1)).fit(log_of(rings(24)))
    assert model.users_vectors_.shape == (0, 16)
    rows = np.arange(24, dtype=np.int32)
    strangers = np.full(24, -1, np.int32)
    np.testing.assert_array_equal(model.score(rows, model.histories_), model.score(strangers, model.histories_))


def test_some_items_score_as_all_do(walker: SASRec) -> None:
    rows, known = np.array([0, -1], np.int32), walker.histories_[[0, 3]]
    columns = np.array([[3, 1, 3], [11, 0, 2]])
    expected = np.take_along_axis(walker.score(rows, known), columns, axis=1)
    np.testing.assert_allclose(walker.score_items(rows, known, columns), expected, rtol=1e-4, atol=1e-5)


def test_an_empty_history_says_nothing(walker: SASRec) -> None:
    rows, known = np.array([-1], np.int32), Histories.of_lists([[]], N_ITEMS)
    assert not walker.knows(rows, known).any()
    assert not walker.score(rows, known).any()


def test_a_refit_repeats_the_epochs_and_its_curve_is_told(brief: None) -> None:
    told: list[tuple[int, dict[str, float]]] = []

    class Listener:
        def log(self, step: int, metrics: dict[str, float]) -> None:
            told.append((step, metrics))

    model = SASRec(SASRecConfig(**SMALL, fixed_epochs=3)).fit(log_of(rings(20)), tracker=Listener())
    assert model.epochs_ == len(model.learning_curve) == 3
    assert [step for step, _ in told] == [1, 2, 3]
    assert told[-1][1]["loss"] < told[0][1]["loss"]


def test_the_newest_epochs_are_kept_as_their_mean(brief: None) -> None:
    """One seed, so the first n epochs of every training are the same."""

    def kept_of(epochs: int, averaged: int) -> dict[str, Any]:
        config = SASRecConfig(**SMALL, fixed_epochs=epochs, averaged_epochs=averaged)
        arrays = SASRec(config).fit(log_of(rings(20))).arrays()
        return {name: array for name, array in arrays.items() if name not in ("users", "epochs")}

    third, fourth, both = kept_of(3, 1), kept_of(4, 1), kept_of(4, 2)
    assert set(both) == set(fourth)
    for name, array in both.items():
        assert array.dtype == fourth[name].dtype
        np.testing.assert_allclose(array, (third[name].astype(float) + fourth[name]) / 2, rtol=1e-5, atol=1e-6)
    assert np.abs(third["items"] - fourth["items"]).max() > 1e-3


@pytest.mark.parametrize("patience", [1, 3])
def test_training_stops_after_as_many_epochs_without_a_better_one(brief: None, patience: int) -> None:
    config = SASRecConfig(**SMALL, epochs=60, patience=patience)
    model = SASRec(config).fit(log_of(rings(20)))
    reached = [point["validation_ndcg@10"] for point in model.learning_curve]
    assert model.epochs_ == int(np.argmax(reached)) + 1
    assert len(reached) == model.epochs_ + patience < 60


def test_training_leaves_torch_as_it_was_and_is_seeded(brief: None) -> None:
    torch.manual_seed(5)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    config = SASRecConfig(**SMALL, fixed_epochs=1)
    first, second = (SASRec(config).fit(log_of(rings(20))).arrays() for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.get_num_threads() == threads
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


def test_time_runs_out_gracefully(brief: None) -> None:
    model = SASRec(SASRecConfig(**SMALL, epochs=50, max_minutes=1e-9)).fit(log_of(rings(20)))
    assert model.epochs_ == len(model.learning_curve) == 1


def test_it_declines_before_it_takes_more_memory_than_it_may() -> None:
    with pytest.raises(ModelTooLargeError, match=r"models\.sasrec\.max_memory_mb"):
        SASRec(SASRecConfig(max_memory_mb=1)).fit(log_of(rings(4)))


def test_heads_share_the_width() -> None:
    with pytest.raises(ValidationError, match="choose a divisor of embedding_dim"):
        SASRecConfig(embedding_dim=10, heads=3)


def test_a_long_history_is_known_by_its_newest_events() -> None:
    trainer = Trainer(log_of(rings()), SASRecConfig(**SMALL), np.random.default_rng(0))
    net = network_of(trainer.arrays(), 1)
    long = [step * 5 % N_ITEMS for step in range(30)]
    np.testing.assert_allclose(*encode(Histories.of_lists([long, long[-12:]], N_ITEMS), net), rtol=1e-5, atol=1e-6)


def test_answering_imports_no_heavy_library(walker: SASRec, tmp_path: Path) -> None:
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
