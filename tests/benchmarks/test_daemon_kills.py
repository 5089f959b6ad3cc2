"""daemon_kills.py counts what each cause led to, and its drill has enough kills at points that exist."""

from collections import Counter
from dataclasses import replace

import daemon_kills
import pytest
from measuring.daemon.causes import Outcome
from measuring.daemon.killed_daemon import QUEUE_POINTS, REACTION_POINT, SENSOR_POINTS
from measuring.daemon.points import POINTS

NOT_ONCE = "causes of a retraining: one run, which ended"
ONCE = Outcome("new data", kills=2, wanted=1, runs=1, right=1, ended=1, alerts=1, lost=0, doubled=2, champion=True)
NO_RUN = Outcome("failed run", kills=1, wanted=0, runs=0, right=0, ended=0, alerts=1, lost=0, doubled=0, champion=True)


def missed(outcome: Outcome, n_points: int = 3, unsent: int = 0) -> list[str]:
    """The rows whose floor is missed if one of two causes led to this."""
    other = ONCE if outcome.wanted == NO_RUN.wanted else NO_RUN
    found = daemon_kills.rows([outcome, other], n_points, unsent)
    return [row["what"] for row in found if not row["floor_met"]]


def test_a_cause_that_led_to_one_run_meets_all_floors() -> None:
    assert missed(ONCE) == missed(NO_RUN) == []


@pytest.mark.parametrize(
    ("changes", "rows"),
    [
        (
            {"runs": 0, "right": 0, "ended": 0},
            {NOT_ONCE, "causes of a retraining: no run"},
        ),
        (
            {"runs": 2, "right": 2, "ended": 2},
            {NOT_ONCE, "causes with a run too many"},
        ),
        ({"right": 0}, {NOT_ONCE}),
        ({"ended": 0}, {NOT_ONCE}),
        ({"champion": False}, {"causes after which another version serves than should"}),
        ({"lost": 1}, {"alerts lost"}),
        ({"doubled": 3}, {"alerts that came twice, beyond one for each kill"}),
        ({"kills": 1, "doubled": 1}, {"daemons killed"}),
    ],
)
def test_each_fault_is_counted(changes: dict[str, int], rows: set[str]) -> None:
    assert set(missed(replace(ONCE, **changes))) == rows


def test_an_alert_that_waits_in_the_outbox_is_lost_and_a_run_without_a_cause_is_one_too_many() -> None:
    assert missed(ONCE, unsent=1) == ["alerts lost"]
    assert missed(replace(NO_RUN, runs=1, right=1, ended=1)) == ["causes with a run too many"]


def test_the_drill_has_fifty_kills_and_each_point_exists() -> None:
    points = [point for kills in (*daemon_kills.at_points(), *daemon_kills.at_queue()) for point in kills.points]
    assert len(points) >= 50
    assert set(Counter(points)) == {*POINTS, *SENSOR_POINTS, *QUEUE_POINTS, REACTION_POINT}
    for owner, name in POINTS.values():
        assert callable(getattr(owner, name))
