"""Adds the version of the served catalogue to the answers."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """The column; earlier answers name no catalogue, because none could change them."""
    op.add_column("answers", sa.Column("catalogue", sa.String, nullable=False, server_default=""))


def downgrade() -> None:
    """Removes the column."""
    op.drop_column("answers", "catalogue")
