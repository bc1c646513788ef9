"""What a round found out, read from its JSON: anything may be missing, for old rounds and for those under way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from maskwright.server.dashboard.words import number
from maskwright.store.rounds import Round, RoundState

PICTURE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,80}\.png")
"""Names of files that a gallery may show: no folders, nothing hidden."""
_BOUNDS = ("low", "high", "objects", "error_low", "error_high")


@dataclass(frozen=True)
class Compared:
    """IoU of the served version and of the candidate, with the interval of the gain and that of what is left of 1."""

    name: str
    served: float
    candidate: float
    low: float | None
    high: float | None
    objects: float | None
    error_low: float | None = None
    error_high: float | None = None

    @property
    def gain(self) -> float:
        """Candidate less served."""
        return self.candidate - self.served


@dataclass(frozen=True)
class Group:
    """The error on one group of tasks, with its interval."""

    name: str
    error: float
    low: float | None
    high: float | None
    objects: float | None
    images: float | None


@dataclass(frozen=True)
class Picture:
    """One overlay of the gallery."""

    file: str
    task: int | None
    label: str
    iou: float | None
    note: str


class Figures(dict[str, float | None]):
    """Numbers by name; None for those that are missing."""

    def __missing__(self, name: str) -> None:
        return None


class Report:
    """The metrics of a round.

    Args:
        of: The round.
    """

    def __init__(self, of: Round) -> None:
        self.round = of
        self._metrics = _mapping(of.metrics)

    @cached_property
    def served(self) -> Figures:
        """Figures of the version that was in service."""
        return _figures(self._metrics.get("served"))

    @cached_property
    def candidate(self) -> Figures:
        """Figures of the version that the round made."""
        return _figures(self._metrics.get("candidate"))

    @property
    def after(self) -> Figures:
        """Figures of the version that was in service when the round had ended."""
        return self.candidate if self.round.state is RoundState.PROMOTED else self.served

    @property
    def gain(self) -> Figures:
        """``mean``, ``low`` and ``high`` of the gain in the primary measure."""
        return _figures(self._metrics.get("gain"))

    def amount(self, kind: str, part: str) -> float | None:
        """How many ``images`` or ``objects`` were in the part ``training``, ``held_out`` or ``new``."""
        return number(_mapping(self._metrics.get(kind)).get(part))

    @property
    def seconds(self) -> Figures:
        """What each part of the round took."""
        return _figures(self._metrics.get("seconds"))

    @property
    def training(self) -> Mapping[str, Any]:
        """``steps``, ``seconds`` and ``adapter`` of the training."""
        return _mapping(self._metrics.get("training"))

    @property
    def curve(self) -> list[tuple[float, float | None, float | None]]:
        """(step, loss, IoU on the validation part) along the training."""
        rows = [_mapping(row) for row in _list(self.training.get("curve"))]
        known = [(number(row.get("step")), number(row.get("loss")), number(row.get("validation_iou"))) for row in rows]
        return [(step, loss, iou) for step, loss, iou in known if step is not None]

    def compared(self, by: str) -> list[Compared]:
        """What ``by_prompt`` or ``by_class`` tells."""
        found = []
        for row in map(_mapping, _list(self._metrics.get(by))):
            served, candidate = number(row.get("served")), number(row.get("candidate"))
            if served is not None and candidate is not None:
                rest = (number(row.get(name)) for name in _BOUNDS)
                found.append(Compared(_text(row.get("name")), served, candidate, *rest))
        return found

    @property
    def class_errors(self) -> list[Group]:
        """The classes as groups, the greatest error of the candidate first."""
        rows = self.compared("by_class")
        found = [Group(r.name, 1 - r.candidate, r.error_low, r.error_high, r.objects, None) for r in rows]
        return sorted(found, key=lambda group: -group.error)

    @property
    def group_field(self) -> str:
        """The task field that the groups are of."""
        return _text(_mapping(self._metrics.get("by_group")).get("field"))

    @property
    def groups(self) -> list[Group]:
        """The groups, the greatest error first."""
        found = []
        for row in map(_mapping, _list(_mapping(self._metrics.get("by_group")).get("groups"))):
            if (error := number(row.get("error"))) is not None:
                rest = (number(row.get(name)) for name in ("low", "high", "objects", "images"))
                found.append(Group(_text(row.get("name")), error, *rest))
        return sorted(found, key=lambda group: -group.error)

    @property
    def confusion(self) -> tuple[list[str], list[list[int]]] | None:
        """(names, counts[true][suggested]) of the classes, or None."""
        document = _mapping(self._metrics.get("confusion"))
        names = [_text(name) for name in _list(document.get("classes"))]
        rows = [[int(number(cell) or 0) for cell in _list(row)] for row in _list(document.get("rows"))]
        whole = bool(names) and 0 < len(rows) <= len(names) and all(len(row) == len(names) for row in rows)
        return (names, rows) if whole else None

    def pictures(self, kind: str) -> list[Picture]:
        """The overlays of kind ``worst``, ``disputed`` or ``suspect``."""
        return [
            Picture(row["file"], _task(row.get("task")), _text(row.get("label")), number(row.get("iou")),
                    _text(row.get("note")))
            for row in map(_mapping, _list(self._metrics.get("gallery")))
            if row.get("kind") == kind and PICTURE_NAME.fullmatch(_text(row.get("file")))
        ]  # fmt: skip


def _figures(value: Any) -> Figures:
    return Figures({str(name): number(one) for name, one in _mapping(value).items()})


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _task(value: Any) -> int | None:
    text = _text(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
