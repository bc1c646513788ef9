"""How often classes are suggested and what becomes of it, as the worker counted last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from maskwright.learn.rounds.suggestions import RATES
from maskwright.server.dashboard.words import number
from maskwright.store.corrections import CorrectionsStore
from maskwright.store.project_notes import ProjectNotes

CLASSES_SHOWN = 30


@dataclass(frozen=True)
class Share:
    """A part of something counted, with its 95 % interval."""

    count: float | None
    of: float | None
    share: float | None
    low: float | None
    high: float | None

    @classmethod
    def of_json(cls, told: Any) -> Share:
        """Read it; what is missing is None."""
        known = told if isinstance(told, dict) else {}
        return cls(*(number(known.get(name)) for name in ("count", "of", "share", "low", "high")))


@dataclass(frozen=True)
class SuggestionsView:
    """How often each class is suggested, borne out by pixels and accepted.

    Attributes:
        images: Images with suggestions.
        looked_at: Those that people have looked at.
        skew: How far suggestions stray from what people leave.
        at: When it was counted; ISO 8601.
        rows: (class, its shares in the order of ``COLUMNS``), the most often suggested first.
        more: How many classes are not shown.
    """

    images: float | None
    looked_at: float | None
    skew: float | None
    at: str
    rows: tuple[tuple[str, tuple[Share, ...]], ...]
    more: int

    COLUMNS: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("suggested", "Suggested", "of all images"),
        ("supported", "Supported", "pixels confirm it, of those suggested"),
        ("accepted", "Accepted", "people left it, of those suggested and looked at"),
        ("wrongly_rejected", "Wrongly rejected", "people found it where pixels had spoken against it"),
        ("missed", "Missed", "people found it where it was not suggested, of all where they found it"),
    )

    @classmethod
    def of(cls, store: CorrectionsStore, project_id: int) -> SuggestionsView | None:
        """Read what the worker counted last; None where it never did."""
        told = ProjectNotes(store.database).get(project_id, RATES)
        if not isinstance(told, dict) or not isinstance(told.get("classes"), list):
            return None
        found = [one for one in told["classes"] if isinstance(one, dict)]
        rows = tuple(
            (str(one.get("label")), tuple(Share.of_json(one.get(name)) for name, _, _ in cls.COLUMNS))
            for one in found[:CLASSES_SHOWN]
        )
        images, looked_at, skew = (number(told.get(name)) for name in ("images", "looked_at", "skew"))
        return cls(images, looked_at, skew, str(told.get("at", "")), rows, max(0, len(found) - CLASSES_SHOWN))
