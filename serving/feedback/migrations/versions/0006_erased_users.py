"""Creates the tables of erased users and of their deleted events, and adds the time of an erasure to the answers."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0004"


def upgrade() -> None:
    """The tables; earlier answers are of users who were not erased."""
    op.create_table(
        "erased_users",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("dataset", sa.String, nullable=False),
        sa.Column("user_hash", sa.String, nullable=False),
        sa.Column("erased_at", sa.BigInteger, nullable=False),
        sa.Column("last_event", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("dataset", "user_hash"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "erased_events",
        sa.Column("dataset", sa.String, primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("event_hash", sa.String, nullable=False),
    )
    op.create_index("erased_events_by_hash", "erased_events", ["dataset", "event_hash"])
    op.add_column("answers", sa.Column("since", sa.BigInteger))


def downgrade() -> None:
    """Removes the tables and the column: the champion uses the events of erased users again."""
    op.drop_column("answers", "since")
    op.drop_table("erased_events")
    op.drop_table("erased_users")
