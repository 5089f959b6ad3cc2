"""Creates the table of answers."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """The table, and the ways it is searched besides its key."""
    op.create_table(
        "answers",
        sa.Column("dataset", sa.String, primary_key=True),
        sa.Column("request_id", sa.String, primary_key=True),
        sa.Column("answered_at", sa.BigInteger, nullable=False),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("scene", sa.String, nullable=False),
        sa.Column("strategy", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("recent", sa.Text, nullable=False),
        sa.Column("items", sa.Text, nullable=False),
    )
    op.create_index("answers_by_time", "answers", ["dataset", "answered_at"])
    op.create_index("answers_by_user", "answers", ["dataset", "user_id"])


def downgrade() -> None:
    """Removes the table with all answers."""
    op.drop_table("answers")
