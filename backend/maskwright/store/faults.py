"""Faults of the database in words that may be shown; the driver's own text, with paths and hosts, goes to the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from maskwright.errors import Busy, MaskwrightError

_log = logging.getLogger(__name__)

RESTORE = "restore a backup with: maskwright restore"
"""What to do about a damaged database."""

# Serialization failure, deadlock, another writer was first with the same key: the next attempt sees what it wrote.
_POSTGRES_RETRY = ("40001", "40P01", "23505")
_POSTGRES_LOCKED = "55P03"  # lock_timeout


class StoreDamaged(MaskwrightError):
    """The database holds something else than the store wrote; nothing was changed."""

    status = 500


class StoreUnavailable(MaskwrightError):
    """The database cannot be reached or written: server down, disk full, folder read-only."""

    status = 503


class TryAgain(Busy):
    """The database itself asks for another attempt."""


@contextmanager
def named_errors() -> Iterator[None]:
    """Turn whatever SQLAlchemy raises inside into Busy, StoreDamaged or StoreUnavailable."""
    try:
        yield
    except PoolTimeout:
        raise Busy("the corrections database has no free connection") from None
    except DBAPIError as error:
        raise _named(error) from error
    except SQLAlchemyError as error:
        _log.error("the corrections database failed: %s", error)
        raise StoreUnavailable(f"the corrections database failed ({type(error).__name__}); see the log") from error


def _named(error: DBAPIError) -> MaskwrightError:
    text = str(error.orig).lower()
    state = getattr(error.orig, "sqlstate", None)
    if state in _POSTGRES_RETRY:
        return TryAgain("the corrections database is busy")
    if ("locked" in text and state is None) or state == _POSTGRES_LOCKED:
        return Busy("the corrections database is locked by another writer")
    _log.error("the corrections database failed: %s", error.orig)
    if "malformed" in text or "not a database" in text or "corrupt" in text:
        return StoreDamaged(f"the corrections database is damaged; {RESTORE}")
    if "disk is full" in text or "disk i/o" in text or state in ("53100",):
        return StoreUnavailable("the disk of the corrections database is full or failing; free some space")
    if "readonly" in text or "read-only" in text:
        return StoreUnavailable("the corrections database cannot be written: its folder is read-only")
    if "unable to open" in text:
        return StoreUnavailable("the corrections database cannot be opened: check the folder and its permissions")
    return StoreUnavailable(f"the corrections database failed ({type(error.orig).__name__}); see the log")
