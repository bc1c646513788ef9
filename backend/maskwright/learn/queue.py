"""Which images of a project come next: looked at by what the project serves, measured, and put in order.

One room for everything that orders images, so that a simulated project is ordered exactly as a real one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from maskwright.learn.acquisition.bald import StochasticDecoder
from maskwright.learn.acquisition.calibration import Calibration
from maskwright.learn.acquisition.candidates import (
    AcquisitionFunction,
    Candidate,
    Context,
    Look,
    measure,
    no_features,
)
from maskwright.learn.acquisition.catalogue import DEFAULT, Tools, acquisition_function, needed_signals
from maskwright.learn.acquisition.coreset import pooled
from maskwright.learn.acquisition.cost import CostModel
from maskwright.learn.acquisition.looking import proposed_regions
from maskwright.learn.acquisition.ordering import normalise
from maskwright.models.families import ModelDescription
from maskwright.models.protocols import ImageEmbedding, Segmenter
from maskwright.regions import Region

QueueImage = Candidate
"""An image that waits: its key, and either what was measured on it or a way to look at it."""
BATCH = 20
"""Images that are chosen one after the other, unlike each other; those behind are ordered by themselves."""
_DRAWING = ("hybrid", "bald")
"""Functions that a committee is drawn for where the family has one."""


def look_at(segmenter: Segmenter, embedding: ImageEmbedding, regions: Sequence[Region]) -> Look:
    """What the models in service see in an image.

    Args:
        segmenter: In service.
        embedding: Of the whole image, by it.
        regions: The pre-annotation, best first.
    """
    return Look(embedding, proposed_regions(segmenter, embedding, regions), tuple(regions))


@dataclass(frozen=True, eq=False)
class Queue:
    """How a project is ordered under one version of its models.

    Attributes:
        segmenter: In service.
        acquisition: Name of the function, see ``catalogue.NAMES``.
        classes: How many classes the project has.
        context: Labelled images, calibration and cost of the project.
    """

    segmenter: Segmenter
    acquisition: str = DEFAULT
    classes: int = 1
    context: Context = field(default_factory=lambda: Context(batch=BATCH))

    @cached_property
    def function(self) -> AcquisitionFunction:
        """What orders.

        Raises:
            InvalidInput: If there is no function of that name, or the segmenter cannot serve it.
        """
        draws = self.acquisition in _DRAWING
        decoder = stochastic_decoder(self.segmenter, self.context.seed) if draws else None
        return acquisition_function(self.acquisition, Tools(self.segmenter, decoder, self.classes))

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of what must be measured on every image."""
        return tuple(signal.name for signal in needed_signals(self.function))

    def measured(self, image: QueueImage) -> QueueImage:
        """The image with everything that ordering needs; looked at only where something is missing.

        Raises:
            InvalidInput: If something is missing and it cannot be looked at.
        """
        return measure(image, needed_signals(self.function), self.context, pooled)

    def order(self, images: Sequence[QueueImage]) -> list[tuple[str, float]]:
        """(key, score) of measured images, the next first; scores as ``ordering.normalise`` makes them.

        Raises:
            InvalidInput: If an image was not measured, or two have one key.
        """
        worth = self.function.score(images, self.context)
        scores = normalise({image.key: float(value) for image, value in zip(images, worth, strict=True)})
        return sorted(scores.items(), key=lambda item: item[1])


def priorities(
    images: Sequence[QueueImage],
    *,
    function: str = DEFAULT,
    segmenter: Segmenter,
    classes: int = 1,
    labelled: NDArray[np.floating] | None = None,
    seed: int = 0,
    batch: int = BATCH,
    calibration: Calibration | None = None,
    cost: CostModel | None = None,
) -> list[tuple[str, float]]:
    """Measure what is missing and order: (key, score) of every image, the next first, scores rising from 0 to 1.

    Args:
        images: Those that wait for a person.
        function: Name of the acquisition function.
        segmenter: In service.
        classes: How many classes the project has.
        labelled: (m, d) vectors of the images that are labelled already, as ``Candidate.feature``; None = none.
        seed: Of everything random, 0 or more.
        batch: Images that will be labelled before the order is made anew.
        calibration: From predicted to expected IoU, as learnt; None = none.
        cost: Of labelling, as learnt; None = what is believed before.

    Raises:
        InvalidInput: If the function is unknown or the segmenter cannot serve it, or an image can be neither looked
            at nor ordered by what is known of it.
    """
    context = Context(
        seed=seed,
        batch=batch,
        labelled=no_features() if labelled is None else labelled,
        calibration=Calibration() if calibration is None else calibration,
        cost=CostModel() if cost is None else cost,
    )
    queue = Queue(segmenter, function, classes, context)
    return queue.order([queue.measured(image) for image in images])


def stochastic_decoder(segmenter: Segmenter, seed: int = 0) -> StochasticDecoder | None:
    """A committee drawn from a segmenter whose decoder can be thinned out; None for other families.

    An adapter in it is part of its network, so the committee is that of the version in service.
    """
    from maskwright.models.embedded.segmenter import EmbeddedSegmenter

    if not isinstance(segmenter, EmbeddedSegmenter):
        return None
    from maskwright.learn.acquisition.committee import dropout_committee
    from maskwright.models.device import ComputeDevice

    described = ModelDescription(
        segmenter.name, segmenter.version, segmenter.embedding_version, segmenter.embedding_nbytes
    )
    where = str(next(segmenter.network.parameters()).device)
    return dropout_committee(segmenter.network, described, ComputeDevice(where, "float32"), seed=seed)
