"""A lasting drift starts one training, not many."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from monitoring.retraining import MonitoringResult, PastRun, lasting, retrain_key, should_retrain

END = datetime(2026, 3, 1, tzinfo=UTC)
NOW = END + timedelta(hours=1)
DAY = timedelta(days=1)
RESULT = MonitoringResult(True, "drift", END, "7", "prices moved")


def test_retrain_key_is_stable():
    key = retrain_key("drift", END, "7")
    assert key == "drift:2026-03-01T00:00:00Z:7"
    assert retrain_key("drift", END.astimezone(timezone(timedelta(hours=5))), "7") == key
    assert (
        len(
            {
                key,
                retrain_key("quality", END, "7"),
                retrain_key("drift", NOW, "7"),
                retrain_key("drift", END, "8"),
            }
        )
        == 4
    )


def test_no_retraining_without_drift():
    decision = should_retrain(replace(RESULT, fired=False), [], DAY, NOW)
    assert (decision.retrain, decision.reason) == (False, "no drift")


def test_first_retraining():
    decision = should_retrain(RESULT, [], DAY, NOW)
    assert (decision.retrain, decision.reason) == (True, "prices moved")
    assert decision.key == retrain_key("drift", END, "7")


def test_no_retraining_on_a_broken_feed():
    decision = should_retrain(
        replace(RESULT, feed_problems="unit_price has a value in 0% of the newest events"), [], DAY, NOW
    )
    assert not decision.retrain
    assert decision.reason == (
        "no retraining on a broken feed; repair the source first: unit_price has a value in 0% of the newest events"
    )


def test_no_second_retraining_for_one_key():
    runs = [PastRun(retrain_key("drift", END, "7"), NOW)]
    decision = should_retrain(RESULT, runs, DAY, NOW + 30 * DAY)
    assert not decision.retrain
    assert decision.reason.startswith("already requested: drift:")


def test_a_new_reference_waits_for_the_cool_down():
    runs = [PastRun(retrain_key("drift", END, "6"), NOW), PastRun("older", NOW - 9 * DAY)]
    soon = should_retrain(RESULT, runs, DAY, NOW + DAY / 2)
    assert not soon.retrain
    assert soon.reason == f"cool-down until 2026-03-02 01:00: the last retraining {runs[0].key} was started"
    assert should_retrain(RESULT, runs, DAY, NOW + DAY).retrain


def test_a_failed_run_starts_the_cool_down():
    runs = [PastRun("drift:other", NOW, failed=True)]
    assert " failed" in should_retrain(RESULT, runs, DAY, NOW).reason


def test_lasting_drift_starts_one_run_per_cool_down():
    """Drift fires every hour of a month, and each training makes a new reference."""
    runs: list[PastRun] = []
    for hour in range(30 * 24):
        now = NOW + timedelta(hours=hour)
        decision = should_retrain(replace(RESULT, window_end=now, reference_version=str(len(runs))), runs, 7 * DAY, now)
        if decision.retrain:
            runs.append(PastRun(decision.key, now))
    assert len(runs) == 5


def test_a_cause_lasts_if_it_is_found_in_two_of_three_windows() -> None:
    assert lasting([("category",), (), ("rating", "category")]) == ("category",)
    assert lasting([("category",), ("rating",), ("region",)]) == ()
    assert lasting([("rating", "rating"), (), ()]) == ()
    assert lasting([("a", "b"), ("b", "a"), ("b",)]) == ("b", "a")
    assert lasting([]) == ()
