"""A shop that asks for lists and sends no events any more is found; one that never sent any is not silent."""

from collections.abc import Callable

import pytest

from monitoring.online.reader import OnlineReader
from monitoring.online.silence import HOURS, MIN_LISTS, silence
from serving.feedback.events import StoredEvent
from serving.feedback.store import FeedbackStore
from serving.feedback.stored_answer import StoredAnswer

HOUR = 3_600_000_000
START = 20_000 * 24 * HOUR


@pytest.mark.parametrize(
    ("n_before", "n_after", "hours", "is_silent"),
    [
        (5, MIN_LISTS, HOURS, True),
        (5, MIN_LISTS - 1, HOURS, False),  # too few lists to expect an event
        (5, MIN_LISTS, HOURS - 1, False),
        (0, MIN_LISTS, HOURS, False),  # no event at all: the shop does not send them
    ],
)
def test_lists_without_an_event_for_a_day_and_a_half(
    url: str,
    answer: Callable[..., StoredAnswer],
    event: Callable[..., StoredEvent],
    n_before: int,
    n_after: int,
    hours: int,
    is_silent: bool,
) -> None:
    store = FeedbackStore(url, "toy")
    store.append([event(f"e{n}", "click", "u", "a", -n) for n in range(n_before)])  # the newest one at START
    store.append_answers([answer(f"b{n}", "u", -n - 0.5, "ab") for n in range(50)])
    store.append_answers([answer(f"a{n}", "u", 1 + n / n_after, "ab") for n in range(n_after)])
    store.close()
    found = silence(OnlineReader(url, "toy"), START + hours * HOUR)
    assert bool(found) == is_silent
    if is_silent:
        assert found == f"no event has come since 2024-10-04 00:00, and {n_after} lists were served after it"


def test_a_store_that_does_not_exist_is_not_silent(url: str) -> None:
    assert silence(OnlineReader(url, "toy"), START) == ""
