"""Tagging by CLIP or SigLIP over a vocabulary of plain words, each with a threshold of its own.

SigLIP judges each pair of image and text alone: ``sigmoid(scale cos + bias)``. CLIP was trained to choose, so a word
is set against sentences that say nothing of the image, in a softmax of two: ``sigmoid(scale (cos - cos(neutral)))``.
Large images are cut into tiles; a word's probability is the highest of any tile, so the tags are the union over tiles.
"""

from __future__ import annotations

import io
import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import blake2b
from importlib import resources
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.models.checkpoints import Checkpoint
from maskwright.models.describers.image_text import TEMPLATES, ImageTextModel
from maskwright.models.describers.tiles import tiles
from maskwright.models.device import ComputeDevice
from maskwright.models.protocols import RGB, Tag
from maskwright.models.stages import StageDescription
from maskwright.store.artifacts import write_atomically

_log = logging.getLogger(__name__)

NEUTRAL = ("a photo.", "a picture.", "an image.")
"""Sentences that fit every image."""
CLIP_THRESHOLD, SIGLIP_THRESHOLD = 0.9, 0.02
"""Starting values of ours, not measured on published weights; corrections teach better ones per word.

SigLIP's bias was learnt among thousands of wrong texts for a right one, so its probabilities are small.
"""
MOST_ADDED = 1000
"""Words that a tagger is told of at most, the first ones: anybody may name some, and each is read in many sentences."""
_KEPT = 8
"""Sets of words whose taggers are kept: those of the projects that are worked on."""
_NO_THRESHOLDS: Mapping[str, float] = MappingProxyType({})


@cache
def common_words() -> tuple[str, ...]:
    """The package's vocabulary: everyday words for things, stuff and scenes (``data/tag_words.txt``), in its order."""
    text = resources.files("maskwright.models").joinpath("data/tag_words.txt").read_text("utf-8")
    lines = (line.partition("#")[0] for line in text.splitlines())
    return tuple(dict.fromkeys(word.strip() for line in lines for word in line.split(",") if word.strip()))


class VocabularyTagger:
    """Images to the words of a vocabulary. The words' vectors are computed with the first image, once.

    Args:
        model: CLIP or SigLIP.
        description: Name and version.
        words: The vocabulary.
        thresholds: Probability that a word has to exceed, for words whose threshold is not the default one.
        threshold: The default one.

    Raises:
        InvalidInput: If a threshold is outside [0, 1] or for no word of the vocabulary.
    """

    def __init__(
        self,
        model: ImageTextModel,
        description: StageDescription,
        words: Sequence[str],
        thresholds: Mapping[str, float] = _NO_THRESHOLDS,
        *,
        threshold: float,
    ) -> None:
        self.name, self.version = description.name, description.version
        self.words = tuple(dict.fromkeys(words))
        unknown = sorted(thresholds.keys() - set(self.words))
        if unknown:
            raise InvalidInput(f"a threshold for {unknown[0]!r}, which is no word of the vocabulary")
        self.thresholds = np.array([thresholds.get(word, threshold) for word in self.words], dtype=np.float32)
        if not bool(((self.thresholds >= 0) & (self.thresholds <= 1)).all()):
            raise InvalidInput("a tag's threshold lies between 0 and 1")
        self._model, self._threshold, self._own = model, threshold, dict(thresholds)
        self._lock = threading.Lock()
        self._vectors: NDArray[np.float32] | None = None
        self._folder: Path | None = None
        self._adding = threading.Lock()
        self._knowing: OrderedDict[tuple[str, ...], VocabularyTagger] = OrderedDict()
        asked = repr((description.version, self.words, TEMPLATES, NEUTRAL))
        self._content = blake2b(asked.encode(), digest_size=16).hexdigest()

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Every word that it can give."""
        return self.words

    def extended(self, words: Sequence[str] = (), thresholds: Mapping[str, float] = _NO_THRESHOLDS) -> VocabularyTagger:
        """A tagger on the same model that knows more words (a project's labels, say) or other thresholds.

        Its version says so. Vectors that are known already are not computed again.

        Raises:
            InvalidInput: If a threshold is outside [0, 1] or for no word of the vocabulary.
        """
        vocabulary = tuple(dict.fromkeys([*self.words, *words]))
        own = {**self._own, **thresholds}
        content = repr((vocabulary[len(self.words) :], sorted(own.items()), self.version))
        digest = blake2b(content.encode(), digest_size=4).hexdigest()
        made = VocabularyTagger(
            self._model,
            StageDescription(self.name, f"{self.version}-{digest}"),
            vocabulary,
            own,
            threshold=self._threshold,
        )
        known, added = self._text_vectors(), self._model.phrases(vocabulary[len(self.words) :])
        made._vectors = np.concatenate([known[:-1], added, known[-1:]])
        return made

    def knowing(self, words: Sequence[str]) -> VocabularyTagger:
        """A tagger that knows a project's words too, whose vectors are computed once; safe under threads.

        Words that differ from those of the vocabulary by capitals only are not added. The taggers of the last few sets
        of words are kept.
        """
        known = {word.casefold() for word in self.words}
        added = tuple(word for word in dict.fromkeys(words) if word.casefold() not in known)[:MOST_ADDED]
        if not added:
            return self
        with self._adding:  # who asks for the same words waits for them
            made = self._knowing.pop(added, None) or self.extended(added)
            self._knowing[added] = made
            while len(self._knowing) > _KEPT:
                self._knowing.popitem(last=False)
            return made

    def probabilities(self, image: RGB) -> NDArray[np.float32]:
        """(words,) float32: the highest probability that any tile of an (H, W, 3) uint8 RGB image gives each word.

        Raises:
            InvalidInput: If the image has another form or holds no pixel.
        """
        vectors = self._text_vectors()
        cosines = self._model.images(tiles(image)) @ vectors.T
        base = 0.0 if self._model.is_sigmoid else cosines[:, -1:]
        logits = self._model.scale * (cosines[:, :-1] - base) + self._model.bias
        highest: NDArray[np.float32] = logits.max(axis=0).astype(np.float64)
        with np.errstate(over="ignore"):
            return (1 / (1 + np.exp(-highest))).astype(np.float32)

    def tags(self, images: Sequence[RGB], *, top: int = 10) -> list[list[Tag]]:
        """Of each image the words above their thresholds, at most ``top``, most probable first.

        Raises:
            InvalidInput: If an image is not (H, W, 3) uint8 or holds no pixel.
        """
        found = []
        for image in images:
            row = self.probabilities(image)
            order = [int(i) for i in np.argsort(-row, kind="stable") if row[i] > self.thresholds[i]]
            found.append([Tag(self.words[i], float(row[i])) for i in order[:top]])
        return found

    def keep_vectors(self, folder: Path) -> None:
        """Keep the words' vectors in a folder, and take them from there: on a processor they take minutes to compute.

        Args:
            folder: Made with the first vectors. A file is named by all that its vectors depend on.
        """
        self._folder = folder

    def _text_vectors(self) -> NDArray[np.float32]:
        """(words + 1, d): the vocabulary's vectors and, last, the neutral one."""
        with self._lock:
            if self._vectors is None:
                path = self._folder / f"{self._content}.npy" if self._folder else None
                self._vectors = _read(path, len(self.words) + 1)
                if self._vectors is None:
                    neutral = self._model.phrases([""], NEUTRAL)
                    self._vectors = np.concatenate([self._model.phrases(self.words), neutral])
                    _write(path, self._vectors)
            return self._vectors


def _read(path: Path | None, rows: int) -> NDArray[np.float32] | None:
    """The vectors in a file, or None where there are none or other ones."""
    try:
        found = np.load(path, allow_pickle=False) if path else None
    except (OSError, ValueError, EOFError):
        return None
    if found is None or found.dtype != np.float32 or found.ndim != 2 or len(found) != rows:
        return None
    return found if np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-3) else None


def _write(path: Path | None, vectors: NDArray[np.float32]) -> None:
    if path is None:
        return
    buffer = io.BytesIO()
    np.save(buffer, vectors, allow_pickle=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, buffer.getvalue())
    except (InvalidInput, OSError) as error:
        _log.warning("vectors of a tagger's words are not kept: %s", error)


def load_clip_tagger(checkpoint: Checkpoint, description: StageDescription, device: ComputeDevice) -> VocabularyTagger:
    """CLIP or MetaCLIP 2 over the package's vocabulary."""
    return VocabularyTagger(ImageTextModel(checkpoint, device), description, common_words(), threshold=CLIP_THRESHOLD)


def load_siglip_tagger(
    checkpoint: Checkpoint, description: StageDescription, device: ComputeDevice
) -> VocabularyTagger:
    """SigLIP or SigLIP 2 over the package's vocabulary."""
    return VocabularyTagger(ImageTextModel(checkpoint, device), description, common_words(), threshold=SIGLIP_THRESHOLD)
