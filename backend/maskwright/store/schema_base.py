"""What the tables of the store have in common."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, MetaData

Id = BigInteger().with_variant(Integer, "sqlite")
"""The type of the store's own numbers: SQLite counts rows up only where the column is called INTEGER."""

metadata = MetaData()
"""All tables of the store."""
