"""What Alembic runs: the migrations of the corrections store on the connection that ``database`` hands over."""

from __future__ import annotations

from alembic import context

from maskwright.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # The caller holds the one transaction that the whole upgrade belongs to.
    transactional_ddl=False,
)
context.run_migrations()
