"""Why a candidate is promoted or not, in sentences with the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from maskwright.learn.gate.bootstrap import Gain
from maskwright.learn.gate.records import Measurement

_ROUNDING = 1e-9
"""Losses of exactly the limit are allowed, whatever binary fractions make of it."""
_NAMED = 10
"""How many classes or causes of one kind a reason names."""


def faults(served: Measurement, candidate: Measurement, empty_share: float) -> list[str]:
    """What makes a candidate unfit whatever else it does: answers that are no numbers, or nothing at all."""
    found = []
    broken = [record for record in candidate.records if record.not_finite]
    if broken:
        answers = sum(record.not_finite for record in broken)
        found.append(
            f"{_count(answers, 'answer')} to {_count(len(broken), 'object')} of {len(candidate.records)} "
            f"{'holds' if answers == 1 else 'hold'} numbers that are not finite, first on image {broken[0].image}, "
            f"object {broken[0].object}"
        )
    pairs = zip(served.records, candidate.records, strict=True)
    empty = [after for before, after in pairs if after.empty > before.empty]
    if len(empty) > empty_share * len(candidate.records):
        found.append(
            f"it answers {_count(len(empty), 'object')} of {len(candidate.records)} with no pixel at all where the "
            f"model in service answers with some, first on image {empty[0].image}, object {empty[0].object}"
        )
    return found


def losses(
    primary: Gain,
    prompts: Mapping[str, Gain],
    classes: Mapping[str, Gain],
    prompt_loss: float,
    class_loss: float,
    level: float,
) -> list[str]:
    """Everything that stands against promotion.

    Args:
        primary: Gain in the primary metric.
        prompts: By prompt type the gain in IoU.
        classes: By class, of those that are judged, the gain in the primary metric.
        prompt_loss: What a prompt type may lose.
        class_loss: What a class may lose.
        level: Confidence of the bounds.
    """
    found = []
    if primary.low is None or primary.low <= 0:
        found.append(
            f"{_went(primary)}, but the {level * 100:g} % lower bound of that is {_signed(primary.low)}, not above 0 "
            f"({_count(primary.objects, 'object')} on {_count(primary.images, 'image')})"
        )
    for kind, gains, limit in (("prompt", prompts, prompt_loss), ("class", classes, class_loss)):
        worst = sorted(gains.items(), key=lambda item: (item[1].mean, item[0]))
        lost = [(name, gain) for name, gain in worst if gain.mean < -limit - _ROUNDING]
        for name, gain in lost[:_NAMED]:
            what = _prompt(name) if kind == "prompt" else f"class {name!r}"
            over = f" over {gain.objects} objects" if kind == "class" else ""
            found.append(
                f"{what} lost {-gain.mean:.4f} (IoU {gain.served:.4f} to {gain.candidate:.4f}{over}, {_span(gain)}), "
                f"more than {limit:g}"
            )
        if len(lost) > _NAMED:
            found.append(f"{len(lost) - _NAMED} more classes lost more than {limit:g}")
    return found


def refused(causes: Sequence[str], not_judged: Mapping[str, int] | None = None) -> str:
    """The reason of a refusal, from at least one cause."""
    return f"Refused: {'; '.join(causes)}.{_skipped(not_judged or {})}"


def promoted(gain: Gain, prompt_loss: float, class_loss: float, level: float, not_judged: Mapping[str, int]) -> str:
    """The reason of a promotion."""
    bound = f"the {level * 100:g} % lower bound of that is {_signed(gain.low)}"
    return (
        f"Promoted: {_went(gain)}, and {bound} ({_count(gain.objects, 'object')} on {_count(gain.images, 'image')}); "
        f"no prompt type lost more than {prompt_loss:g} and no class more than {class_loss:g}.{_skipped(not_judged)}"
    )


def not_enough(images: int, objects: int, least_images: int, least_objects: int) -> str:
    """The reason for deciding nothing."""
    return (
        f"Not enough data: {_count(images, 'held-out image')} with {_count(objects, 'object')}, but a verdict needs "
        f"{least_images} images and {least_objects} objects; label more images, a share of them is held out."
    )


def _went(gain: Gain) -> str:
    return (
        f"the mean IoU over box, 1, 3 and 5 clicks went from {gain.served:.4f} to {gain.candidate:.4f} "
        f"({_signed(gain.mean)})"
    )


def _prompt(name: str) -> str:
    if name == "box":
        return "the box prompt"
    return "1 click" if name == "1" else f"{name} clicks"


def _signed(value: float | None) -> str:
    return "unknown" if value is None else f"{value:+.4f}"


def _span(gain: Gain) -> str:
    if gain.low is None or gain.high is None:
        return "on one image"
    return f"between {gain.low:+.4f} and {gain.high:+.4f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _skipped(not_judged: Mapping[str, int]) -> str:
    if not not_judged:
        return ""
    told = [f"{label!r} ({objects})" for label, objects in sorted(not_judged.items())]
    more = f" and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
    return f" Classes with too few objects to be judged: {', '.join(told[:_NAMED])}{more}."
