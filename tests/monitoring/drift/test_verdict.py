"""The verdict: limits, floors, and the rate of alarms without a change."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom
from scipy.stats import t as student

from monitoring.drift.changes import GAP, Change, changes
from monitoring.drift.columns import ACTIVITY, EncodedLog
from monitoring.drift.verdict import (
    MEAN_FLOOR,
    MIN_PAST,
    SHARE_FLOOR,
    VOLUME_FLOOR,
    deviations,
    floor,
    prediction_limit,
    usual_effect,
)
from monitoring.drift.windows import WEEK, aligned_windows


def change(effects: list[float], error: float = 0.0) -> Change:
    values = np.array(effects, float)
    return Change(values, values, values, np.full(values.size, error))


def history(effects: list[float], newest: list[float], name: str = "rating", error: float = 0.0) -> list[dict]:
    """Past changes of one value, then GAP windows with a large one, then the newest."""
    past = [{name: change([effect] * len(newest))} for effect in [*effects, *[9.0] * GAP]]
    return [*past, {name: change(newest, error)}]


PAST = [-0.1, 0.1] * 5


def test_a_column_drifts_beyond_the_prediction_limit() -> None:
    spread, limit = float(np.std(PAST, ddof=1)), student.ppf(1 - 0.02 / 2 / 2, 9) * np.sqrt(1.1)
    (found,) = deviations(history(PAST, [0.0, 0.5]), 0.02).values()
    assert (found.value, found.drifted) == (1, True)
    assert found.score == pytest.approx(0.5 / spread)
    assert found.limit == pytest.approx(limit)
    for effect, drifts in (
        (limit * spread * 1.01, True),
        (limit * spread * 0.99, False),
        (-limit * spread * 1.01, True),
    ):
        assert deviations(history(PAST, [0.0, effect]), 0.02)["rating"].drifted == drifts


def test_the_alarm_rate_is_divided_by_columns_and_values() -> None:
    one = history(PAST, [0.5])
    two = [each | {"region": each["rating"]} for each in one]
    factor = np.sqrt(1.1)
    assert deviations(one, 0.04)["rating"].limit == pytest.approx(student.ppf(0.98, 9) * factor)
    assert deviations(two, 0.04)["rating"].limit == pytest.approx(student.ppf(0.99, 9) * factor)
    assert deviations(one)["rating"].limit == pytest.approx(student.ppf(1 - 0.0125 / 2, 9) * factor)  # 1.25 %


def test_the_sampling_error_counts_if_it_is_larger_than_past_changes() -> None:
    assert deviations(history(PAST, [0.5], error=0.05))["rating"].score == pytest.approx(0.5 / np.std(PAST, ddof=1))
    assert deviations(history(PAST, [0.5], error=0.25))["rating"].score == pytest.approx(2.0)


def test_a_change_that_is_usual_or_small_is_no_drift() -> None:
    quiet = [-1e-4, 1e-4] * 5
    for name, least in (("rating", MEAN_FLOOR), ("category", SHARE_FLOOR), (ACTIVITY, VOLUME_FLOOR)):
        assert floor(name, 2).tolist() == [least] * 2
        assert not deviations(history(quiet, [0.99 * least], name))[name].drifted
        assert deviations(history(quiet, [1.01 * least], name))[name].drifted
    assert deviations(history(quiet, [0.99 * MEAN_FLOOR]), floors=False)["rating"].drifted
    growing = [0.3 + noise for noise in quiet]  # every window is larger than its reference
    assert not deviations(history(growing, [0.3 + MEAN_FLOOR / 2]))["rating"].drifted
    assert not deviations(history(growing, [0.001]))["rating"].drifted  # nor if it is as its reference for once


def test_the_value_that_matters_is_reported() -> None:
    """The first value has the higher score, but its change is small."""
    past = [{"category": change([effect / 1000, effect])} for effect in [*PAST, 0.0, 0.0]]
    found = deviations([*past, {"category": change([SHARE_FLOOR / 2, 0.6])}])["category"]
    assert (found.value, found.drifted) == (1, True)
    found = deviations([*past, {"category": change([SHARE_FLOOR / 2, SHARE_FLOOR / 4])}])["category"]
    assert (found.value, found.drifted) == (0, False)


def test_a_past_drift_does_not_hide_the_next_one() -> None:
    """Nine in the gap and one of nine before it: the spread stays that of the other windows."""
    usual, spread = usual_effect(np.array([[*PAST, 9.0]]).T)
    assert abs(usual[0]) < 0.1
    assert spread[0] < 0.35  # 2.7 without the limit of three deviations
    assert deviations(history([*PAST, 9.0], [1.5]))["rating"].drifted


def test_a_change_is_measured_from_the_mean_of_past_changes() -> None:
    past = [0.2, 0.4] * 5 + [0.3]
    spread = float(np.std(past, ddof=1))
    assert deviations(history(past, [0.8]))["rating"].score == pytest.approx(0.5 / spread)
    assert deviations(history(past, [-0.2]))["rating"].score == pytest.approx(0.5 / spread)
    # a large change is moved to three median deviations (of 0.1, as standard deviations) from the median
    usual, clipped = usual_effect(np.array([[*past, 9.0]]).T)
    moved = [*past, np.median([*past, 9.0]) + 3 * 0.1 / 0.6745]
    assert (usual[0], clipped[0]) == (pytest.approx(np.mean(moved)), pytest.approx(np.std(moved, ddof=1)))


def test_too_few_past_changes_are_not_judged() -> None:
    assert len(deviations(history(PAST[:MIN_PAST], [0.5]))) == 1
    assert deviations(history(PAST[: MIN_PAST - 1], [0.5])) == {}


def test_the_prediction_limit_is_exceeded_at_the_given_rate() -> None:
    draws = np.random.default_rng(0).normal(size=(4000, 9))
    past, following = draws[:, :-1], draws[:, -1]
    exceeded = following > past.mean(axis=1) + past.std(axis=1, ddof=1) * prediction_limit(8, 0.05)
    assert exceeded.mean() == pytest.approx(0.05, abs=0.012)


@pytest.fixture(scope="module")
def still_histories(still_log: Callable[..., EncodedLog]) -> list[list[dict[str, Change]]]:
    """The changes of each window of ten logs without a change."""
    found = []
    for seed in range(10):
        log = still_log(np.random.default_rng(seed), n_windows=35)
        windows = aligned_windows(log.seconds, WEEK)
        found.append([dict(changes(log, windows, index)) for index in range(len(windows))])
    return found


def drifted(histories: list[list[dict[str, Change]]], **options: float) -> list[set[str]]:
    """The columns that drift in the last twelve windows of each log; there are no floors."""
    judged = [
        deviations(past[:end], floors=False, **options)
        for past in histories
        for end in range(len(past) - 11, len(past) + 1)
    ]
    assert {len(columns) for columns in judged} == {10}
    return [{name for name, found in columns.items() if found.drifted} for columns in judged]


def test_the_alarm_rate_holds_without_a_change(still_histories) -> None:
    """Over all columns together."""
    found = drifted(still_histories)
    assert sum(map(bool, found)) <= binom.ppf(0.999, len(found), 0.01)


def test_each_column_has_its_share_of_the_alarm_rate(still_histories) -> None:
    """At a rate of 1, each of the ten columns may drift in a tenth of the windows."""
    found = drifted(still_histories, alarm_rate=1.0)
    most = binom.ppf(0.9999, len(found), 0.1)
    counts = {name: sum(name in each for each in found) for name in ("category", "region", "rating", "log_unit_price")}
    assert all(1 <= n <= most for n in counts.values()), counts
