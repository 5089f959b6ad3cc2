"""Validation of POST /events, and the rows that are stored."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from serving.feedback.events import StoredEvent
from serving.web.events_request import MAX_EVENTS, parse_events
from serving.web.validation import InvalidRequestError

NOW = 1_796_025_600_000_000
EVENT = {"event_id": "e1", "event": "purchase", "user_id": 17, "item_id": "SKU-9"}


def parsed(*events: Any) -> list[StoredEvent]:
    return parse_events(json.dumps({"events": events}).encode(), "application/json", NOW)


def test_ids_become_text_and_a_missing_time_is_that_of_arrival():
    full = EVENT | {
        "timestamp": "1970-01-01T01:00:00.000007+01:00",
        "request_id": "r",
        "order_id": "o",
        "quantity": 5,
        "unit_price": 0,
        "rating": -1.5,
    }
    assert parsed(EVENT, full) == [
        StoredEvent("e1", "purchase", "17", "SKU-9", NOW, NOW),
        StoredEvent("e1", "purchase", "17", "SKU-9", 7, NOW, "r", "o", 5.0, 0.0, -1.5),
    ]


def in_an_hour() -> str:
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()


@pytest.mark.parametrize(
    ("change", "field", "got"),
    [
        ({"event": "view"}, "event", "'view'"),
        ({"event_id": ""}, "event_id", "''"),
        ({"event_id": 7}, "event_id", "7"),
        ({"event_id": "x" * 129}, "event_id", "'xxx"),
        ({"event_id": "a\0"}, "event_id", "'a\\x00'"),
        ({"user_id": -1}, "user_id", "-1"),
        ({"user_id": "\0"}, "user_id", "'\\x00'"),
        ({"item_id": None}, "item_id", "null"),
        ({"timestamp": "2026-11-30T08:15:00"}, "timestamp", "'2026-11-30T08:15:00'"),
        ({"timestamp": 1_796_025_600}, "timestamp", "1796025600"),
        ({"timestamp": "1796025600"}, "timestamp", "'1796025600'"),
        ({"timestamp": "2026-11-30"}, "timestamp", "'2026-11-30'"),
        ({"timestamp": "1969-12-31T23:59:59Z"}, "timestamp", "'1969-12-31T"),
        ({"timestamp": in_an_hour()}, "timestamp", "'20"),
        ({"quantity": 0}, "quantity", "0"),
        ({"quantity": True}, "quantity", "true"),
        ({"unit_price": -0.01}, "unit_price", "-0.01"),
        ({"rating": "5"}, "rating", "'5'"),
        ({"colour": "red"}, "colour", "'red'"),
    ],
)
def test_a_wrong_field_is_named_with_the_number_of_its_event(change, field, got):
    with pytest.raises(InvalidRequestError) as error:
        parsed(EVENT, EVENT | change)
    assert error.value.status == 422
    (fault,) = error.value.details
    assert fault["field"] == f"events[1].{field}"
    assert fault["got"].startswith(got)
    assert fault["allowed"] in str(error.value)


def test_a_missing_field_and_wrong_lists():
    with pytest.raises(InvalidRequestError, match=r"events\[0\]\.item_id: got nothing; allowed: a string of 1 to 1024"):
        parsed({name: value for name, value in EVENT.items() if name != "item_id"})
    for events in ([], [EVENT] * (MAX_EVENTS + 1)):
        with pytest.raises(InvalidRequestError, match=f"events: got a list of {len(events)}; allowed: a list of 1 to"):
            parsed(*events)
    with pytest.raises(InvalidRequestError, match=r"events\[0\]: got 3; allowed: an object with event_id"):
        parsed(3)
    with pytest.raises(InvalidRequestError, match=r"event_id: got 'e1'; allowed: only the fields events"):
        parse_events(json.dumps(EVENT).encode(), "application/json", NOW)
