"""A drift that lasts starts one training, not a storm."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from monitoring.retraining import Facts, PastRun, retrain_key, should_retrain

END = datetime(2026, 3, 1, tzinfo=UTC)
NOW = END + timedelta(hours=1)
DAY = timedelta(days=1)
FACTS = Facts(True, "drift", END, "7", "prices moved")


def test_the_key_is_stable():
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


def test_nothing_fired():
    decision = should_retrain(replace(FACTS, fired=False), [], DAY, NOW)
    assert (decision.retrain, decision.reason) == (False, "no drift")


def test_the_first_time():
    decision = should_retrain(FACTS, [], DAY, NOW)
    assert (decision.retrain, decision.reason) == (True, "prices moved")
    assert decision.key == retrain_key("drift", END, "7")


def test_not_on_a_broken_feed():
    decision = should_retrain(replace(FACTS, broken="unit_price has a value in 0% of the newest events"), [], DAY, NOW)
    assert not decision.retrain
    assert decision.reason == (
        "no retraining on a broken feed; mend the source first: unit_price has a value in 0% of the newest events"
    )


def test_never_twice_for_one_reason():
    runs = [PastRun(retrain_key("drift", END, "7"), NOW)]
    decision = should_retrain(FACTS, runs, DAY, NOW + 30 * DAY)
    assert not decision.retrain
    assert decision.reason.startswith("already asked for: drift:")


def test_a_new_reference_waits_for_the_cool_down():
    runs = [PastRun(retrain_key("drift", END, "6"), NOW), PastRun("older", NOW - 9 * DAY)]
    soon = should_retrain(FACTS, runs, DAY, NOW + DAY / 2)
    assert not soon.retrain
    assert soon.reason == f"cooling down until 2026-03-02 01:00: {runs[0].key} was started before"
    assert should_retrain(FACTS, runs, DAY, NOW + DAY).retrain


def test_a_failed_run_counts():
    runs = [PastRun("drift:other", NOW, failed=True)]
    assert "failed before" in should_retrain(FACTS, runs, DAY, NOW).reason


def test_a_storm_is_one_run_a_cool_down():
    """Drift fires at every tick of a month, and each training makes a new reference."""
    runs: list[PastRun] = []
    for hour in range(30 * 24):
        now = NOW + timedelta(hours=hour)
        decision = should_retrain(replace(FACTS, window_end=now, reference_version=str(len(runs))), runs, 7 * DAY, now)
        if decision.retrain:
            runs.append(PastRun(decision.key, now))
    assert len(runs) == 5
