"""What ``maskwright doctor`` reports: findings, made by the core and by platforms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        name: What was checked, a few words.
        status: ``ok``, ``warn`` (works, but not as well as it could) or ``fail`` (something a user needs is broken).
        detail: What was seen.
        remedy: One sentence that says what to do; empty when ``status`` is ``ok``.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""
