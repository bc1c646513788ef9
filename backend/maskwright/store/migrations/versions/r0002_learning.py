"""Tables of the learning loop: rounds, served versions, notes and priorities of projects, and workers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "served_versions",
        sa.Column("id", _ID, nullable=False),
        sa.Column("project_id", _ID, nullable=False),
        sa.Column("base", sa.String(length=1024), nullable=False),
        sa.Column("adapter", sa.String(length=32), nullable=True),
        sa.Column("classes", sa.String(length=32), nullable=True),
        sa.Column("round_number", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("parent_id", _ID, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"]),
        sa.ForeignKeyConstraint(["parent_id"], ["served_versions.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("served_by_base", "served_versions", ["project_id", "base", "id"], unique=False)
    op.create_table(
        "rounds",
        sa.Column("id", _ID, nullable=False),
        sa.Column("project_id", _ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("trigger", sa.String(length=64), nullable=False),
        sa.Column("base", sa.String(length=1024), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("snapshot", sa.String(length=128), nullable=True),
        sa.Column("served_before", _ID, nullable=True),
        sa.Column("adapter", sa.String(length=32), nullable=True),
        sa.Column("classes", sa.String(length=32), nullable=True),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("progress", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(length=255), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"]),
        sa.ForeignKeyConstraint(["served_before"], ["served_versions.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project_id", "number", name="one_round"),
    )
    op.create_index(
        "one_active_round",
        "rounds",
        ["project_id"],
        unique=True,
        sqlite_where=sa.text("finished_at IS NULL"),
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_table(
        "project_notes",
        sa.Column("project_id", _ID, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"]),
        sa.PrimaryKeyConstraint("project_id", "name"),
    )
    op.create_table(
        "priorities",
        sa.Column("project_id", _ID, nullable=False),
        sa.Column("task_number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("score", sa.Float(precision=53), nullable=True),
        sa.Column("signals", sa.Text(), nullable=False),
        sa.Column("feature", sa.LargeBinary(), nullable=True),
        sa.Column("effort", sa.Text(), nullable=True),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"]),
        sa.PrimaryKeyConstraint("project_id", "task_number"),
    )
    op.create_index("priorities_by_score", "priorities", ["project_id", "score", "task_number"], unique=False)
    op.create_table(
        "workers",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    """Drop them with all they hold."""
    for name in ("workers", "priorities", "project_notes", "rounds", "served_versions"):
        op.drop_table(name)
