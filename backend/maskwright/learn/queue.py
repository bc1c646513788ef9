"""Which images of a project come next: looked at by what the project serves, measured, and put in order.

One room for everything that orders images, so that a simulated project is ordered exactly as a real one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from maskwright.learn.acquisition.cost import CostModel, Effort
from maskwright.learn.acquisition.looking import proposed_regions
from maskwright.learn.acquisition.ordering import normalise
from maskwright.models.families import ModelDescription
from maskwright.models.protocols import ImageEmbedding, Segmenter
from maskwright.regions import Region

QueueImage = Candidate
"""An image that waits: its key, and either what was measured on it or a way to look at it."""
BATCH = 20
"""Images that are chosen one after the other, unlike each other; those behind are ordered by themselves."""
ASKED = 6
"""Regions of an image that are asked about. Every one costs the default order some ten decodes: on one CPU core six of
the embedded model's take two seconds."""
SLACK = 0.05
"""By how much the score of an image far behind in the queue may lag behind what it should be."""
_DRAWING = ("hybrid", "bald")
"""Functions that a committee is drawn for where the family has one."""


def look_at(segmenter: Segmenter, embedding: ImageEmbedding, regions: Sequence[Region]) -> Look:
    """What the models in service see in an image.

    Args:
        segmenter: In service.
        embedding: Of the whole image, by it.
        regions: The pre-annotation, best first.
    """
    return Look(embedding, proposed_regions(segmenter, embedding, regions, ASKED), tuple(regions))


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


def joined(key: str, images: Sequence[QueueImage]) -> QueueImage:
    """What is known of several measured images that are labelled together.

    The most doubtful one counts, for one page is reason enough to open them; work adds up.

    Args:
        key: What the whole is known by.
        images: One or more.
    """
    if len(images) == 1:
        return replace(images[0], key=key)
    names = dict.fromkeys(name for image in images for name in image.signals)
    values = {name: [image.signals.get(name, np.nan) for image in images] for name in names}
    features = [image.feature for image in images if image.feature is not None]
    efforts = [image.effort for image in images if image.effort is not None]
    regions = [effort.regions for effort in efforts]
    weights = regions if sum(regions) else None
    return QueueImage(
        key,
        signals={name: float(np.nanmax(known)) for name, known in values.items() if not np.isnan(known).all()},
        feature=np.mean(features, axis=0) if features else None,
        effort=Effort(
            sum(regions),
            float(np.average([effort.predicted_iou for effort in efforts], weights=weights)),
            float(np.average([effort.size for effort in efforts], weights=weights)),
        )
        if efforts
        else None,
    )


def moved(stored: Mapping[str, float], wanted: Mapping[str, float], head: int) -> list[str]:
    """Keys whose stored score must be replaced, those that come first first.

    Afterwards the first ``head`` stand exactly where they should, and no other one is off by more than ``SLACK``. That
    writes little: when the first of a thousand is labelled, every score behind changes by a thousandth.

    Args:
        stored: Scores as a platform has them, in [0, 1].
        wanted: Scores as they should be; keys without a stored one are passed over.
        head: How many must stand exactly right.
    """
    order = sorted((key for key in wanted if key in stored), key=lambda key: (wanted[key], key))
    if not order:
        return []
    line = wanted[order[min(head, len(order)) - 1]]

    def is_off(key: str) -> bool:
        apart = abs(stored[key] - wanted[key])
        return apart > SLACK or (apart > 0 and min(stored[key], wanted[key]) <= line)

    return [key for key in order if is_off(key)]
