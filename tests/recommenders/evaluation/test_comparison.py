import numpy as np
import pytest

from recommenders.evaluation.comparison import mean_interval, paired_difference


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(200):
        found = mean_interval(rng.exponential(size=80), n_resamples=400, seed=seed)
        covered += found.low <= 1.0 <= found.high
    assert 0.88 <= covered / 200 <= 0.99  # 95 % nominal; skewed samples of 80 cover a little less


def test_nan_is_left_out_and_nothing_stays_nan() -> None:
    found = mean_interval(np.array([1.0, np.nan, 3.0]))
    assert found.value == 2.0
    assert np.isnan(mean_interval(np.array([np.nan])).value)
    assert np.isnan(mean_interval(np.array([0.5])).low)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).random(50)
    assert mean_interval(values, seed=3) == mean_interval(values, seed=3)
    assert mean_interval(values, seed=3) != mean_interval(values, seed=4)


def test_pairs_see_a_difference_that_users_would_hide() -> None:
    left = np.random.default_rng(0).random(300)
    found = paired_difference(left, left - 0.01)
    assert found.value == pytest.approx(0.01)
    assert found.low > 0
    with pytest.raises(ValueError, match="same users"):
        paired_difference(left, left[:5])
