"""Adds the version of the rules of the shop to the answers."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """The column; earlier answers name no rules, because none could change them."""
    op.add_column("answers", sa.Column("rules", sa.String, nullable=False, server_default=""))


def downgrade() -> None:
    """Removes the column."""
    op.drop_column("answers", "rules")
