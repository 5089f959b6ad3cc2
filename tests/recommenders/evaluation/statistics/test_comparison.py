import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from recommenders.evaluation.statistics import comparison
from recommenders.evaluation.statistics.comparison import (
    Difference,
    Interval,
    compare_all,
    holm,
    mean_interval,
    mean_intervals,
    paired_difference,
    resampled_means,
)

P_VALUES = st.lists(st.floats(0.001, 1), min_size=1, max_size=8).map(np.array)


def test_the_interval_has_its_nominal_coverage() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(200):
        found = mean_interval(rng.exponential(size=80), n_resamples=400, seed=seed)
        covered += found.low <= 1.0 <= found.high
    assert 0.88 <= covered / 200 <= 0.99  # 95 % nominal; skewed samples of 80 cover a little less


def test_nan_is_left_out_and_the_mean_of_no_values_is_nan() -> None:
    found = mean_interval(np.array([1.0, np.nan, 3.0]))
    assert found.value == 2.0
    assert np.isnan(mean_interval(np.array([np.nan])).value)
    assert np.isnan(mean_interval(np.array([0.5])).low)
    assert np.isnan(mean_interval(np.array([])).value)


@pytest.mark.parametrize("confidence", [0.9, 0.5])
def test_as_many_resampled_means_lie_below_an_interval_as_above_it(confidence: float) -> None:
    values = np.random.default_rng(0).exponential(size=40)
    means = resampled_means(values[:, None], 1000, seed=42)[:, 0]
    found = mean_interval(values, confidence=confidence)
    assert np.mean(means < found.low) == pytest.approx((1 - confidence) / 2, abs=0.002)
    assert np.mean(means > found.high) == pytest.approx((1 - confidence) / 2, abs=0.002)
    few = np.full(500, np.nan)
    few[:3] = 0.0, 1.0, 5.0  # some resamples hold none of them
    means = resampled_means(few[:, None], 1000, seed=42)[:, 0]
    assert mean_intervals({"": few}, confidence=confidence)[""][1:] == pytest.approx(
        np.nanquantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    )


def test_the_defaults_are_a_thousand_resamples_and_95_percent() -> None:
    left, right = np.random.default_rng(0).random((2, 30))
    defaults = (1000, 0.95, 42)
    assert mean_interval(left) == mean_interval(left, *defaults)
    assert mean_intervals({0: left}) == mean_intervals({0: left}, *defaults)
    assert paired_difference(left, right) == paired_difference(left, right, *defaults)
    assert compare_all({0: left, 1: right}, 0) == compare_all({0: left, 1: right}, 0, *defaults)


def test_a_p_value_at_the_level_is_significant() -> None:
    level = 1 - 0.95
    assert Difference(Interval(0.1, 0.0, 0.2), 9, level, level, 0.95).verdict == "better"
    assert Difference(Interval(-0.1, -0.2, 0.0), 9, level, level, 0.95).verdict == "worse"
    assert Difference(Interval(0.1, 0.0, 0.2), 9, level, np.nextafter(level, 1), 0.95).verdict == "open"


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).random(50)
    assert mean_interval(values, seed=3) == mean_interval(values, seed=3)
    assert mean_interval(values, seed=3) != mean_interval(values, seed=4)


def test_resampling_by_counts_is_resampling_users() -> None:
    values = np.random.default_rng(0).random(40)
    drawn = np.random.default_rng(5).integers(40, size=(300, 40))
    np.testing.assert_allclose(resampled_means(values[:, None], 300, seed=5)[:, 0], values[drawn].mean(axis=1))


def test_many_intervals_equal_the_single_ones_and_nan_is_left_out() -> None:
    rng = np.random.default_rng(0)
    vectors = {name: rng.random(60) for name in "abc"}
    together = mean_intervals(vectors, 300)
    for name, values in vectors.items():
        assert together[name] == pytest.approx(mean_interval(values, 300))
    half = np.where(np.arange(60) < 30, vectors["a"], np.nan)
    found = mean_intervals({"half": half, "none": np.full(60, np.nan), "one": np.where(np.arange(60) < 1, 1.0, np.nan)})
    assert found["half"].value == pytest.approx(vectors["a"][:30].mean())
    single = mean_interval(vectors["a"][:30])
    assert found["half"].high - found["half"].low == pytest.approx(single.high - single.low, rel=0.2)
    assert np.isnan(found["none"]).all()
    assert found["one"].value == 1.0
    assert np.isnan(found["one"][1:]).all()
    assert mean_intervals({}) == {}


def test_few_defined_values_among_many_users_have_an_interval() -> None:
    few = np.full(500, np.nan)
    few[:2] = 0.0, 1.0  # many resamples hold neither
    found = mean_intervals({"few": few})["few"]
    assert found == (0.5, 0.0, 1.0)


def test_a_paired_test_finds_a_difference_that_is_small_compared_with_users() -> None:
    left = np.random.default_rng(0).random(300)
    found = paired_difference(left, left - 0.01)
    assert found.value == pytest.approx(0.01)
    assert found.low > 0
    with pytest.raises(ValueError, match="same users"):
        paired_difference(left, left[:5])


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.02, np.nan, 0.9])), [0.04, np.nan, 0.9])
    assert holm(np.array([])).shape == (0,)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 30])
def test_holm_is_that_of_statsmodels(n: int) -> None:  # few calls: one takes 24 milliseconds
    p_values = np.random.default_rng(n).random(n).round(2 - (n > 7))  # with ties
    np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1], rtol=1e-9)


@settings(max_examples=60)
@given(p_values=P_VALUES)
def test_holm_lies_between_no_correction_and_bonferroni_and_keeps_the_order(p_values: np.ndarray) -> None:
    corrected = holm(p_values)
    assert (corrected >= p_values).all()
    assert (corrected <= np.minimum(p_values * len(p_values), 1) + 1e-12).all()
    assert (np.diff(corrected[np.argsort(p_values, kind="stable")]) >= 0).all()
    assert corrected.min() == pytest.approx(min(1, p_values.min() * len(p_values)))


def test_every_model_is_compared_with_the_reference_on_the_same_users() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(200)
    vectors = {
        "base": base,
        "up": base + 0.02 + rng.normal(size=200) * 0.01,
        "down": base - 0.02 + rng.normal(size=200) * 0.01,
        "like": base + rng.normal(size=200) * 0.2,
        "same": base.copy(),
        "gaps": np.where(np.arange(200) < 150, base, np.nan),
        "unknown": np.full(200, np.nan),
    }
    found = compare_all(vectors, "base", 500)
    verdicts = {name: difference.verdict for name, difference in found.items()}
    assert verdicts == {
        "up": "better",
        "down": "worse",
        "like": "open",
        "same": "open",
        "gaps": "open",
        "unknown": "open",
    }
    assert found["up"].interval == pytest.approx(paired_difference(vectors["up"], base, 500))
    assert found["up"].p == pytest.approx(1 / 501)
    assert found["up"].p_holm == pytest.approx(5 / 501)  # five tests: the undefined one does not count
    assert found["same"].p == 1
    assert (found["gaps"].n_users, found["unknown"].n_users) == (150, 0)
    assert np.isnan(found["unknown"].p)


def test_without_a_difference_p_values_are_uniform_and_false_positives_are_rare() -> None:
    rng = np.random.default_rng(2)
    p_values, false_positives = [], 0
    for seed in range(150):
        models = {name: rng.exponential(size=60) for name in range(6)}
        found = compare_all(models, 0, 200, seed=seed)
        p_values.append(found[1].p)
        false_positives += any(difference.verdict != "open" for difference in found.values())
    assert 0.4 < np.mean(p_values) < 0.6
    assert false_positives / 150 < 0.11  # 5 % nominal; twice the standard error above it, and a small sample's bias


def test_a_missing_reference_is_an_error() -> None:
    with pytest.raises(ValueError, match="reference: got c; allowed: a, b"):
        compare_all({"a": np.ones(3), "b": np.ones(3)}, "c")
    with pytest.raises(ValueError, match="same users"):
        compare_all({"a": np.ones(3), "b": np.ones(4)}, "a")
    assert compare_all({"a": np.ones(3)}, "a") == {}


@pytest.mark.parametrize("chunk", [20 * 7, 1])  # seven resamples at once; less than one fits
def test_resamples_in_chunks_are_complete_and_all_different(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.random.default_rng(0).random((20, 2))
    monkeypatch.setattr(comparison, "CHUNK", chunk)
    found = resampled_means(table, 50, seed=1)
    assert found.shape == (50, 2)
    assert len(np.unique(found[:, 0])) == 50


def test_a_tie_with_the_observed_difference_counts_in_the_p_value() -> None:
    """Half of the resampled means of two users are as far from the mean as the mean is from 0."""
    vectors = {"one": np.zeros(2), "other": np.array([0.0, 0.2])}
    found = compare_all(vectors, "one", n_resamples=4000)["other"]
    assert found.interval == pytest.approx((0.1, 0.0, 0.2))
    assert found.p == pytest.approx(0.5, abs=0.05)


def test_a_single_user_has_a_difference_without_interval_and_p_value() -> None:
    found = compare_all({"one": np.array([0.1, np.nan]), "other": np.array([0.4, 0.5])}, "one")["other"]
    assert (found.n_users, found.verdict) == (1, "open")
    assert found.interval.value == pytest.approx(0.3)
    assert np.isnan([found.interval.low, found.interval.high, found.p, found.p_holm]).all()
