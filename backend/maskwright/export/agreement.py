"""How far people agree who annotated the same image: outlines, objects found, classes, pixels.

Objects of two people are paired as :mod:`maskwright.export.matching` says. All sums are whole numbers, so that parts
may be added in any order and grouping with the same result to the last bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

_UNIT = 10**9
"""Fractions are added up in billionths."""

Table = Mapping[tuple[str, str], int]


@dataclass(frozen=True)
class Agreement:
    """Sums over images and pairs of people; the figures are properties. Adds up with ``+``; may be pickled.

    Attributes:
        images: Images that several people annotated.
        comparisons: Pairs of people over these images.
        objects: Objects of both sides, over all comparisons.
        matched: Pairs of objects with IoU of at least 0.5.
        iou_billionths: Sum of their IoU.
        classes: By pair of people (in the order of their names): how often the first gave one class and the second
            the other, over matched objects.
        rated: Objects that several people drew.
        concord_billionths: Sum over them of the share of pairs of people who gave the same class.
        votes: By class, how often it was given to these objects.
        shared: By class, twice the pixels that both people of a comparison gave to it.
        either: By class, the pixels of the one plus those of the other.
    """

    images: int = 0
    comparisons: int = 0
    objects: int = 0
    matched: int = 0
    iou_billionths: int = 0
    classes: Mapping[tuple[str, str], Table] = field(default_factory=dict)
    rated: int = 0
    concord_billionths: int = 0
    votes: Mapping[str, int] = field(default_factory=dict)
    shared: Mapping[str, int] = field(default_factory=dict)
    either: Mapping[str, int] = field(default_factory=dict)

    @staticmethod
    def billionths(fraction: float) -> int:
        """A fraction as it is added up here."""
        return round(fraction * _UNIT)

    def __add__(self, other: Agreement) -> Agreement:
        """Both together."""
        return total([self, other])

    @property
    def mean_iou(self) -> float | None:
        """Mean IoU of matched objects, in [0.5, 1]; None where nothing matched."""
        return self.iou_billionths / _UNIT / self.matched if self.matched else None

    @property
    def f1(self) -> float | None:
        """Share of objects that found their match (F1 at IoU 0.5); None where nobody drew anything."""
        return 2 * self.matched / self.objects if self.objects else None

    @property
    def class_agreement(self) -> float | None:
        """Share of pairs of people, over objects that several drew, who gave the same class."""
        return self.concord_billionths / _UNIT / self.rated if self.rated else None

    @property
    def fleiss_kappa(self) -> float | None:
        """Agreement on classes beyond chance (Fleiss 1971), for any number of people per object.

        None where it is not defined: no object was drawn by several people, or all classes are the same.
        """
        given = sum(self.votes.values())
        if not self.rated or not given:
            return None
        chance = sum((n / given) ** 2 for n in self.votes.values())
        observed = self.concord_billionths / _UNIT / self.rated
        return None if chance >= 1 else (observed - chance) / (1 - chance)

    @property
    def cohen_kappas(self) -> dict[tuple[str, str], float]:
        """By pair of people: agreement on classes beyond chance (Cohen 1960); pairs without a value are left out."""
        found = {}
        for people, table in self.classes.items():
            count = sum(table.values())
            first, second = Counter[str](), Counter[str]()
            for (a, b), n in table.items():
                first[a] += n
                second[b] += n
            same = sum(n for (a, b), n in table.items() if a == b)
            chance = sum(first[name] * second[name] for name in first) / count**2 if count else 1.0
            if chance < 1:
                found[people] = (same / count - chance) / (1 - chance)
        return found

    @property
    def dice(self) -> dict[str, float]:
        """By class: Dice coefficient of the pixels, pooled over all comparisons."""
        return {name: self.shared.get(name, 0) / n for name, n in sorted(self.either.items()) if n}

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        simple = {f.name: getattr(self, f.name) for f in fields(self)}
        rows = [[*people, [[*pair, n] for pair, n in sorted(t.items())]] for people, t in sorted(self.classes.items())]
        named = {key: dict(sorted(simple[key].items())) for key in ("votes", "shared", "either")}
        return {**simple, **named, "classes": rows}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Agreement:
        """The reverse of :meth:`to_json`."""
        classes = {(one, two): {(a, b): n for a, b, n in rows} for one, two, rows in value["classes"]}
        return cls(**{**value, "classes": classes})


def total(parts: Iterable[Agreement]) -> Agreement:
    """All together; an empty one for none."""
    numbers: Counter[str] = Counter()
    named: dict[str, Counter[str]] = {"votes": Counter(), "shared": Counter(), "either": Counter()}
    classes: dict[tuple[str, str], Counter[tuple[str, str]]] = {}
    for part in parts:
        for name in _NUMBERS:
            numbers[name] += getattr(part, name)
        for name, counter in named.items():
            counter.update(getattr(part, name))
        for people, table in part.classes.items():
            classes.setdefault(people, Counter()).update(table)
    sums = {name: numbers[name] for name in _NUMBERS}
    return Agreement(
        **sums,
        classes={people: dict(table) for people, table in classes.items()},
        votes=dict(named["votes"]),
        shared=dict(named["shared"]),
        either=dict(named["either"]),
    )


_NUMBERS = ("images", "comparisons", "objects", "matched", "iou_billionths", "rated", "concord_billionths")
