"""Reliability: bins and their error, against a calculation by hand, and on a model whose truth is known."""

import numpy as np
import pytest

from recommenders.evaluation.reliability import reliability


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
