"""A class for each region, from any label set, without training: an image tagger read through a sentence encoder.

A region is shown to the tagger twice, with its surroundings and cut out of them. Every tag votes with its probability
for the classes whose words mean the same, or mean something that the tag is a kind of (WordNet: a tabby is a domestic
cat, a cat, a feline, an animal). Tags that mean none of the classes vote for none of them, and a class that only one of
the views speaks for is not believed, so that what is missing from the sum of the class probabilities is the probability
that the region shows something else.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.masks import Mask
from maskwright.models.faces import CERTAINTY, FaceFinder
from maskwright.models.imagenet_words import WEARER, vocabulary
from maskwright.models.protocols import RGB, Evidence, TextEncoder
from maskwright.models.tagger import ImageNetTagger
from maskwright.models.word_vectors import word_vectors, words_of_concepts

CONTEXT = 1.0
"""Side of the square shown to the tagger over the longer side of the region's box."""
BACKGROUND = 127
"""Grey value of what is cut away; it becomes zero in the network's input."""
REGIONS_PER_BATCH = 8
PEOPLE = 0.5
"""Probability from which a class means people, so that faces are looked for."""
LOOKS = (224, 320, 448)
"""Sizes at which the tagger looks at a whole image, in pixels of the longer side: large objects, then smaller ones."""
MAP_SIDE = 96
"""Places along the longer side of a map of where the classes are."""


@dataclass(frozen=True)
class Calibration:
    """How similarity becomes probability. The values had the least log loss on 61 regions of photographs, 19 classes.

    Attributes:
        temperature: Difference of similarity by which one class outweighs another by a factor of e.
        threshold: Similarity at which a tag speaks as much for a class as for none.
        fading: Factor on the similarity per step from a tag up to what it is a kind of.
    """

    temperature: float = 0.05
    threshold: float = 0.65
    fading: float = 0.97


def crops(image: RGB, mask: Mask) -> tuple[RGB, RGB]:
    """The square around a region, (s, s, 3) uint8: with its surroundings, and with only its own pixels.

    What lies outside the image or, in the second, outside the mask is grey.

    Raises:
        InvalidInput: If the mask is empty.
    """
    if mask.is_empty:
        raise InvalidInput("an empty mask shows nothing that could be given a class")
    left, top, right, bottom = mask.box
    side = max(2, round(max(right - left, bottom - top) * CONTEXT))
    x0, y0 = round((left + right - side) / 2), round((top + bottom - side) / 2)
    height, width = mask.size
    x1, y1, x2, y2 = max(x0, 0), max(y0, 0), min(x0 + side, width), min(y0 + side, height)
    inside = np.s_[y1 - y0 : y2 - y0, x1 - x0 : x2 - x0]
    plain = np.full((side, side, 3), BACKGROUND, dtype=np.uint8)
    plain[inside] = image[y1:y2, x1:x2]
    alone = np.full((side, side, 3), BACKGROUND, dtype=np.uint8)
    alone[inside] = np.where(mask.crop_array(x1, y1, x2, y2)[..., None], image[y1:y2, x1:x2], np.uint8(BACKGROUND))
    return plain, alone


def beyond_chance(probabilities: NDArray[np.float32], votes: NDArray[np.float32]) -> NDArray[np.float32]:
    """What (..., C) probabilities say beyond those of a tagger that knows nothing, 1 staying 1 (as Cohen's kappa).

    A class that many tags vote for, such as animal with 400 of 1000, would be likely wherever the tagger is at a loss.
    """
    chance = votes.mean(axis=0)
    beyond: NDArray[np.float32] = np.clip((probabilities - chance) / (1 - chance), 0, 1)
    return beyond


class TagRegionClassifier:
    """Implements ``RegionClassifier``. Thread-safe; the models load with the first question that needs them.

    Args:
        tagger: Gives ImageNet probabilities.
        encoder: Gives the words' vectors.
        calibration: How similarity becomes probability.
        faces: Finds people, of whom the tagger has no notion.
    """

    name = "tags"

    def __init__(
        self,
        tagger: ImageNetTagger,
        encoder: TextEncoder,
        calibration: Calibration = Calibration(),
        faces: FaceFinder | None = None,
    ) -> None:
        self._faces = FaceFinder() if faces is None else faces
        self._tagger = tagger
        self._encoder = encoder
        self._calibration = calibration
        self._lock = threading.Lock()
        self._words: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None
        c = calibration
        parts = (tagger.version, encoder.version, self._faces.version, c.temperature, c.threshold, c.fading)
        self.version = f"tags-3({', '.join(map(str, parts))})"

    def classify(self, image: RGB, masks: Sequence[Mask], phrases: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Probabilities, (M, C) float32; a row's sum falls short of 1 by the probability of none of the classes.

        A single class needs no model: its probability is 1. An empty mask gets zeros.

        Args:
            image: (H, W, 3) uint8 RGB.
            masks: M masks of the image's size.
            phrases: For each of C classes the words that mean it.

        Raises:
            InvalidInput: If a class has no words, or a mask is of another size than the image.
            ModelUnavailable: If the weights are not installed.
        """
        if any(not words for words in phrases):
            raise InvalidInput("a class came without words; give each class at least one")
        for mask in masks:
            if tuple(mask.size) != image.shape[:2]:
                raise InvalidInput(f"a mask of {mask.size} (height, width) does not fit an image of {image.shape[:2]}")
        if len(phrases) == 1:
            return np.ones((len(masks), 1), dtype=np.float32)
        result = np.zeros((len(masks), len(phrases)), dtype=np.float32)
        shown = [i for i, mask in enumerate(masks) if not mask.is_empty]
        if not shown or not phrases:
            return result
        votes = self.votes(phrases)
        for start in range(0, len(shown), REGIONS_PER_BATCH):
            batch = shown[start : start + REGIONS_PER_BATCH]
            views = [view for i in batch for view in crops(image, masks[i])]
            seen = self._tagger.probabilities(views).reshape(len(batch), 2, -1) @ votes
            # The geometric mean is high only where both views agree: the surroundings alone, such as the animal on a
            # rock, must not name a region, nor must a silhouette. What it falls short goes to none of the classes.
            result[batch] = np.sqrt(seen[:, 0] * seen[:, 1])
        return beyond_chance(result, votes)

    def locate(self, image: RGB, phrases: Sequence[Sequence[str]]) -> Evidence:
        """Where an (H, W, 3) uint8 RGB image shows each of C classes, by the tagger's opinion on every place.

        Raises:
            InvalidInput: If a class has no words.
            ModelUnavailable: If the weights are not installed.
        """
        if any(not words for words in phrases):
            raise InvalidInput("a class came without words; give each class at least one")
        votes = self.votes(phrases)
        scale = MAP_SIDE / max(image.shape[:2])
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        maps: NDArray[np.float32] = np.zeros((size[1], size[0], len(phrases)), dtype=np.float32)
        for side in LOOKS:
            local = beyond_chance(self._tagger.local_probabilities(image, side) @ votes, votes)
            planes = [np.ascontiguousarray(local[..., index]) for index in range(len(phrases))]
            maps += np.stack([cv2.resize(p, size, interpolation=cv2.INTER_LINEAR) for p in planes], axis=2)
        nearest: NDArray[np.float32] = self._similarity(WEARER.words, phrases).max(axis=0)[None]
        people = self._shares(nearest)
        heads: NDArray[np.float32] = np.zeros((0, 4), dtype=np.float32)
        if people.max(initial=0.0) > PEOPLE:
            heads = self._faces.find(image)
        return Evidence(
            maps / np.float32(len(LOOKS)), heads, np.repeat(people * np.float32(CERTAINTY), len(heads), axis=0)
        )

    def votes(self, phrases: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """How each of ImageNet's 1000 tags divides its vote among C classes: (1000, C) float32, row sums below 1."""
        words, concepts = self._concepts()
        flat = [word for group in phrases for word in group]
        # Similarity of each phrase to each concept: that of the concept's nearest word.
        by_word = words @ self._encoder.embed(flat).T
        by_concept = np.full((int(concepts[-1]) + 1, len(flat)), -1.0, dtype=np.float32)
        np.maximum.at(by_concept, concepts, by_word)
        starts = np.cumsum([0, *(len(group) for group in phrases)])[:-1]
        by_class = np.maximum.reduceat(by_concept, starts, axis=1)
        similarity = np.stack(
            [
                (by_class[list(steps)] * self._calibration.fading ** np.array(list(steps.values()))[:, None]).max(
                    axis=0
                )
                for steps in vocabulary().distances()
            ]
        )
        return self._shares(similarity)

    def _similarity(self, words: Sequence[str], phrases: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """(len(words), C): how near each word is to the nearest phrase of each class."""
        by_phrase = self._encoder.embed(list(words)) @ self._encoder.embed([p for group in phrases for p in group]).T
        starts = np.cumsum([0, *(len(group) for group in phrases)])[:-1]
        nearest: NDArray[np.float32] = np.maximum.reduceat(by_phrase, starts, axis=1)
        return nearest

    def _shares(self, similarity: NDArray[np.float32]) -> NDArray[np.float32]:
        """How words of these (n, C) similarities divide their votes among the classes and none of them."""
        settings = self._calibration
        weights = np.exp((similarity - settings.threshold) / settings.temperature)
        shares: NDArray[np.float32] = (weights / (1.0 + weights.sum(axis=1, keepdims=True))).astype(np.float32)
        return shares

    def _concepts(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Vectors of all words of all concepts, (W, d), and the concept that each belongs to, (W,) ascending."""
        with self._lock:
            if self._words is None:
                self._words = word_vectors(self._encoder), words_of_concepts()[1]
            return self._words
