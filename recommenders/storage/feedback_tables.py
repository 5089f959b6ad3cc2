"""The tables of the feedback store: what users did with the lists, and in which order it arrived.

The service writes them (serving.feedback); others read them without it. `event_id` is unique within a data set,
so an event that is sent twice is stored once. `sequence` rises with every stored event: a reader continues after the
last one it has read.
"""

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table, UniqueConstraint

EVENTS = ("impression", "click", "cart", "purchase", "rating")

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
