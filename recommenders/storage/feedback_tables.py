"""The tables of the feedback store: which lists were served, what users did with them, in which order it arrived.

The service writes them (serving.feedback); others read them without it. `event_id` is unique within a data set,
so an event that is sent twice is stored once. `sequence` rises with every stored event: a reader continues after the
last one it has read. `request_id` of an event names the answer that showed the item.
"""

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

EVENTS = ("impression", "click", "cart", "purchase", "rating")
TRAINABLE = EVENTS[1:]  # kinds that models can be fitted on; an impression is the service's choice, not the user's

metadata = MetaData()

events = Table(
    "events",
    metadata,
    # SQLite counts up only an INTEGER primary key
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("dataset", String, nullable=False),
    Column("event_id", String, nullable=False),  # chosen by the sender
    Column("event", String, nullable=False),  # one of EVENTS
    Column("user_id", String, nullable=False),
    Column("item_id", String, nullable=False),
    Column("timestamp", BigInteger, nullable=False),  # when it happened: microseconds since 1970, UTC
    Column("received_at", BigInteger, nullable=False),  # when it arrived, in the same unit
    Column("request_id", String),  # of the answer that showed the item
    Column("order_id", String),
    Column("quantity", Float),  # units bought
    Column("unit_price", Float),
    Column("rating", Float),  # stars given
    UniqueConstraint("dataset", "event_id"),
    Index("events_in_order", "dataset", "sequence"),
    Index("events_by_request", "request_id"),
    sqlite_autoincrement=True,
)

answers = Table(
    "answers",
    metadata,
    Column("dataset", String, primary_key=True),
    Column("request_id", String, primary_key=True),
    Column("answered_at", BigInteger, nullable=False),  # microseconds since 1970, UTC
    Column("user_id", String, nullable=False),
    Column("scene", String, nullable=False),
    Column("strategy", String, nullable=False),
    Column("model", String, nullable=False),
    Column("version", Integer, nullable=False),  # of the model
    Column("request", Text, nullable=False),  # the body as it was sent
    Column("recent", Text, nullable=False),  # JSON: the item ids of the user's newest events that the list considers
    Column("items", Text, nullable=False),  # JSON: the items of the answer, best first
    Column("catalogue", String, nullable=False, server_default=""),  # version of the served catalogue; "": none
    Column("rules", String, nullable=False, server_default=""),  # version of the rules of the shop; "": none
    Column("since", BigInteger),  # of an erased user: the time of the erasure that the worker knew of
    Index("answers_by_time", "dataset", "answered_at"),
    Index("answers_by_user", "dataset", "user_id"),
)

erased_users = Table(  # see recommenders.storage.erased_users
    "erased_users",
    metadata,
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("dataset", String, nullable=False),
    Column("user_hash", String, nullable=False),
    Column("erased_at", BigInteger, nullable=False),  # microseconds since 1970, UTC
    Column("last_event", BigInteger, nullable=False),  # sequence of the newest event then
    UniqueConstraint("dataset", "user_hash"),
    sqlite_autoincrement=True,
)

erased_events = Table(
    "erased_events",
    metadata,
    Column("dataset", String, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),  # that the deleted event had
    Column("event_hash", String, nullable=False),
    Index("erased_events_by_hash", "dataset", "event_hash"),
)
