"""Parses and validates the body of POST /events."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StrictStr

from recommenders import clock
from serving.feedback.events import StoredEvent
from serving.web import validation
from serving.web.predict_request import ID, MAX_ID_LENGTH, NumberId, as_text

MAX_EVENTS = 1000  # of one request
MAX_EVENT_ID = 128  # characters
AHEAD = timedelta(minutes=5)  # by which a sender's clock may be ahead
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

ALLOWED = {
    "events": f"a list of 1 to {MAX_EVENTS} events",
    "events[]": "an object with event_id, event, user_id, item_id",
    "event_id": f"a string of 1 to {MAX_EVENT_ID} characters, which no other event has",
    "event": "impression, click, cart, purchase or rating",
    "user_id": ID,
    "item_id": ID,
    "timestamp": "a time with its zone, as 2026-11-30T08:15:00Z; from 1970 on, at most five minutes in the future",
    "request_id": "a string of 1 to 64 characters",
    "order_id": f"a string of 1 to {MAX_ID_LENGTH} characters",
    "quantity": "a number above 0",
    "unit_price": "a number of 0 or more",
    "rating": "a number",
}


def _with_a_clock(value: object) -> object:
    """A text with hours and minutes. The digits "1796025600" are none: pydantic guesses seconds or milliseconds."""
    if not isinstance(value, str) or ":" not in value:
        raise ValueError("no date with a time of day")
    return value


def _possible(time: datetime) -> datetime:
    if not EPOCH <= time <= clock.now() + AHEAD:
        raise ValueError("before 1970, or in the future")
    return time


NO_NUL = r"^[^\x00]*$"  # PostgreSQL stores no character NUL
Text = Annotated[StrictStr, Field(min_length=1, max_length=MAX_ID_LENGTH, pattern=NO_NUL)]
Time = Annotated[AwareDatetime, BeforeValidator(_with_a_clock), AfterValidator(_possible)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class FeedbackEvent(BaseModel):
    """What a user did with an item."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    event_id: Annotated[Text, Field(max_length=MAX_EVENT_ID)] = Field(
        description="Chosen by the sender. An event whose id is stored already is not stored again."
    )
    event: Literal["impression", "click", "cart", "purchase", "rating"]
    user_id: Text | NumberId
    item_id: Text | NumberId
    timestamp: Time | None = Field(default=None, description="When it happened; default: when it arrived.")
    request_id: Annotated[Text, Field(max_length=64)] | None = Field(
        default=None, description="Of the answer of POST /predict that showed the item."
    )
    order_id: Text | None = None
    quantity: Annotated[Number, Field(gt=0)] | None = None
    unit_price: Annotated[Number, Field(ge=0)] | None = None
    rating: Number | None = None

    def stored(self, now: int) -> StoredEvent:
        """The row of the event, which arrived at `now` (microseconds since 1970, UTC)."""
        happened = now if self.timestamp is None else (self.timestamp - EPOCH) // timedelta(microseconds=1)
        return StoredEvent(
            *(self.event_id, self.event, as_text(self.user_id), as_text(self.item_id), happened, now),
            *(self.request_id, self.order_id, self.quantity, self.unit_price, self.rating),
        )


class EventsRequest(BaseModel):
    """The body of POST /events: all events are stored, or none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    events: Annotated[list[FeedbackEvent], Field(min_length=1, max_length=MAX_EVENTS)]


def parse_events(body: bytes, content_type: str, now: int) -> list[StoredEvent]:
    """The rows of the events in a body that arrived at `now`. Raises InvalidRequestError as validation.parse() does."""
    request = validation.parse(EventsRequest, body, content_type, ALLOWED)
    return [event.stored(now) for event in request.events]
