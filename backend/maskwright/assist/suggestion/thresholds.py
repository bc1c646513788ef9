"""How much support from pixels a class needs, learnt per class from what people kept and deleted.

The chance that a proposal is kept is taken to be a logistic curve of its support's log odds. Its slope is fixed; where
it lies is learnt: the place m of greatest posterior probability under a normal prior around the default,

    maximise  sum_i log sigmoid(+-SLOPE * (x_i - m)) - WEIGHT * SLOPE^2 / 8 * (m - m_0)^2,   x_i = logit(support_i)

with + for what was kept and - for what was deleted. The prior is worth as much as WEIGHT of the most telling examples,
so a few corrections change little. With one parameter the answer is monotone: a kept proposal never raises a threshold,
a deleted one never lowers it. All classes together are fitted first, and give each class its m_0. This is Platt scaling
(1999) cut down to its offset; a free slope, or an isotonic step function, would follow a handful of examples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from maskwright.assist.suggestion.rates import ImageOutcome
from maskwright.assist.suggestion.values import Suggestion
from maskwright.errors import InvalidInput

CONFIRMED = math.sqrt(0.25 * 0.5)
"""Support of a box at the interactive threshold whose region shows the class with probability one half."""
REJECTED = 0.18
"""Support of a box at the recall threshold whose region is no surer."""
KEPT_AT_CONFIRMED = 0.75
"""Chance that a person keeps a proposal just confirmed; of one just rejected it is as likely that it is deleted."""
WEIGHT_OF_ALL, WEIGHT_OF_CLASS = 60.0, 20.0
"""Examples that the default is worth for all classes together, and what these are worth for one class."""
_PIXELS = ("detector", "region")
_EDGE = 1e-4
_STEPS = 60


def _logit(score: float) -> float:
    inside = min(max(score, _EDGE), 1 - _EDGE)
    return math.log(inside / (1 - inside))


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


MIDDLE = (_logit(CONFIRMED) + _logit(REJECTED)) / 2
_HALF_BAND = (_logit(CONFIRMED) - _logit(REJECTED)) / 2
SLOPE = _logit(KEPT_AT_CONFIRMED) / _HALF_BAND


@dataclass(frozen=True)
class Judged:
    """A class or region that was proposed, and what a person who looked at it said.

    Attributes:
        label: The class it was proposed as.
        support: In [0, 1]; see ``support``.
        kept: Whether the person agreed.
    """

    label: str
    support: float
    kept: bool


@dataclass(frozen=True)
class Threshold:
    """What support means for a class: confirmed from ``confirmed``, rejected below ``rejected``, else plausible."""

    confirmed: float = CONFIRMED
    rejected: float = REJECTED


@dataclass(frozen=True)
class ClassThresholds:
    """Thresholds of a project's classes.

    Attributes:
        usual: Of classes without their own.
        by_class: The others, by name.
        version: Of the models whose support they are about; the figures of others are not comparable.
        examples: How many judged proposals each class's own threshold rests on.
    """

    usual: Threshold = Threshold()
    by_class: Mapping[str, Threshold] = field(default_factory=dict)
    version: str = ""
    examples: Mapping[str, int] = field(default_factory=dict)

    def of(self, label: str) -> Threshold:
        """That of a class."""
        return self.by_class.get(label, self.usual)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that ``read_thresholds`` reads."""
        return {
            "version": self.version,
            "usual": [self.usual.confirmed, self.usual.rejected],
            "classes": {name: [one.confirmed, one.rejected] for name, one in self.by_class.items()},
            "examples": dict(self.examples),
        }


def judge(images: Iterable[ImageOutcome]) -> list[Judged]:
    """Every class of the label set whose support was measured in an image that a person looked at.

    Rejected ones count too: a class that pixels spoke against and a person added was rejected too soon. One that a
    search did not find at all does not: no threshold would have shown it, and what detectors miss would in time have
    everything confirmed.
    """
    return [
        Judged(one.label, min(max(one.confidence, 0.0), 1.0), one.label in image.final)
        for image in images
        if image.final is not None
        for one in image.suggestions
        if one.is_known and _is_measured(one)
    ]


def _is_measured(one: Suggestion) -> bool:
    looked_at = any(source.kind in _PIXELS for source in one.sources)
    return looked_at or (one.status == "rejected" and one.confidence > 0)


USUAL = ClassThresholds()
"""Before anything was learnt."""


def learn_thresholds(judged: Iterable[Judged], version: str = "") -> ClassThresholds:
    """Thresholds that suit what people kept; without examples, the defaults.

    Args:
        judged: Proposals people have looked at, in any order.
        version: Of the models that gave the support.

    Raises:
        InvalidInput: If a support does not lie between 0 and 1.
    """
    by_class: dict[str, list[tuple[float, bool]]] = {}
    for one in judged:
        if not 0 <= one.support <= 1:
            raise InvalidInput(f"class {one.label!r}: support is {one.support}; it must lie between 0 and 1")
        by_class.setdefault(one.label, []).append((_logit(one.support), one.kept))
    everything = [example for examples in by_class.values() for example in examples]
    middle = _fit(everything, MIDDLE, WEIGHT_OF_ALL)
    fitted = {name: _fit(examples, middle, WEIGHT_OF_CLASS) for name, examples in by_class.items()}
    return ClassThresholds(
        _threshold(middle),
        {name: _threshold(place) for name, place in fitted.items()},
        version,
        {name: len(examples) for name, examples in by_class.items()},
    )


def read_thresholds(document: object, version: str = "") -> ClassThresholds:
    """What ``ClassThresholds.to_json`` gave; the defaults if it is of other models, or nothing.

    Raises:
        InvalidInput: If it is of these models and damaged.
    """
    if not isinstance(document, Mapping) or document.get("version") != version:
        return ClassThresholds(version=version)
    try:
        usual = _read(document["usual"])
        by_class = {str(name): _read(pair) for name, pair in document["classes"].items()}
        examples = {str(name): int(count) for name, count in document["examples"].items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InvalidInput("thresholds of classes are damaged; learn them anew from the corrections") from None
    return ClassThresholds(usual, by_class, version, examples)


def _read(pair: Any) -> Threshold:
    confirmed, rejected = (float(value) for value in pair)
    if not 0 <= rejected <= confirmed <= 1:
        raise ValueError
    return Threshold(confirmed, rejected)


def _fit(examples: Sequence[tuple[float, bool]], middle: float, weight: float) -> float:
    """The curve's place, by bisection: the derivative of the log posterior falls strictly."""
    prior = weight * SLOPE**2 / 4

    def derivative(place: float) -> float:
        pulls = (-_sigmoid(SLOPE * (place - x)) if kept else _sigmoid(SLOPE * (x - place)) for x, kept in examples)
        return SLOPE * sum(pulls) - prior * (place - middle)

    reach = len(examples) * SLOPE / prior
    low, high = middle - reach, middle + reach
    for _ in range(_STEPS if examples else 0):
        place = (low + high) / 2
        low, high = (place, high) if derivative(place) > 0 else (low, place)
    return (low + high) / 2


def _threshold(middle: float) -> Threshold:
    return Threshold(_sigmoid(middle + _HALF_BAND), _sigmoid(middle - _HALF_BAND))
