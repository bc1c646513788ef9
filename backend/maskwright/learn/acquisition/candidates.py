"""Images that could be labelled next, what is measured on them, and the protocol of everything that orders them."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.learn.acquisition.calibration import Calibration
from maskwright.learn.acquisition.cost import CostModel, Effort
from maskwright.models.protocols import ImageEmbedding
from maskwright.prompts import Prompt
from maskwright.regions import Region

Scores = NDArray[np.float64]
"""(n,) float64, one number per candidate: the higher, the more worth labelling; NaN where nothing is known."""


@dataclass(frozen=True, eq=False)
class ProposedRegion:
    """The answer of the segmenter in service to one prompt.

    Attributes:
        prompt: What was asked, in absolute pixels of the image.
        logits: (h, w) float32 low-resolution logits of the answer, without the encoder's padding.
        predicted_iou: The segmenter's own estimate of the answer's IoU.
    """

    prompt: Prompt
    logits: NDArray[np.float32]
    predicted_iou: float


@dataclass(frozen=True, eq=False)
class Look:
    """What the models in service see in an image.

    Attributes:
        embedding: By the segmenter in service.
        proposals: Its answers; empty where it proposes nothing.
        regions: The pre-annotation, with scores of the classes where a classifier was asked.
        mirrored: The embedding of the image mirrored left to right, or None where it was not made.
    """

    embedding: ImageEmbedding
    proposals: tuple[ProposedRegion, ...] = ()
    regions: tuple[Region, ...] = ()
    mirrored: ImageEmbedding | None = None


@dataclass(frozen=True, eq=False)
class Candidate:
    """An image that could be labelled next.

    Attributes:
        key: What it is known by, unique among the candidates; ties are broken by it.
        look: Looks at the image, which may encode it; None where everything needed was measured before. It is called
            once per measurement and its result is not kept: ten thousand embeddings fit into no memory.
        signals: What was measured on it, by the name of the signal; NaN where nothing could be.
        feature: (d,) vector that says what the image shows (see ``coreset.pooled``), or None.
        effort: What the cost of labelling it is estimated from, or None.
    """

    key: str
    look: Callable[[], Look] | None = None
    signals: Mapping[str, float] = field(default_factory=dict)
    feature: NDArray[np.floating] | None = None
    effort: Effort | None = None

    def seen(self) -> Look:
        """What the models see in the image.

        Raises:
            InvalidInput: If the candidate came without a way to look at it.
        """
        if self.look is None:
            raise InvalidInput(f"image {self.key}: nothing is measured on it yet and it cannot be looked at")
        return self.look()


def no_features() -> NDArray[np.float32]:
    """(0, 0) float32: no images."""
    return np.zeros((0, 0), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Context:
    """What is known of the project.

    Attributes:
        seed: Of everything random, 0 or more.
        batch: Images that will be labelled before the order is made anew; functions that choose batches look as far.
        labelled: (m, d) vectors of the images that are labelled already, as ``Candidate.feature``.
        calibration: From predicted to expected IoU, learnt from corrections.
        cost: Estimates seconds of labour, learnt from lead times.
    """

    seed: int = 0
    batch: int = 10
    labelled: NDArray[np.floating] = field(default_factory=no_features)
    calibration: Calibration = field(default_factory=Calibration)
    cost: CostModel = field(default_factory=CostModel)

    def __post_init__(self) -> None:
        if self.seed < 0 or self.batch < 1:
            raise InvalidInput(f"acquisition: seed {self.seed} must be 0 or more, batch {self.batch} 1 or more")

    def generator(self, key: str) -> np.random.Generator:
        """Random numbers of one image: the same whatever other images there are and in whatever order they come."""
        digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
        return np.random.default_rng([self.seed, int.from_bytes(digest, "little")])


@runtime_checkable
class AcquisitionFunction(Protocol):
    """Orders images by what labelling them is worth.

    Attributes:
        name: What a project chooses it by.
    """

    name: str

    def score(self, candidates: Sequence[Candidate], context: Context) -> Scores:
        """(n,) float64, higher = more worth labelling; NaN where nothing is known.

        Equal seeds give equal numbers; the order of the candidates changes nothing.

        Raises:
            InvalidInput: If a candidate lacks what the function needs, or two have the same key.
        """
        ...


class Signal(ABC):
    """An acquisition function that judges every image by itself, so that its numbers can be stored.

    Attributes:
        name: Also the key in ``Candidate.signals``.
    """

    name: str

    @abstractmethod
    def measure(self, key: str, look: Look, context: Context) -> float:
        """The image's number, higher = more worth labelling; NaN where nothing can be said."""

    def score(self, candidates: Sequence[Candidate], context: Context) -> Scores:
        """See ``AcquisitionFunction``; images without a stored number are looked at."""
        found = [
            candidate.signals[self.name]
            if self.name in candidate.signals
            else self.measure(candidate.key, candidate.seen(), context)
            for candidate in candidates
        ]
        return np.array(found, dtype=np.float64)


def measure(
    candidate: Candidate,
    signals: Sequence[Signal],
    context: Context,
    feature: Callable[[ImageEmbedding], NDArray[np.floating]],
) -> Candidate:
    """Look at an image once and measure all that is still missing.

    Args:
        candidate: Measured again only where a signal, the vector or the effort is missing.
        signals: What to measure.
        context: Of the project.
        feature: Makes the vector, usually ``coreset.pooled``.

    Returns:
        The candidate with its numbers and without the way to look at it, ready to be stored.
    """
    missing = [signal for signal in signals if signal.name not in candidate.signals]
    if not missing and candidate.feature is not None and candidate.effort is not None:
        return replace(candidate, look=None)
    look = candidate.seen()
    measured = {signal.name: signal.measure(candidate.key, look, context) for signal in missing}
    return replace(
        candidate,
        look=None,
        signals={**candidate.signals, **measured},
        feature=feature(look.embedding) if candidate.feature is None else candidate.feature,
        effort=effort_of(look) if candidate.effort is None else candidate.effort,
    )


def effort_of(look: Look) -> Effort:
    """What labelling an image is estimated from: its pre-annotation, else what the segmenter proposes."""
    expected = np.array([item.predicted_iou for item in look.proposals])
    height, width = look.embedding.original_size
    if look.regions:
        areas = np.array([region.mask.area for region in look.regions]) / (height * width)
    else:
        areas = np.array([(item.logits > 0).mean() for item in look.proposals])
    if not len(expected):
        expected = np.array([region.score for region in look.regions])
    if not len(areas):
        return Effort(0)
    return Effort(len(areas), float(np.clip(expected.mean(), 0, 1)), float(np.sqrt(areas).mean()))
