"""Phrases to unit vectors: each is put into sentences, and the directions of the sentences are averaged.

The 80 sentences are those with which CLIP names ImageNet's classes (Radford et al., ICML 2021).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from maskwright.errors import InvalidInput

Vectors = NDArray[np.float32]

_KEPT = 4096
"""Phrases whose vectors are kept: a project asks for the same classes with every image."""
_TEXTS_AT_ONCE = 128

_MEDIA = (
    "a photo of", "a bad photo of", "a good photo of", "a low resolution photo of", "a cropped photo of",
    "a bright photo of", "a dark photo of", "a close-up photo of", "a black and white photo of",
    "a pixelated photo of", "a jpeg corrupted photo of", "a blurry photo of", "a sculpture of", "a rendering of",
    "a rendition of", "graffiti of", "a tattoo of", "a drawing of", "a painting of", "a doodle of", "a sketch of",
    "art of", "itap of",
)  # fmt: skip
_LOOKS = ("hard to see", "clean", "dirty", "cool", "nice", "weird", "small", "large")
_MADE_OF = ("embroidered", "plastic", "origami", "toy", "cartoon", "plushie")

PHOTO = ("a photo of a {}.",)
IMAGENET_TEMPLATES = (
    *(f"{medium} {article} {{}}." for medium in _MEDIA for article in ("a", "the")),
    *(f"a photo of {article} {look} {{}}." for look in _LOOKS for article in ("a", "the")),
    *(f"{article} {made_of} {{}}." for made_of in _MADE_OF for article in ("a", "the")),
    "a {} in a video game.", "the {} in a video game.",
    "a photo of many {}.", "a photo of my {}.", "a photo of one {}.", "itap of my {}.",
)  # fmt: skip
"""80 sentences with a gap for the class."""


class PhraseVectors:
    """Vectors of phrases, kept once they are known. Thread-safe.

    Args:
        tokenize: Sentences to what ``encode`` takes. Called by one thread at a time: tokenizers keep settings.
        encode: That to (n, d) vectors of any length.
        templates: Sentences with a gap, ``{}``.
    """

    def __init__(
        self,
        tokenize: Callable[[list[str]], Any],
        encode: Callable[[Any], torch.Tensor],
        templates: Sequence[str] = PHOTO,
    ) -> None:
        self._tokenize = tokenize
        self._encode = encode
        self._templates = tuple(templates)
        self._lock = threading.Lock()
        self._vector = lru_cache(_KEPT)(self._vector_of)

    def __call__(self, phrases: Sequence[str]) -> Vectors:
        """(n, d) float32, rows of length 1.

        Raises:
            InvalidInput: If there is no phrase.
        """
        if not phrases:
            raise InvalidInput("no phrase was given; name at least one class")
        return np.stack([self._vector(" ".join(phrase.split())) for phrase in phrases])

    def _vector_of(self, phrase: str) -> Vectors:
        sentences = [template.replace("{}", phrase) for template in self._templates]
        directions = []
        for start in range(0, len(sentences), _TEXTS_AT_ONCE):
            with self._lock:
                tokens = self._tokenize(sentences[start : start + _TEXTS_AT_ONCE])
            directions.append(torch.nn.functional.normalize(self._encode(tokens).float(), dim=-1))
        mean = torch.nn.functional.normalize(torch.cat(directions).mean(dim=0), dim=-1)
        vector: Vectors = mean.cpu().numpy()
        vector.setflags(write=False)
        return vector
