"""Whether pixels support a class that words suggested: boxes that a detector finds, and what their regions look like.

Support of a region is the geometric mean of the detector's score and of the probability that the region shows the
class, among its sibling classes and words for what is none of them: it is high only where both looks agree. A class
that nothing names, which only the kind of scene implies, has its odds of support halved. Against a class's thresholds
(see ``thresholds``) its best region confirms it, leaves it plausible, or rejects it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from maskwright.assist.suggestion.attempts import attempt
from maskwright.assist.suggestion.names import ClassNames
from maskwright.assist.suggestion.places import ClassPlaces, finite, nothing_words
from maskwright.assist.suggestion.thresholds import USUAL, ClassThresholds, Threshold
from maskwright.assist.suggestion.values import Source, Status, Suggestion
from maskwright.errors import InvalidInput
from maskwright.labels import LabelSet
from maskwright.masks import Mask
from maskwright.models.dense.pooling import pool
from maskwright.models.protocols import RGB, RegionClassifier

IMPLIED_ODDS = 0.5
"""Factor on the odds of support of a class that only a language model's idea of the scene speaks for."""
_PEAK = 0.01
"""Share of an image's places, the best ones, whose mean says how much it shows a class somewhere."""


@dataclass(frozen=True, eq=False)
class Found:
    """An object that was looked for and found.

    Attributes:
        label: Class of the label set.
        phrase: The detector's words for it, or empty where there was no detector.
        score: The detector's, in [0, 1]; None where there was none.
        mask: Its region, of the image's size.
    """

    label: str
    phrase: str
    score: float | None
    mask: Mask


@dataclass(frozen=True, eq=False)
class Support:
    """What pixels say.

    Attributes:
        suggestions: Those that were given, with status, confidence and sources of the pixels; without those that
            nothing ever spoke for.
        support: Of each object found, in [0, 1]; 0 where nothing looked at it.
        kept: Whether each object found is supported enough to be proposed.
        class_scores: Of each object found, the probability of every class by name; empty where regions were not looked
            at.
        problems: Why regions were not looked at, though they could have been.
    """

    suggestions: tuple[Suggestion, ...]
    support: tuple[float, ...]
    kept: tuple[bool, ...]
    class_scores: tuple[Mapping[str, float], ...]
    problems: tuple[str, ...] = ()


def check_support(
    pixels: RGB,
    suggestions: Sequence[Suggestion],
    found: Sequence[Found],
    labels: LabelSet,
    *,
    places: ClassPlaces | None = None,
    classifier: RegionClassifier | None = None,
    domain: str = "general",
    thresholds: ClassThresholds = USUAL,
    searched: bool = True,
) -> Support:
    """Confirm, doubt or reject what was suggested.

    A class that was searched for and not found is rejected, unless dense features show it somewhere; then it stays
    plausible. Where nobody looked, it stays plausible too. Suggestions outside of the label set are left alone.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        suggestions: Of this image.
        found: Of this image.
        labels: The project's classes.
        places: Shows where classes are; that of a family that knows no language is not used.
        classifier: Looks at regions where ``places`` cannot.
        domain: Whose ``places.NEGATIVES`` compete with the classes.
        thresholds: What support means for each class.
        searched: Whether a detector looked for every class suggested.

    Raises:
        Cancelled: If a model was cancelled.
    """
    problems: list[str] = []
    masks = [item.mask for item in found]
    looks = attempt(
        lambda: _look(pixels, masks, labels, places, classifier, domain), _Looks(), "regions were not checked", problems
    )
    implied = {one.label for one in suggestions if one.implied}
    support = [
        _support(item.score, looks.region(row, item.label), item.label in implied) for row, item in enumerate(found)
    ]
    statuses = [status_of(value, thresholds.of(item.label)) for item, value in zip(found, support, strict=True)]
    checked = []
    for one in suggestions:
        rows = [row for row, item in enumerate(found) if item.label == one.label]
        if not one.is_known:
            checked.append(one)
        elif rows:
            best = max(rows, key=lambda row: support[row] or 0.0)
            seen = _seen(found[best], looks.region(best, one.label), looks.by)
            checked.append(_judged(one, statuses[best], support[best], seen))
        elif searched or one.label in looks.peaks:
            absent = _unfound(one, looks, thresholds.of(one.label), searched)
            checked += [absent] if absent.sources else []
        else:
            checked.append(one)
    kept = tuple(status != "rejected" for status in statuses)
    scores = [looks.classes(row) for row in range(len(found))]
    return Support(tuple(checked), tuple(value or 0.0 for value in support), kept, tuple(scores), tuple(problems))


@dataclass(frozen=True, eq=False)
class _Looks:
    """What regions and places look like.

    Attributes:
        names: The classes in the order of the columns.
        regions: (M, C) float32 probabilities, or None where nothing looked.
        peaks: How much the image shows each class somewhere; empty where nothing can tell.
        by: Name of the model.
    """

    names: tuple[str, ...] = ()
    regions: NDArray[np.float32] | None = None
    peaks: Mapping[str, float] = field(default_factory=dict)
    by: str = ""

    def region(self, row: int, label: str) -> float | None:
        """Probability that a region shows a class; None where nothing looked for it."""
        if self.regions is None or label not in self.names:
            return None
        return float(np.clip(self.regions[row, self.names.index(label)], 0, 1))

    def classes(self, row: int) -> dict[str, float]:
        """All probabilities of a region."""
        if self.regions is None:
            return {}
        return {name: float(value) for name, value in zip(self.names, self.regions[row], strict=True)}


def _look(
    pixels: RGB,
    masks: Sequence[Mask],
    labels: LabelSet,
    places: ClassPlaces | None,
    classifier: RegionClassifier | None,
    domain: str,
) -> _Looks:
    names = ClassNames(labels)
    phrases = [item.phrases for item in names.classes]
    labelled = tuple(item.name for item in names.classes)
    if not phrases:
        return _Looks()
    if places is not None:
        try:
            maps = places.maps(pixels, phrases)
        except InvalidInput:  # a family that knows no language
            if classifier is None:
                return _Looks()
        else:
            return _Looks(labelled, pool(maps, masks), _peaks(labelled, maps), places.name)
    if classifier is None or not masks:
        return _Looks()
    probabilities = classifier.classify(pixels, masks, [*phrases, nothing_words(names, domain)])[:, : len(phrases)]
    return _Looks(labelled, finite(probabilities, classifier.name), by=classifier.name)


def _peaks(names: Sequence[str], maps: NDArray[np.float32]) -> dict[str, float]:
    flat = np.sort(maps.reshape(-1, len(names)), axis=0)
    best = flat[-math.ceil(len(flat) * _PEAK) :].mean(axis=0)
    return {name: float(value) for name, value in zip(names, best, strict=True)}


def _support(score: float | None, region: float | None, is_implied: bool) -> float | None:
    looks = [min(max(look, 0.0), 1.0) for look in (score, region) if look is not None]
    if not looks:
        return None
    value = math.prod(looks) ** (1 / len(looks))
    return value * IMPLIED_ODDS / (1 - value + value * IMPLIED_ODDS) if is_implied else value


def status_of(support: float | None, threshold: Threshold) -> Status:
    """What support in [0, 1] means for a class; where nothing measured it, it is plausible."""
    if support is None or threshold.rejected <= support < threshold.confirmed:
        return "plausible"
    return "confirmed" if support >= threshold.confirmed else "rejected"


def _seen(item: Found, region: float | None, by: str) -> list[Source]:
    detected = [] if item.score is None else [Source("detector", item.phrase or item.label, min(item.score, 1.0))]
    return detected if region is None else [*detected, Source("region", by, region)]


def _judged(one: Suggestion, status: Status, support: float | None, seen: Sequence[Source]) -> Suggestion:
    sources = tuple(sorted((*one.sources, *seen), key=lambda source: -source.confidence))
    return replace(one, status=status, confidence=one.confidence if support is None else support, sources=sources)


def _unfound(one: Suggestion, looks: _Looks, threshold: Threshold, searched: bool) -> Suggestion:
    """A class without a region: places alone confirm nothing, and outweigh a search in vain only if they are sure."""
    peak = looks.peaks.get(one.label, 0.0)
    support = _support(None, peak, one.implied) or 0.0
    if support < (threshold.confirmed if searched else threshold.rejected):
        return replace(one, status="rejected", confidence=support)
    return _judged(one, "plausible", support, [Source("region", looks.by, peak)])
