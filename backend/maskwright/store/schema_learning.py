"""Tables of the learning loop; ``schema`` tells of times and how tables change."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from maskwright.store.schema_base import Id, metadata

TABLES_SINCE = {
    "0002": ("served_versions", "rounds", "project_notes", "priorities", "workers"),
    "0003": ("suggestions",),
}
"""Tables that came with a later revision than the first: a backup of an earlier one has none of them."""

served_versions = Table(
    "served_versions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, ForeignKey("projects.id"), nullable=False),
    Column("base", String(1024), nullable=False),
    Column("adapter", String(32)),
    Column("classes", String(32)),
    Column("round_number", Integer),
    Column("reason", Text, nullable=False),
    Column("parent_id", Id, ForeignKey("served_versions.id")),  # what a rollback goes back to; NULL: the base alone
    Column("created_at", BigInteger, nullable=False),
    Index("served_by_base", "project_id", "base", "id"),
)

rounds = Table(
    "rounds",
    metadata,
    Column("id", Id, primary_key=True),
    Column("project_id", Id, ForeignKey("projects.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("state", String(32), nullable=False),
    Column("trigger", String(64), nullable=False),
    Column("base", String(1024), nullable=False),
    Column("config", Text, nullable=False),
    Column("snapshot", String(128)),
    Column("served_before", Id, ForeignKey("served_versions.id")),  # NULL: the base alone was served
    Column("adapter", String(32)),
    Column("classes", String(32)),
    Column("metrics", Text, nullable=False),
    Column("verdict", Text),
    Column("reason", Text, nullable=False),
    Column("progress", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("owner", String(255)),
    Column("lease_until", BigInteger, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),  # NULL as long as the round is active
    UniqueConstraint("project_id", "number", name="one_round"),
    Index(
        "one_active_round",
        "project_id",
        unique=True,
        sqlite_where=text("finished_at IS NULL"),
        postgresql_where=text("finished_at IS NULL"),
    ),
)

project_notes = Table(
    "project_notes",
    metadata,
    Column("project_id", Id, ForeignKey("projects.id"), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),  # JSON
    Column("updated_at", BigInteger, nullable=False),
)

priorities = Table(
    "priorities",
    metadata,
    Column("project_id", Id, ForeignKey("projects.id"), primary_key=True),
    Column("task_number", BigInteger, primary_key=True, autoincrement=False),
    Column("score", Float(53)),
    Column("signals", Text, nullable=False),  # JSON object of numbers
    Column("feature", LargeBinary),  # float32, little-endian
    Column("effort", Text),  # JSON object
    Column("model_version", Text, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("priorities_by_score", "project_id", "score", "task_number"),
)

suggestions = Table(
    "suggestions",
    metadata,
    Column("project_id", Id, ForeignKey("projects.id"), primary_key=True),
    Column("task_number", BigInteger, primary_key=True, autoincrement=False),
    Column("model_version", Text, nullable=False),
    Column("support_version", Text, nullable=False),  # of the models that measured the support
    Column("suggested", Text, nullable=False),  # JSON object: suggestions, problems
    Column("created_at", BigInteger, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("seen_at", BigInteger, nullable=False),
)
