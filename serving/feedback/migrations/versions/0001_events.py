"""Creates the table of events."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """The table, an event id once for each data set, and the two ways it is searched."""
    op.create_table(
        "events",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("dataset", sa.String, nullable=False),
        sa.Column("event_id", sa.String, nullable=False),
        sa.Column("event", sa.String, nullable=False),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("item_id", sa.String, nullable=False),
        sa.Column("timestamp", sa.BigInteger, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("request_id", sa.String),
        sa.Column("order_id", sa.String),
        sa.Column("quantity", sa.Float),
        sa.Column("unit_price", sa.Float),
        sa.Column("rating", sa.Float),
        sa.UniqueConstraint("dataset", "event_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("events_in_order", "events", ["dataset", "sequence"])
    op.create_index("events_by_request", "events", ["request_id"])


def downgrade() -> None:
    """Removes the table with all events."""
    op.drop_table("events")
