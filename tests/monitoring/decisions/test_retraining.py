"""A lasting drift starts one training, not many; a failed one is tried again, but not for ever."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from monitoring.decisions.retraining import (
    FIRST_WAIT,
    FOLLOW_UPS,
    MAX_ATTEMPTS,
    Decision,
    PastRun,
    Signs,
    cause_to_retrain,
    decide,
    lasting,
    retrain_key,
    unknown_drift,
)

END = datetime(2026, 3, 1, tzinfo=UTC)
NOW = END + timedelta(hours=1)
DAY, WEEK = timedelta(days=1), timedelta(days=7)
KEY = "drift:2026-03-01T00:00:00Z:v7"
SIGNS = Signs(END, "v7", [["log_unit_price"], [], ["log_unit_price"]], summary="prices moved")
QUIET = Signs(END, "v7", [[], [], []])


def decided(signs: Signs, *runs: PastRun, now: datetime = NOW) -> Decision:
    return decide(signs, runs, DAY, now)


def test_retrain_key_is_stable() -> None:
    assert retrain_key("drift", END, "v7") == KEY
    assert retrain_key("drift", END.astimezone(timezone(timedelta(hours=5))), "v7") == KEY
    others = [("quality", END, "v7"), ("drift", NOW, "v7"), ("drift", END, "v8")]
    assert len({KEY, *(retrain_key(*other) for other in others)}) == 4


@pytest.mark.parametrize(
    ("changes", "cause", "reason"),
    [
        ({}, None, "no drift, no fall of the quality"),
        ({"recent": [[], [], ["category"]]}, None, "category drifted in the newest window only; a second window"),
        ({"recent": [["category"], [], ["rating"]]}, None, "rating drifted in the newest window only"),
        ({"recent": [["category"], ["category", "rating"], []]}, "drift", "category drifted in 2 or more"),
        ({"recent": [[], [], ["category"]], "quality": "it fell"}, "drift", "and the quality fell: it fell"),
        ({"quality": "it fell"}, "quality", "it fell"),
        ({"age": 31 * DAY, "max_age": 30 * DAY}, "age", "31 days newer than the model's; allowed: 30"),
        ({"age": 30 * DAY, "max_age": 30 * DAY}, None, "no drift"),
        ({"age": 31 * DAY}, None, "no drift"),
    ],
)
def test_the_cause_of_a_retraining(changes: dict[str, object], cause: str | None, reason: str) -> None:
    found, why = cause_to_retrain(replace(QUIET, **changes))  # type: ignore[arg-type]
    assert found == cause
    assert reason in why
    decision = decided(replace(QUIET, **changes))  # type: ignore[arg-type]
    assert (decision.retrain, decision.reason) == (cause is not None, why)


def test_a_column_lasts_if_it_drifted_in_two_of_three_windows() -> None:
    assert lasting([["a"], ["b"], ["a", "b"]]) == ("a", "b")
    assert lasting([["a"], [], ["b"]]) == lasting([]) == ()
    assert lasting([["a", "a"], []]) == ()


def test_a_drift_that_the_champion_was_trained_on_is_no_cause_again() -> None:
    recent = [["category"], ["category"], ["category", "rating"]]
    assert unknown_drift(recent, None) == [("category",), ("category",), ("category", "rating")]
    assert unknown_drift(recent, 2) == [(), ("rating",)]
    assert unknown_drift(recent, 0) == []
    assert unknown_drift(recent, 9) == unknown_drift(recent, None)
    assert unknown_drift([], 2) == []
    learned = replace(SIGNS, recent=recent, n_new=2)
    assert cause_to_retrain(replace(learned, n_new=None))[0] == "drift"
    assert cause_to_retrain(learned) == (
        *(None, "rating drifted in the newest window only; a second window has to confirm it"),
    )
    again = replace(learned, recent=[["category"], ["category", "rating"], ["category", "rating"]])
    assert cause_to_retrain(again)[0] == "drift"


def test_the_first_retraining_has_the_key_of_its_window() -> None:
    decision = decided(SIGNS)
    assert (decision.retrain, decision.cause, decision.key) == (True, "drift", KEY)
    assert "prices moved" in decision.reason


def test_no_retraining_on_a_broken_feed_whatever_else_was_found() -> None:
    broken = replace(SIGNS, feed_problems="unit_price has a value in 0% of the newest events", quality="it fell")
    decision = decided(broken)
    assert not decision.retrain
    assert decision.reason == (
        "no retraining on a broken feed; repair the source first: unit_price has a value in 0% of the newest events"
    )


def test_no_retraining_on_known_data_or_without_a_window() -> None:
    assert decided(replace(SIGNS, is_known=True)).reason == "v7 is trained on this data already"
    assert not decided(replace(SIGNS, is_known=True)).retrain
    nothing = decided(replace(SIGNS, window_end=None, summary="not tested: 3 events"))
    assert (nothing.retrain, nothing.reason) == (False, "not tested: 3 events")


def test_no_second_retraining_for_one_key() -> None:
    decision = decided(SIGNS, PastRun(KEY, NOW), now=NOW + 30 * DAY)
    assert (decision.retrain, decision.reason) == (False, f"already requested: {KEY}")


def test_a_new_reference_waits_for_the_cool_down() -> None:
    runs = [PastRun("drift:2026-03-01T00:00:00Z:v6", NOW), PastRun("older", NOW - 9 * DAY)]
    soon = decided(SIGNS, *runs, now=NOW + DAY / 2)
    assert not soon.retrain
    assert soon.reason == f"cool-down until 2026-03-02 01:00: the last retraining {runs[0].key} was started"
    assert decided(SIGNS, *runs, now=NOW + DAY).retrain
    assert " failed" in decided(SIGNS, PastRun("drift:other", NOW, failed=True)).reason


def test_a_failed_training_is_tried_again_with_longer_waits_and_then_no_more() -> None:
    runs: list[PastRun] = []
    for attempt in range(1, MAX_ATTEMPTS + 1):
        now = runs[-1].started + FIRST_WAIT * 2 ** (attempt - 2) if runs else NOW
        if runs:
            early = decided(SIGNS, *runs, now=now - timedelta(seconds=1))
            assert (early.retrain, "is tried again at" in early.reason) == (False, True)
        decision = decided(SIGNS, *runs, now=now)
        assert decision.retrain
        assert decision.key == (KEY if attempt == 1 else f"{KEY}/{attempt}")
        runs.append(PastRun(decision.key, now, failed=True))
    last = decided(SIGNS, *runs, now=NOW + 9 * DAY)
    assert (last.retrain, last.reason) == (False, f"{KEY} failed {MAX_ATTEMPTS} times and is not tried again")
    runs[-1] = replace(runs[-1], failed=False)
    assert "already requested" in decided(SIGNS, *runs, now=NOW + 9 * DAY).reason


def test_lasting_drift_starts_one_run_per_cool_down() -> None:
    """Drift lasts every hour of a month, and each training makes a new reference."""
    runs: list[PastRun] = []
    for hour in range(30 * 24):
        now = NOW + timedelta(hours=hour)
        signs = replace(SIGNS, window_end=now, reference_version=f"v{len(runs)}")
        decision = decide(signs, runs, 7 * DAY, now)
        if decision.retrain:
            runs.append(PastRun(decision.key, now))
    assert len(runs) == 5


@pytest.mark.parametrize("cause", ["drift", "quality"])
def test_a_retraining_for_a_change_is_followed_by_two_more(cause: str) -> None:
    """Each day the decision is made on the data of the day."""
    runs, days = [PastRun(retrain_key(cause, END, "v7"), END)], []
    for day in range(60):
        now = END + day * DAY
        decision = decided(replace(QUIET, window_end=now, reference_version=f"v{day}", window=WEEK), *runs, now=now)
        if decision.retrain:
            assert decision.cause == "follow-up"
            assert f"{day} days more" in decision.reason
            days.append(day)
            runs.append(PastRun(decision.key, now))
    assert days == [7 * n for n in FOLLOW_UPS]


def test_only_a_change_is_followed_and_a_new_change_begins_anew() -> None:
    signs = replace(QUIET, window_end=END + 60 * DAY, reference_version="v9", window=WEEK)
    late = END + 61 * DAY
    aged, failed = PastRun(retrain_key("age", END, "v7"), END), PastRun(KEY, END, failed=True)
    assert not decided(signs, now=late).retrain
    assert not decided(signs, aged, failed, now=late).retrain
    assert not decided(replace(signs, window=None), PastRun(KEY, END), now=late).retrain
    followed = [PastRun(retrain_key("follow-up", END + n * WEEK, "v8"), END + n * WEEK) for n in FOLLOW_UPS]
    assert not decided(signs, PastRun(KEY, END), *followed, now=late).retrain
    again = PastRun(retrain_key("quality", END + 50 * DAY, "v8"), END + 50 * DAY)
    assert decided(signs, PastRun(KEY, END), *followed, again, now=late).cause == "follow-up"
    unfinished = [PastRun(one.key, one.started, failed=True) for one in followed]
    assert decided(signs, PastRun(KEY, END), *unfinished, now=late).retrain
