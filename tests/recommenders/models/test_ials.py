"""iALS: the epochs, the fold-in of users, and the choice of the unobserved weight."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from recommenders.errors import ModelTooLargeError
from recommenders.events.histories import DAY, Histories
from recommenders.events.ids import IdMap
from recommenders.events.interactions import Interactions
from recommenders.models.ials.model import IALS, IALSConfig, implied_weight
from recommenders.models.ials.solver import solve_rows
from recommenders.models.recommender import TrainingOptions

COLD_START = np.array([-1], np.int32)
SMALL = {"embedding_dim": 6, "epochs": 8}


def blocks(n_users: int = 120, n_items: int = 40, seed: int = 0, n_groups: int = 4) -> Interactions:
    """Users of group g buy items of group g, with repeat purchases, for a month; the last item has no events."""
    rng = np.random.default_rng(seed)
    n_events = 10 * n_users
    users = rng.integers(0, n_users, n_events)
    columns = rng.integers(0, n_items // n_groups, n_events) * n_groups + users % n_groups
    kept = columns < n_items - 1
    ones = np.ones(int(kept.sum()), np.float32)
    return Interactions(
        IdMap.from_ids(f"u{user:04}" for user in range(n_users)),
        IdMap.from_ids(f"i{item:04}" for item in range(n_items)),
        users[kept].astype(np.int32),
        columns[kept].astype(np.int32),
        np.sort(rng.integers(0, 30 * DAY, n_events))[kept],
        ones,
        ones,
        np.ones(n_items, dtype=np.bool_),
        True,
    )


def minimum(
    values: np.ndarray, items: np.ndarray, weight: float, reg: float, unobserved_weight_sum: float
) -> np.ndarray:
    """Each user's vector by the normal equations of the loss, in double precision."""
    vectors = items.astype(np.float64)
    found = []
    for row in values:
        system = (vectors * row[:, None]).T @ vectors + weight * vectors.T @ vectors
        system += reg * (row.sum() + unobserved_weight_sum) * np.eye(vectors.shape[1])
        found.append(np.linalg.solve(system, row @ vectors))
    return np.array(found)


def loss(values: np.ndarray, users: np.ndarray, items: np.ndarray, weight: float, reg: float) -> float:
    products = users @ items.T
    fit = (values * (1 - products) ** 2).sum() + weight * (products**2).sum()
    n_users, n_items = (values.any(axis=1).sum(), values.any(axis=0).sum())
    of_users = ((values.sum(axis=1) + weight * n_items) * (users**2).sum(axis=1)).sum()
    of_items = ((values.sum(axis=0) + weight * n_users) * (items**2).sum(axis=1)).sum()
    return float(fit + reg * (of_users + of_items))


@pytest.mark.parametrize("lengths", [(0, 1, 2, 3), (4, 5, 9, 40)])
def test_enough_steps_reach_the_least_squares_solution(lengths: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    others = np.linalg.qr(rng.standard_normal((40, 6)))[0].astype(np.float32)  # its Gramian is the identity
    dense = np.zeros((len(lengths), 40), np.float32)
    for row, length in enumerate(lengths):
        dense[row, rng.choice(40, length, replace=False)] = rng.uniform(0.5, 3, length)
    entries = csr_array(dense)
    rows = rng.standard_normal((len(lengths), 6)).astype(np.float32)
    regs = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    common = np.full(6, 0.7, np.float32)
    solve_rows((0, len(lengths)), (entries.indptr, entries.indices, entries.data), others, rows, common, regs, 20)
    expected = np.concatenate([minimum(dense[[i]], others, 0.7, 1.0, regs[i] - dense[i].sum()) for i in range(4)])
    np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_the_loss_converges_to_an_optimum_of_both_sides() -> None:
    log = blocks()
    reg, weight = 0.01, 0.3
    settings = {**SMALL, "reg": reg, "unobserved_weight": weight, "events": "summed"}
    values = np.log2(1 + log.matrix().toarray().astype(np.float64))

    def losses(epochs: int) -> tuple[float, IALS]:
        model = IALS(IALSConfig(**{**settings, "epochs": epochs})).fit(log)
        return loss(values, model.user_factors(log.histories()), model.item_factors_, weight, reg), model

    (early, _), (later, _), (last, model) = losses(1), losses(5), losses(60)
    assert early > later >= last * (1 - 1e-5)
    users = model.user_factors(log.histories())
    n_users = int(values.any(axis=1).sum())
    items = minimum(values.T, users, weight, reg, weight * n_users)
    assert loss(values, users, items, weight, reg) == pytest.approx(last, rel=1e-4)


def test_user_factors_solve_the_normal_equations() -> None:
    log = blocks()
    model = IALS(IALSConfig(embedding_dim=6, events="summed", unobserved_weight=0.2)).fit(log)
    long, short = list(range(36)), [1, 5]  # more items than dimensions, and fewer
    known = Histories.from_lists([long, short, []], 40)
    values = known.matrix.toarray().astype(np.float64)
    expected = minimum(values, model.item_factors_, 0.2, model.config.reg, model.unobserved_weight_sum_)
    together = model.user_factors(known)
    np.testing.assert_allclose(together, expected, rtol=1e-3, atol=1e-5)
    for row in range(3):
        np.testing.assert_allclose(model.user_factors(known[[row]])[0], together[row], rtol=1e-4, atol=1e-6)
    assert not model.score(COLD_START, Histories.from_lists([[]], 40)).any()


def test_groups_are_found() -> None:
    log = blocks()
    model = IALS(IALSConfig(**SMALL)).fit(log)
    ranked = model.recommend(np.full(4, -1, np.int32), Histories.from_lists([[0, 4], [1, 5], [2, 6], [3, 7]], 40), 5)
    assert (ranked.item_columns % 4 == np.arange(4)[:, None]).all()
    assert not model.item_factors_[39].any()  # it has no events


def test_items_bought_together_are_recommended(world: Any, answers: np.ndarray) -> None:
    log, _ = world
    model = IALS(IALSConfig(embedding_dim=2)).fit(log)  # of two groups; more would fit the gaps
    first = model.recommend(np.arange(24, dtype=np.int32), log.histories(), 1).item_columns[:, 0]
    np.testing.assert_array_equal(first, answers)


def test_the_defaults_do_not_collapse_on_a_small_log(world: Any) -> None:
    log, _ = world
    first = IALS().fit(log).recommend(np.arange(24, dtype=np.int32), log.histories(), 1).item_columns[:, 0]
    np.testing.assert_array_equal(first % 2, np.arange(24) % 2)


def test_scores_of_some_items_equal_those_of_all_items() -> None:
    log = blocks()
    model = IALS(IALSConfig(**SMALL)).fit(log)
    rows, known = np.arange(120, dtype=np.int32), log.histories()
    columns = np.random.default_rng(4).integers(0, 40, (120, 7)).astype(np.int32)
    expected = np.take_along_axis(model.score(rows, known), columns.astype(np.int64), axis=1)
    np.testing.assert_allclose(model.score_items(rows, known, columns), expected, rtol=1e-4, atol=1e-6)


def test_new_events_change_the_scores_of_a_user() -> None:
    log = blocks()
    model = IALS(IALSConfig(**SMALL)).fit(log)
    before = Histories.from_lists([[0, 4, 8]], 40)
    after = Histories.from_lists([[0, 4, 8, 1, 5, 9]], 40)
    assert model.score(COLD_START, after)[0, 13] > model.score(COLD_START, before)[0, 13] + 0.05


def test_the_number_of_threads_does_not_change_the_factors() -> None:
    log = blocks()
    one, three = (IALS(IALSConfig(**SMALL)).fit(log, options=TrainingOptions(threads=n)) for n in (1, 3))
    np.testing.assert_array_equal(one.item_factors_, three.item_factors_)


def test_the_unobserved_weight_falls_with_the_size_of_the_log() -> None:
    matrix = csr_array(np.full((2, 3), 0.5, np.float32))
    assert implied_weight(matrix, 0.005, 20 * 20) == pytest.approx(0.5)
    large = implied_weight(matrix, 0.005, 100_000 * 20_000)
    assert large == pytest.approx(0.5 * 8 / (0.005 * np.sqrt(2e9)))
    assert implied_weight(matrix * np.float32(10), 0.005, 100_000 * 20_000) == pytest.approx(10 * large)


def test_the_learning_curve_reports_the_error() -> None:
    points: list[dict[str, float]] = []
    IALS(IALSConfig(**SMALL)).fit(blocks(), options=TrainingOptions(on_epoch=lambda _, found: points.append(found)))
    assert len(points) == 8
    assert 0 < points[-1]["observed_error"] < points[0]["observed_error"]


def test_a_loaded_model_has_the_same_scores_and_imports_no_compiler(tmp_path: Any) -> None:
    log = blocks()
    model = IALS(IALSConfig(**SMALL)).fit(log)
    folder = model.save(tmp_path / "bundle")
    rows = np.arange(120, dtype=np.int32)
    again = IALS.load(folder)
    np.testing.assert_array_equal(again.score(rows, log.histories()), model.score(rows, log.histories()))
    code = (
        "import sys; from pathlib import Path; from recommenders.models.ials.model import IALS as M;"
        f"m = M.load(Path({str(folder)!r})); m.score(m.histories_.rows[:1].astype('int32'), m.histories_[:1]);"
        "print(sorted({'numba', 'torch', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_logs_of_one_event_of_no_event_and_of_one_item() -> None:
    log = blocks()
    one = log.select(np.arange(len(log)) == 5)
    assert np.isfinite(IALS().fit(one).score(COLD_START, Histories.from_lists([[0, 3]], 40))).all()
    assert not IALS().fit(log.select(np.zeros(len(log), bool))).score(COLD_START, log.histories()[:1]).any()
    lonely = blocks(n_items=2, n_groups=1)
    assert np.isfinite(IALS().fit(lonely).score(COLD_START, Histories.from_lists([[0]], 2))).all()


def test_too_little_memory_is_an_error_before_fitting() -> None:
    with pytest.raises(ModelTooLargeError, match="ials on 120 users x 40 items would need"):
        IALS().fit(blocks(), options=TrainingOptions(max_memory_mb=0.1))
