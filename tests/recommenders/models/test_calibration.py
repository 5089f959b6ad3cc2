"""Calibration: probabilities that hold for held-out lists, never rise within a list, and survive a bundle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_array

from recommenders.models.calibration import (
    BANDS,
    MIN_BOUGHT,
    MIN_USERS,
    Calibration,
    Curve,
    RankedUsers,
    fit_calibration,
)

N_ITEMS = BANDS[-1]


def drawn(n_users: int, seed: int, below: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores of lists and their true probabilities: the logistic function, times `below` after the first band."""
    rng = np.random.default_rng(seed)
    scores = -np.sort(-rng.normal(-2, 2, (n_users, N_ITEMS)), axis=1).astype(np.float32)
    probabilities = 1 / (1 + np.exp(-scores))
    probabilities[:, BANDS[0] :] *= below
    return scores, probabilities


def test_probabilities_are_those_of_other_users() -> None:
    """Learned from 2,000 users, they hold for 2,000 others: in every band, and for any tenth of the lists."""
    (scores, true), (others, expected) = drawn(2000, 0, below=0.5), drawn(2000, 1, below=0.5)
    bought = np.random.default_rng(2).random(true.shape) < true
    calibration = fit_calibration({"all": RankedUsers(scores, bought)})
    assert calibration
    found = calibration.probabilities("all", others)
    assert found is not None
    for start, end in zip((0, *BANDS), BANDS, strict=False):
        band, truth = found[:, start:end].ravel(), expected[:, start:end].ravel()
        order = np.argsort(band, kind="stable")
        for part in np.array_split(order, 10):
            assert abs(band[part].mean() - truth[part].mean()) < 0.02


@settings(max_examples=50, deadline=None)
@given(
    scores=arrays(np.float32, (3, 40), elements=st.floats(-50, 50, width=32)),
    lengths=st.lists(st.integers(0, 40), min_size=3, max_size=3),
    kind=st.sampled_from(["all", "reorder", "discovery", "cold_start"]),
)
def test_probabilities_never_rise_within_a_list(scores: np.ndarray, lengths: list[int], kind: str) -> None:
    scores = -np.sort(-scores, axis=1)
    for row, length in enumerate(lengths):
        scores[row, length:] = -np.inf
    found = FITTED.probabilities(kind, scores)  # type: ignore[arg-type]
    assert found is not None
    assert (np.diff(found, axis=1) <= 0).all()
    listed = ~np.isneginf(scores)
    assert ((found > 0) & (found < 1))[listed].all()
    assert (found[~listed] == 0).all()


SCORES, TRUE = drawn(200, 3)
FITTED = fit_calibration({"all": RankedUsers(SCORES, np.random.default_rng(4).random(TRUE.shape) < TRUE)})
assert FITTED


def test_a_kind_without_curves_uses_those_of_the_nearest_kind() -> None:
    flat = {name: (Curve(np.array([0.0]), np.array([value])),) for name, value in (("all", 0.5), ("cold_start", 0.2))}
    scores = np.zeros((1, 1), np.float32)

    def values(of: Calibration) -> list[float]:
        found = [of.probabilities(kind, scores) for kind in ("all", "reorder", "discovery", "cold_start", "popularity")]
        return [float(one[0, 0]) for one in found if one is not None]

    both, known_only, nothing = Calibration(flat), Calibration({"all": flat["all"]}), Calibration({"discovery": ()})
    assert values(both) == pytest.approx([0.5, 0.5, 0.5, 0.2, 0.2])
    assert values(known_only) == [0.5] * 5
    assert nothing.probabilities("popularity", scores) is None


def test_each_band_has_its_curve_and_ranks_below_the_last_band_have_the_last() -> None:
    curves = tuple(Curve(np.array([0.0]), np.array([value])) for value in (0.5, 0.25, 0.125))
    found = Calibration({"all": curves}).probabilities("all", np.zeros((1, 120), np.float32))
    assert found is not None
    assert found[0].tolist() == [0.5] * 10 + [0.25] * 20 + [0.125] * 90


def test_too_few_users_or_bought_items_give_no_curve() -> None:
    bought = np.zeros((MIN_USERS, N_ITEMS), np.bool_)
    bought[:MIN_BOUGHT, 0] = True
    scores = np.tile(np.linspace(1, 0, N_ITEMS, dtype=np.float32), (MIN_USERS, 1))
    enough = fit_calibration({"all": RankedUsers(scores, bought)})
    assert enough
    assert [len(enough.curves[kind]) for kind in enough.curves] == [len(BANDS)]
    assert enough.curves["all"][1] is enough.curves["all"][0]  # nothing was bought below rank 10
    assert fit_calibration({"all": RankedUsers(scores[1:], bought[1:])}) is None
    bought[0, 0] = False
    assert fit_calibration({"all": RankedUsers(scores, bought)}) is None


def test_bought_items_are_found_and_the_end_of_a_list_is_none() -> None:
    relevant = csr_array(np.array([[1, 0, 0], [0, 1, 1]], np.float32))
    columns = np.array([[2, 0, -1], [1, -1, -1]], np.int32)
    users = RankedUsers.of(columns, np.zeros((2, 3), np.float32), relevant)
    assert users.bought.tolist() == [[False, True, False], [True, False, False]]


def test_the_arrays_of_a_bundle_hold_it_beside_others() -> None:
    assert FITTED
    arrays_ = {"weights": np.ones(3), **FITTED.arrays()}
    again, others = Calibration.split(arrays_)
    assert again
    assert list(others) == ["weights"]
    assert again.curves.keys() == FITTED.curves.keys()
    for kind, curves in FITTED.curves.items():
        for one, other in zip(curves, again.curves[kind], strict=True):
            np.testing.assert_array_equal(one, other)
    assert Calibration.split({"weights": np.ones(3)})[0] is None


def test_no_probability_is_certain_and_a_band_without_purchases_has_the_curve_above() -> None:
    """All first items are bought and no others: half an item of the sample is missing to certainty."""
    n_users, n_listed = 100, 40
    scores = np.full((n_users, N_ITEMS), -np.inf, np.float32)
    scores[:, :n_listed] = np.linspace(1, 0, n_listed, dtype=np.float32)
    bought = np.zeros((n_users, N_ITEMS), np.bool_)
    bought[:, 0] = bought[:, BANDS[0]] = True  # the first of each of two bands
    found = fit_calibration({"all": RankedUsers(scores, bought)})
    assert found
    first, second, third = found.curves["all"]
    assert first.probabilities[-1] == 1 - 0.5 / (n_users * BANDS[0])
    assert first.probabilities[0] == 0.5 / (n_users * BANDS[0])
    assert second.probabilities[-1] == 1 - 0.5 / (n_users * (BANDS[1] - BANDS[0]))
    assert third is second


def test_purchases_are_found_by_user_and_item() -> None:
    """Five users, two items: each user's purchases are found by the user and the item."""
    relevant = csr_array(np.array([[1, 0], [0, 1], [0, 0], [1, 1], [0, 1]], np.float32))
    columns = np.tile(np.array([[1, 0]], np.int32), (5, 1))
    users = RankedUsers.of(columns, np.zeros((5, 2), np.float32), relevant)
    assert users.bought.tolist() == relevant.toarray()[:, ::-1].astype(bool).tolist()
    few = csr_array(np.array([[0, 0, 1, 0, 1], [0, 1, 0, 0, 0]], np.float32))  # the first bought the last item
    ends = RankedUsers.of(np.array([[2, 4], [0, -1]], np.int32), np.zeros((2, 2), np.float32), few)
    assert ends.bought.tolist() == [[True, True], [False, False]]
