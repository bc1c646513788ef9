"""Times of platforms as whole microseconds, so that they sort whatever their text form was."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from maskwright.errors import InvalidInput

LAST = 253_402_300_800_000_000
"""Microseconds from 1970 to the end of the year 9999: no time is this late or later."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(text: str, what: str = "time") -> int:
    """ISO 8601 text to microseconds since 1970 in UTC; no zone is taken as UTC, empty text as 0 (unknown).

    Raises:
        InvalidInput: If it is not such a time.
    """
    if not text:
        return 0
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        found = max(0, (moment - _EPOCH) // _MICROSECOND)
    except (ValueError, TypeError, OverflowError):
        found = LAST
    if found >= LAST:  # also a zone behind UTC may carry a time beyond the year 9999
        raise InvalidInput(f"{what} {text!r} is not an ISO 8601 time such as 2026-05-01T12:00:00Z")
    return found


def to_text(microseconds: int | None) -> str:
    """Microseconds since 1970 to ISO 8601 in UTC with six decimals; 0 and None give empty text."""
    if not microseconds:
        return ""
    moment = _EPOCH + timedelta(microseconds=microseconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def now() -> int:
    """The present in microseconds since 1970."""
    return time.time_ns() // 1000
