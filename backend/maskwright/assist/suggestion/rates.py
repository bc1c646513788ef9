"""How often each class is suggested, borne out by pixels, and accepted by people: what models are biased towards.

A class that is suggested everywhere and accepted nowhere, or never suggested and often added by hand, shows here.
Intervals are those of Wilson (1927), which hold for few images and for shares near 0 and 1.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from maskwright.assist.suggestion.values import Suggestion
from maskwright.errors import InvalidInput

Z = 1.959963984540054
"""Normal quantile of 95 % intervals."""


@dataclass(frozen=True)
class ImageOutcome:
    """What became of an image's suggestions.

    Attributes:
        suggestions: All of them, the rejected ones too.
        final: Classes that the image's regions have after a person looked; None = nobody has looked.
    """

    suggestions: tuple[Suggestion, ...]
    final: frozenset[str] | None = None


@dataclass(frozen=True)
class Rate:
    """``count`` of ``of``, with its 95 % interval."""

    count: int
    of: int

    @property
    def share(self) -> float | None:
        """In [0, 1]; None of nothing."""
        return self.count / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float]:
        """Ends of Wilson's interval."""
        return wilson(self.count, self.of)

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        low, high = self.interval
        return {"count": self.count, "of": self.of, "share": self.share, "low": low, "high": high}


@dataclass(frozen=True)
class ClassRates:
    """The rates of a class.

    Attributes:
        label: The class.
        suggested: Images it was suggested in, of all images.
        supported: Those where pixels confirmed it, of those it was suggested in.
        rejected: Those where pixels spoke against it, of the same.
        accepted: Those where people left it, of those it was suggested in and people looked at.
        accepted_when_supported: The same among those where pixels confirmed it.
        wrongly_rejected: Those where people found it, of those where pixels had spoken against it and people looked.
        missed: Those it was not suggested in, of those that people looked at and left it in.
    """

    label: str
    suggested: Rate
    supported: Rate
    rejected: Rate
    accepted: Rate
    accepted_when_supported: Rate
    wrongly_rejected: Rate
    missed: Rate

    def to_json(self) -> dict[str, Any]:
        """For reports."""
        return {"label": self.label, **{name: getattr(self, name).to_json() for name in _RATES}}


_RATES = (
    "suggested", "supported", "rejected", "accepted", "accepted_when_supported", "wrongly_rejected", "missed",
)  # fmt: skip


def suggestion_rates(images: Iterable[ImageOutcome]) -> list[ClassRates]:
    """The rates of every class that was suggested or left, the most often suggested first, then by name."""
    suggested, supported, rejected = Counter[str](), Counter[str](), Counter[str]()
    seen, accepted, seen_supported, accepted_supported = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    seen_rejected, wrong, final, missed = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    total = 0
    for image in images:
        total += 1
        status = {one.label: one.status for one in image.suggestions}
        confirmed = {label for label, value in status.items() if value == "confirmed"}
        refused = {label for label, value in status.items() if value == "rejected"}
        suggested.update(status.keys())
        supported.update(confirmed)
        rejected.update(refused)
        if image.final is None:
            continue
        seen.update(status.keys())
        accepted.update(status.keys() & image.final)
        seen_supported.update(confirmed)
        accepted_supported.update(confirmed & image.final)
        seen_rejected.update(refused)
        wrong.update(refused & image.final)
        final.update(image.final)
        missed.update(image.final - status.keys())
    return [
        ClassRates(
            label,
            Rate(suggested[label], total),
            Rate(supported[label], suggested[label]),
            Rate(rejected[label], suggested[label]),
            Rate(accepted[label], seen[label]),
            Rate(accepted_supported[label], seen_supported[label]),
            Rate(wrong[label], seen_rejected[label]),
            Rate(missed[label], final[label]),
        )
        for label in sorted(suggested.keys() | final.keys(), key=lambda label: (-suggested[label], label))
    ]


def skew(rates: Iterable[ClassRates]) -> float:
    """How far what is suggested strays from what is there: KL(suggested || final) in nats, of classes per image.

    Both are made distributions over the classes, one image added to each class, so that it is finite. It rises above 0
    by chance alone with few images; compare it only between models on the same images.
    """
    # Only images that people looked at tell both: where the class was suggested, and where it was left.
    pairs = [(one.accepted.of + 1, one.missed.of + 1) for one in rates]
    suggested, final = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
    return sum(s / suggested * math.log(s / suggested * final / f) for s, f in pairs)


def wilson(count: int, of: int, z: float = Z) -> tuple[float, float]:
    """Interval of a share from ``count`` of ``of``; (0, 1) of nothing.

    Raises:
        InvalidInput: If ``count`` does not lie between 0 and ``of``.
    """
    if not 0 <= count <= of:
        raise InvalidInput(f"{count} of {of} is no share")
    if not of:
        return 0.0, 1.0
    share, spread = count / of, z * z / of
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / of + spread / (4 * of))
    # At the ends the interval's own end is exact, which rounding would miss.
    return (0.0 if count == 0 else max(middle - half, 0.0)), (1.0 if count == of else min(middle + half, 1.0))
