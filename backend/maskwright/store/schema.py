"""Tables of the corrections store, the same on SQLite and PostgreSQL; ``migrations`` creates and changes them.

Times are whole microseconds since 1970 in UTC (``times``): text times of one platform differ in width and would not
sort. Documents are zlib streams of the platform's JSON; ``digest`` is the SHA-256 of that JSON, ``nbytes`` its length.
A document that was erased is NULL and its row stays.
"""

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
)

from maskwright.store import schema_learning  # noqa: F401 - so that ``metadata`` holds all tables
from maskwright.store.schema_base import Id as _Id
from maskwright.store.schema_base import metadata as metadata

REVISION = "0003"
"""The migration that these tables are the result of."""

NEVER = -1
"""``deleted_at`` of what was never reported as deleted: any sighting is later."""

projects = Table(
    "projects",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("platform", String(64), nullable=False),
    Column("server", String(512), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("title", Text, nullable=False),
    Column("label_config", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("full_sync_needed_at", BigInteger),  # NULL: a full reading is not needed
    Column("full_sync_at", BigInteger),
    UniqueConstraint("platform", "server", "number", name="one_project"),
)

events = Table(
    "events",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("platform", String(64), nullable=False),
    Column("server", String(512), nullable=False),
    Column("action", String(64), nullable=False),
    Column("project", BigInteger),
    Column("annotations", Text, nullable=False),
    Column("tasks", Text, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("authenticated", Boolean, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("deliveries", Integer, nullable=False),
    UniqueConstraint("digest", name="one_event"),
    Index("events_by_trust", "authenticated", "id"),
    sqlite_autoincrement=True,  # an id must not come again: finishing an event names it by id
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("project_id", _Id, ForeignKey("projects.id"), nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("head_id", _Id),  # the version in force; no foreign key, for the two tables would need each other
    Column("seen_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger, nullable=False),
    Column("erased_at", BigInteger),  # NULL again when the platform gives the number to something new
    Column("erased_until", BigInteger),  # what was created later is not what was erased; never NULL again
    Column("erased_reason", Text),
    UniqueConstraint("project_id", "number", name="one_task"),
)

task_versions = Table(
    "task_versions",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("task_id", _Id, ForeignKey("tasks.id"), nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),  # by the last reading that showed this very version; 0: none did
    Column("digest", String(64), nullable=False),
    Column("nbytes", BigInteger, nullable=False),
    Column("document", LargeBinary),
    Column("stored_at", BigInteger, nullable=False),
    UniqueConstraint("task_id", "updated_at", "digest", name="one_task_version"),
)

annotation_rows = Table(
    "annotations",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("project_id", _Id, ForeignKey("projects.id"), nullable=False),
    Column("draft", Boolean, nullable=False),  # drafts are numbered apart from annotations
    Column("number", BigInteger, nullable=False),
    Column("task_number", BigInteger, nullable=False),
    Column("head_id", _Id),
    Column("seen_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger, nullable=False),
    Column("erased_at", BigInteger),
    Column("erased_until", BigInteger),
    Column("erased_reason", Text),
    UniqueConstraint("project_id", "draft", "number", name="one_annotation"),
    Index("annotations_by_task", "project_id", "task_number", "draft", "number"),
)

corrections = Table(
    "corrections",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("annotation_id", _Id, ForeignKey("annotations.id"), nullable=False),
    Column("task_number", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("person", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Column("lead_time", Float(53)),
    Column("proposal_number", BigInteger),
    Column("model_version", Text),
    Column("digest", String(64), nullable=False),
    Column("nbytes", BigInteger, nullable=False),
    Column("document", LargeBinary),
    Column("stored_at", BigInteger, nullable=False),
    # The platform may move an annotation to another task and change neither its time nor its document.
    UniqueConstraint("annotation_id", "updated_at", "digest", "task_number", name="one_correction"),
    Index("corrections_by_person", "person"),
    Index("corrections_by_task", "task_number"),
)

proposals = Table(
    "proposals",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("project_id", _Id, ForeignKey("projects.id"), nullable=False),
    Column("task_number", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("nbytes", BigInteger, nullable=False),
    Column("document", LargeBinary),
    Column("stored_at", BigInteger, nullable=False),
    UniqueConstraint("project_id", "task_number", "number", "updated_at", "digest", name="one_proposal"),
)

categories = Table(
    "categories",
    metadata,
    Column("project_id", _Id, ForeignKey("projects.id"), primary_key=True),
    Column("category_id", Integer, primary_key=True, autoincrement=False),
    Column("name", String(512), nullable=False),
    UniqueConstraint("project_id", "name", name="one_category"),
)

images = Table(
    "images",
    metadata,
    Column("project_id", _Id, ForeignKey("projects.id"), primary_key=True),
    Column("source_digest", String(64), primary_key=True),  # addresses may be longer than an index entry can be
    Column("source", Text, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("perceptual_hash", String(64)),
    Index("images_by_content", "sha256"),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("project_id", _Id, ForeignKey("projects.id"), nullable=False),
    Column("name", String(128), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("header", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("tasks", BigInteger, nullable=False),
    Column("corrections", BigInteger, nullable=False),
    UniqueConstraint("name", name="one_snapshot"),
)

snapshot_items = Table(
    "snapshot_items",
    metadata,
    Column("snapshot_id", _Id, ForeignKey("snapshots.id"), primary_key=True),
    Column("task_number", BigInteger, primary_key=True),
    Column("task_version_id", _Id),
    Column("proposal_ids", Text, nullable=False),  # JSON list
    Column("split", String(64)),
    Column("manifest", Text, nullable=False),  # the line that the snapshot's digest was taken over
)

snapshot_corrections = Table(
    "snapshot_corrections",
    metadata,
    Column("snapshot_id", _Id, ForeignKey("snapshots.id"), primary_key=True),
    Column("correction_id", _Id, ForeignKey("corrections.id"), primary_key=True),
    Column("task_number", BigInteger, nullable=False),
    Index("snapshot_corrections_by_task", "snapshot_id", "task_number"),
    Index("snapshot_corrections_by_correction", "correction_id"),
)

snapshot_erasures = Table(
    "snapshot_erasures",
    metadata,
    Column("snapshot_id", _Id, ForeignKey("snapshots.id"), primary_key=True),
    Column("erased_at", BigInteger, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("tasks", BigInteger, nullable=False),
    Column("corrections", BigInteger, nullable=False),
)
