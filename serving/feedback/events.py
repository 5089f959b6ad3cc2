"""An event of the feedback store, and why one could not be stored."""

from dataclasses import dataclass

from recommenders.errors import TradewindError


class FeedbackError(TradewindError):
    """The feedback store cannot be opened, read or written."""


class OverloadedError(Exception):
    """More events wait to be stored than may wait."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A row of the table of events, without its sequence and its data set."""

    event_id: str
    event: str
    user_id: str
    item_id: str
    timestamp: int
    received_at: int
    request_id: str | None = None
    order_id: str | None = None
    quantity: float | None = None
    unit_price: float | None = None
    rating: float | None = None
