"""The classes that were suggested of each task's image."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "suggestions",
        sa.Column("project_id", _ID, nullable=False),
        sa.Column("task_number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("support_version", sa.Text(), nullable=False),
        sa.Column("suggested", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"]),
        sa.PrimaryKeyConstraint("project_id", "task_number"),
    )


def downgrade() -> None:
    """Drop it with all it holds."""
    op.drop_table("suggestions")
