"""Classes to boxes: phrases for a detector, repeats dropped twice, and the class that each phrase turns out to be."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from maskwright.assist.suggestion.names import ClassNames
from maskwright.assist.suggestion.values import Source, StageOptions, Suggestion
from maskwright.errors import Cancelled, MaskwrightError
from maskwright.labels import LabelSet
from maskwright.models.detectors.suppression import suppress
from maskwright.models.protocols import Detections
from maskwright.prompts import Box

_log = logging.getLogger(__name__)

_NEVER = 1.0
"""No IoU lies above it."""


@dataclass(frozen=True)
class LabelledBox:
    """A box with its class.

    Attributes:
        box: xyxy in pixels of the image.
        label: Class of the label set.
        phrase: The words that found it.
        score: The detector's, in [0, 1].
    """

    box: Box
    label: str
    phrase: str
    score: float


class Search:
    """What a detector is asked for in one image.

    Attributes:
        phrases: In the order in which the detector gets them.
        free: Those whose class is not known yet.

    Args:
        wanted: The classes; each is looked for by all words that mean it.
        free: Words whose class is not known yet.
        described: More phrases, each with the class that it means; see ``described_phrases``.
    """

    def __init__(
        self, wanted: LabelSet, free: Sequence[str] = (), described: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._meant: dict[str, str] = {}
        for item in wanted:
            for phrase in item.phrases:
                self._meant.setdefault(phrase, item.name)
        for phrase, name in described.items():
            self._meant.setdefault(phrase, name)
        self.free = tuple(word for word in dict.fromkeys(free) if word not in self._meant)
        self.phrases = (*self._meant, *self.free)

    def boxes(
        self, found: Detections, options: StageOptions, refine: Callable[[str], str | None], said: list[str]
    ) -> list[LabelledBox]:
        """What was found, each object once, surest first.

        Args:
            found: The detector's answer to ``phrases``. Boxes that hold nothing or are no numbers are left out.
            options: Of two boxes above ``box_iou`` the surer stays, whatever words found them; then of two boxes of one
                class above ``box_iou_per_class``.
            refine: The class that a free word is, or None; asked once for each word with a box.
            said: Takes a sentence where ``refine`` fails; such boxes are left out.

        Raises:
            Cancelled: If ``refine`` was cancelled.
        """
        found = _usable(found)
        meant: dict[str, str | None] = dict(self._meant)
        failure, unanswered = "", 0
        while True:
            kept = suppress(found, any_phrase=options.box_iou, same_phrase=_NEVER)
            words = [self.phrases[index] for index in kept.phrase_indices]
            for word in dict.fromkeys(word for word in words if word not in meant):
                try:
                    meant[word] = refine(word)
                except Cancelled:
                    raise
                except MaskwrightError as error:
                    meant[word], failure, unanswered = None, str(error), unanswered + 1
                except Exception as error:  # noqa: BLE001 - what a model's own code raises must not cost the other boxes
                    _log.exception("a phrase was not sorted into classes")
                    failure = f"{type(error).__name__}; the log of the server says more"
                    meant[word], unanswered = None, unanswered + 1
            if all(meant[word] for word in words):
                break
            # What is none of the classes takes no box from what is one.
            found = _rows(found, np.array([meant.get(self.phrases[i], "") is not None for i in found.phrase_indices]))
        if unanswered:
            said.append(f"{unanswered} of the detector's phrases were not sorted into classes: {failure}")
        labels = [meant[word] for word in words]
        boxes: list[LabelledBox] = []
        for label in sorted({label for label in labels if label is not None}):
            alike = _rows(kept, np.array([one == label for one in labels], dtype=np.bool_))
            # Whatever words found them: within a class all phrases are one.
            alike = suppress(alike, any_phrase=options.box_iou_per_class, same_phrase=_NEVER)
            boxes += [
                LabelledBox((box[0], box[1], box[2], box[3]), label, self.phrases[index], min(max(score, 0.0), 1.0))
                for box, index, score in zip(
                    alike.boxes.tolist(), alike.phrase_indices.tolist(), alike.scores.tolist(), strict=True
                )
            ]
        return sorted(boxes, key=lambda one: -one.score)


def free_words(suggestions: Sequence[Suggestion], labels: LabelSet, options: StageOptions) -> dict[str, Source]:
    """Tags worth a search though they are no class: a jockey is a person, and more easily found as a jockey.

    They are the tags that speak for suggested classes; a tag may do that and be none of them (a street speaks for
    cars), which is why each one found is refined. Without pre-refinement, all tags are searched for.
    """
    names = ClassNames(labels)
    return {
        source.text: source
        for one in suggestions
        for source in one.sources
        if source.kind == "tag" and (one.is_known or not options.pre_refinement) and names.find(source.text) is None
    }


def with_meanings(suggestions: Sequence[Suggestion], meanings: Mapping[Source, str]) -> list[Suggestion]:
    """The suggestions after it turned out which classes some tags are.

    Each such tag speaks for its class, and is no longer one to be added to the label set.
    """
    known = {one.label: one for one in suggestions if one.is_known}
    for source, label in meanings.items():
        one = known.get(label) or Suggestion(label, "plausible", 0.0, ())
        sources = sorted({*one.sources, source}, key=lambda each: (-each.confidence, each.kind, each.text))
        known[label] = replace(
            one, sources=tuple(sources), confidence=max(one.confidence, source.confidence), implied=False
        )
    rest = [one for one in suggestions if not one.is_known and not any(source in meanings for source in one.sources)]
    return [*sorted(known.values(), key=lambda one: -one.confidence), *rest]


def no_detections() -> Detections:
    """Nothing found."""
    return Detections(np.zeros((0, 4), dtype=np.float32), np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int64))


def _usable(found: Detections) -> Detections:
    """Without boxes that no segmenter takes; what is no number is no larger than anything."""
    return _rows(found, (found.boxes[:, 2] > found.boxes[:, 0]) & (found.boxes[:, 3] > found.boxes[:, 1]))


def _rows(found: Detections, rows: NDArray[np.bool_]) -> Detections:
    return Detections(found.boxes[rows], found.scores[rows], found.phrase_indices[rows])
