"""Reliability: bins and their error, against a calculation by hand, and on a model whose truth is known."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from recommenders.evaluation.statistics.reliability import reliability, reliability_of
from recommenders.math.ranked import Ranked
from recommenders.models.calibration import Calibration, Curve


def test_bins_by_hand() -> None:
    found = reliability(np.array([0.05, 0.15, 0.15, 1.0], np.float32), np.array([False, True, False, True]))
    assert [one["items"] for one in found["bins"]] == [1, 2, 1]
    assert [one["observed"] for one in found["bins"]] == [0.0, 0.5, 1.0]
    assert [one["predicted"] for one in found["bins"]] == pytest.approx([0.05, 0.15, 1.0])
    assert found["expected_calibration_error"] == pytest.approx(0.25 * 0.05 + 0.5 * 0.35)


def test_the_error_of_true_probabilities_is_small_and_that_of_others_is_their_distance() -> None:
    rng = np.random.default_rng(0)
    true = rng.random(50_000).astype(np.float32)
    bought = rng.random(50_000) < true
    assert reliability(true, bought)["expected_calibration_error"] < 0.01
    assert reliability(true / 2, bought)["expected_calibration_error"] == pytest.approx(0.25, abs=0.01)
    assert np.isnan(reliability(true[:0], bought[:0])["expected_calibration_error"])


class Ranker:
    """A model whose lists and curves are given."""

    def __init__(self, calibration: Calibration | None, ranked: Ranked) -> None:
        self.calibration_, self.ranked = calibration, ranked

    def recommend(self, rows: Any, histories: Any, k: int, candidates: Any, exclude_known: bool) -> Ranked:
        assert k == 10
        return self.ranked


def test_the_items_of_all_lists_count_and_their_ends_do_not() -> None:
    """Two users and three items: item 0 is listed and bought by the first, item 2 by the second; one list is short."""
    columns = np.array([[0, 1], [2, -1]], np.int32)
    ranked = Ranked(columns, np.array([[2.0, 1.0], [2.0, -np.inf]], np.float32))
    curve = Curve(np.array([1.0, 2.0]), np.array([0.25, 0.75]))
    relevant = csr_array(np.array([[1, 0, 0], [0, 1, 1]], np.float32))
    task: Any = SimpleNamespace(
        user_rows=np.arange(2), histories=None, candidates=None, relevant=relevant, views=lambda: {"all": VIEW}
    )
    models: Any = {
        "plain": Ranker(None, ranked),
        "without a curve": Ranker(Calibration({"cold_start": (curve,)}), ranked),
        "calibrated": Ranker(Calibration({"all": (curve,)}), ranked),
    }
    found = reliability_of(models, task)
    assert list(found) == ["calibrated"]
    assert found["calibrated"]["bins"] == [
        {"items": 1, "predicted": 0.25, "observed": 0.0},
        {"items": 2, "predicted": 0.75, "observed": 1.0},
    ]


VIEW = SimpleNamespace(exclude_known=False)


def test_a_bin_is_a_tenth_wide_and_the_last_one_has_its_end() -> None:
    edges = np.array([0.0, 0.0999, 0.1, 0.8999, 0.9, 0.95, 1.0], np.float32)
    found = reliability(edges, np.ones(7, np.bool_))
    assert [one["items"] for one in found["bins"]] == [2, 1, 1, 3]
