"""The sequential test of quality: rate of false alarms, delay, and small cases by hand."""

import numpy as np
import pytest
from scipy.stats import binom

from monitoring.drift.sequential import (
    FALLS,
    MIN_USERS,
    TOLERANCE,
    Baseline,
    detect_fall,
    fit_baseline,
    window_evidence,
)


def windows(seed: int, n: int, rate: float, n_users: int = 400) -> list[np.ndarray]:
    """Hit rates of users, each of five lists; users differ."""
    rng = np.random.default_rng(seed)
    of_user = rng.beta(1.2, 10.8, n_users) * rate / 0.1
    return [rng.binomial(5, of_user) / 5 for _ in range(n)]


def test_the_rate_of_false_alarms_holds_at_the_level() -> None:
    """The mean is exactly the level: no tolerance, and a baseline without error. At most an alarm in 100 windows."""
    rng, good = np.random.default_rng(0), Baseline(0.5, 0.5, 0.0)
    n_series, n_windows, alarms = 60, 40, 0
    for _ in range(n_series):
        evidence = np.full(FALLS.size, -np.inf)
        for _ in range(n_windows):
            values = (rng.random(200) < 0.5).astype(float)
            evidence = np.maximum(evidence, 0) + window_evidence(values, good)
            if np.exp(evidence).mean() >= 100:
                alarms, evidence = alarms + 1, np.full(FALLS.size, -np.inf)
    assert alarms <= binom.ppf(0.999, n_series * n_windows, 0.01)


def test_the_expected_evidence_of_a_window_at_the_level_is_one() -> None:
    rng, good = np.random.default_rng(1), Baseline(0.3, float(np.sqrt(0.21)), 0.0)
    gains = [np.exp(window_evidence((rng.random(300) < 0.3).astype(float), good)) for _ in range(20_000)]
    np.testing.assert_allclose(np.mean(gains, axis=0)[:5], 1, atol=0.1)  # larger falls have too long a tail to average


def test_a_fall_by_a_third_is_found_within_three_windows_and_a_tolerated_one_is_not() -> None:
    delays = []
    for seed in range(20):
        still, fallen = windows(seed, 20, 0.1), windows(seed, 6, 0.07)
        assert not detect_fall(still[:6], still[6:]).alarms.any()
        delays.append(int(np.argmax(detect_fall(still[:6], fallen).alarms)) + 1)
        assert detect_fall(still[:6], fallen).alarms.any()
        assert not detect_fall(still[:6], windows(seed, 6, 0.12)).alarms.any()  # better is no fall
    assert np.median(delays) <= 3


def test_a_small_fall_is_found_later() -> None:
    still = windows(0, 8, 0.1, 2000)
    small, large = (detect_fall(still, windows(0, 20, rate, 2000)).alarms for rate in (0.085, 0.06))
    assert 0 < int(np.argmax(large)) + 1 < int(np.argmax(small)) + 1


def test_the_level_is_the_lower_bound_of_the_mean_less_the_tolerance() -> None:
    values = np.array([0.0, 1.0] * 50)
    good = fit_baseline([values], TOLERANCE)
    error = values.std(ddof=1) / 10
    assert (good.spread, good.drift) == (pytest.approx(values.std(ddof=1)), 0.0)
    assert good.level == pytest.approx((0.5 - 1.6448536 * error) * 0.95)
    assert fit_baseline([values], 0.0).level == pytest.approx(0.5 - 1.6448536 * error)
    # windows that differ more than their users explain
    apart = [np.full(100, rate) + values / 100 for rate in (0.1, 0.3, 0.5)]
    assert fit_baseline(apart).drift == pytest.approx(0.2, rel=0.05)
    assert fit_baseline([values] * 3).drift == 0


def test_evidence_by_hand() -> None:
    values = np.array([0.0, 1.0] * 50)
    np.testing.assert_allclose(window_evidence(values, Baseline(0.6, 1.0, 0.0)), FALLS * 1.0 - FALLS**2 / 2, atol=1e-12)
    np.testing.assert_allclose(
        window_evidence(values, Baseline(0.6, 0.6, 0.08)), FALLS * 1.0 - FALLS**2 / 2, atol=1e-12
    )
    assert not window_evidence(values[: MIN_USERS - 1], Baseline(0.6, 1.0, 0.0)).any()
    assert not window_evidence(np.full(100, 0.5), Baseline(0.6, 0.0, 0.0)).any()
    found = detect_fall([values], [values - values], alarm_rate=0.01)
    assert found.limit == pytest.approx(2)
    good = fit_baseline([values])
    assert found.evidence[0] == pytest.approx(np.log10(np.mean(np.exp(window_evidence(np.zeros(100), good)))))


def test_undefined_values_are_left_out_and_wrong_ones_raise() -> None:
    values = np.array([0.0, 1.0] * 50)
    padded = np.concatenate([values, np.full(30, np.nan)])
    np.testing.assert_array_equal(detect_fall([padded], [padded]).evidence, detect_fall([values], [values]).evidence)
    with pytest.raises(ValueError, match=r"a quality is in \[0, 1\]; got 0 to 2; give one value per user"):
        detect_fall([values], [values * 2])
    with pytest.raises(ValueError, match="the baseline has 29 values; it needs 30; add windows to it"):
        detect_fall([values[:29]], [values])


def test_a_fall_of_a_quality_that_was_the_same_for_all_users_is_found() -> None:
    same = [np.ones(40)] * 4
    assert detect_fall(same, [np.zeros(40)]).alarms.all()
    assert not detect_fall(same, [np.ones(40)] * 9).alarms.any()
