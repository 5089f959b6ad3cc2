"""A champion is taken back only if its release is the one thing that explains worse lists."""

from dataclasses import replace

import pytest

from monitoring.decisions.rollback import Release, decide_rollback

WORSE = Release(8, 7, "the quality fell")


def test_a_worse_champion_is_taken_back() -> None:
    decision = decide_rollback(WORSE)
    assert (decision.roll_back, decision.reason) == (True, "version 7 serves again: the quality fell")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"worse": ""}, "no sign that version 8 is worse"),
        ({"pinned": True}, "version 8 is pinned, so a person decides: the quality fell"),
        ({"earlier": None}, "there is no version before 8: the quality fell"),
        ({"drifted": ["category", "rating"]}, "the market changed in the same window (category, rating)"),
    ],
)
def test_it_stays_if_anything_else_explains_it_or_a_person_decides(changes: dict[str, object], reason: str) -> None:
    decision = decide_rollback(replace(WORSE, **changes))  # type: ignore[arg-type]
    assert not decision.roll_back
    assert reason in decision.reason
