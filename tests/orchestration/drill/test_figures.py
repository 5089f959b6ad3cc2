"""The figures of a drill, on days that are written by hand; and the page that shows them."""

from dataclasses import replace
from typing import Any

import pytest

from orchestration.drill.figures import LOSS_SHARE, NDCG_SHARE, figures, is_wrong
from orchestration.drill.page import happened, page
from orchestration.drill.play import Day, Record
from orchestration.drill.scenarios import QUIET_DAYS

N = 10  # visits a day


def day(number: int, version: int = 1, served: float = 0.8, **more: Any) -> Day:
    """A day on which the model that is never retrained has .5 and the oracle's retraining .8 of the oracle's NDCG."""
    shares = {"served": served, "oracle": 1.0, "never retrained": 0.5, "retrained": 0.8}
    values = {
        name: {"ndcg": N * share, "expected": 3.0 * N * share, "bought": 3 * N, "revenue": 100.0 * share * N}
        for name, share in shares.items()
    }
    ndcg = {name: [share] * N for name, share in shares.items()}
    known = {"drifted": [], "drift": "", "feed": "", "decay": "", "release": ""}
    return Day(f"2025-03-{number:02}", version, N, values, ndcg, **{**known, **more})


def run(cause: str) -> dict[str, Any]:
    return {"sensor": "monitoring", "cause": cause, "succeeded": True, "reason": ""}


def record(scenario: str, after: list[Day]) -> Record:
    """Quiet days, then those."""
    return Record(scenario, 1, QUIET_DAYS, [*(day(number) for number in range(QUIET_DAYS)), *after])


def test_a_change_that_is_found_retrained_and_recovered_from() -> None:
    """Alarm on the 3rd day, retraining on the 10th, so the new model serves from the 11th on."""
    after = [day(n, version=1 + (n >= 10), served=0.5 if n <= 10 else 0.79) for n in range(1, 29)]
    after[2] = replace(after[2], drifted=["category"])
    after[9] = replace(after[9], runs=[run("drift")], drifted=["category"])
    found = figures(record("demand_shift", after))
    assert (found.detect_days, found.detected_by, found.retrain_days, found.recover_days) == (3, "drift", 10, 17)
    second_week = [0.5] + 6 * [0.79]  # days 10 to 16
    assert found.ndcg_share == pytest.approx(sum(second_week) / 7 / 0.8)
    assert found.regained == pytest.approx((sum(second_week) / 7 - 0.5) / 0.3)
    assert (found.false_alarms, found.needless_retrainings, found.promotions, found.wrong_promotions) == (0, 0, 1, 0)
    mean = (10 * 0.5 + 18 * 0.79) / 28
    assert found.regret == pytest.approx(3 * (1 - mean))
    assert found.gained == pytest.approx(3 * (mean - 0.5))


@pytest.mark.parametrize(("served", "recovers"), [(0.8 * NDCG_SHARE, True), (0.74, False)])
def test_a_model_that_stays_behind_has_not_recovered(served: float, recovers: bool) -> None:
    assert LOSS_SHARE * 0.3 + 0.5 < 0.8 * NDCG_SHARE  # the first bound is the higher one here
    after = [
        day(n, version=1 + (n > 1), served=0.5 if n == 1 else served, runs=[run("drift")] * (n == 1))
        for n in range(1, 15)
    ]
    assert (figures(record("churn", after)).recover_days is not None) == recovers


def test_what_was_needless() -> None:
    quiet = [day(n, drifted=["category"] * (n in (3, 4, 9)), runs=[run("drift")] * (n == 4)) for n in range(1, 15)]
    found = figures(record("none", quiet))
    assert (found.evenings, found.false_alarms, found.needless_retrainings) == (28, 2, 1)  # an alarm of two days is one
    assert (found.detect_days, found.retrain_days) == (None, None)
    assert figures(record("broken_feed", quiet)).needless_retrainings == 1  # a fault asks for none
    assert figures(record("churn", quiet)).needless_retrainings == 0


def test_a_feed_that_heals_and_a_model_that_is_taken_back() -> None:
    broken = [day(n, feed="no unit_price" if 2 <= n <= 8 else "") for n in range(1, 15)]
    found = figures(record("broken_feed", broken))
    assert (found.detect_days, found.detected_by, found.heal_days) == (2, "feed", 9)
    forced = [day(n, version=2 if n < 9 else 1, release="worse" * (n == 9)) for n in range(1, 15)]
    found = figures(record("bad_model", forced))
    assert (found.rollback_days, found.detected_by, found.heal_days) == (9, "quality", None)


def test_a_promotion_is_wrong_if_the_lists_are_worse_for_the_same_visits() -> None:
    worse, better = [0.5, 0.6, 0.4, 0.52] * 10, [0.55, 0.66, 0.45, 0.56] * 10

    def after(served: list[float], before: list[float]) -> list[Day]:
        return [replace(day(1), ndcg={"served": served, "version before": before})]

    assert is_wrong(after(worse, better))
    assert not is_wrong(after(better, worse))
    assert not is_wrong(after(worse, worse))
    assert not is_wrong(after([0.1, 0.9] * 20, [0.9, 0.15] * 20))  # lower on average, but not significantly
    days = [day(1), *(replace(day(n, version=2), ndcg=after(worse, better)[0].ndcg) for n in range(2, 6))]
    assert figures(Record("none", 1, QUIET_DAYS, days)).wrong_promotions == 1


def test_the_page_shows_what_happened_and_loads_nothing() -> None:
    after = [day(n, version=1 + (n > 4), served=0.6) for n in range(1, 15)]
    alerts = [
        {"kind": kind, "severity": "warning", "title": "drift in <shop>"} for kind in ("alert", "reminder", "resolved")
    ]
    after[3] = replace(after[3], alerts=alerts, drifted=["category"], runs=[run("drift")])
    played = record("demand_shift", after)
    texts = [text for _, _, text in happened(played.days)]
    assert texts == ["alert: drift in <shop>", "alert: drift in <shop> (over)", "run for drift", "version 2 serves"]
    shown = page(played, figures(played))
    assert "days from the change to the first alarm</td><td>4<" in shown
    assert "drift in &lt;shop&gt;" in shown
    assert "http:" not in shown
