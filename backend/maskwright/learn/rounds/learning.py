"""A candidate from the images of a round: trained from what is served, written where the server finds it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import ModelUnavailable
from maskwright.labels import LabelSet
from maskwright.learn.settings import LearningSettings
from maskwright.learn.training.options import TrainingConfig
from maskwright.learn.training.records import TrainingImage, TrainingProgress
from maskwright.models.adapters.files import AdapterCard, write_adapter
from maskwright.models.registry import ModelRegistry
from maskwright.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Start:
    """What training goes on from.

    Attributes:
        adapter: Id of the served adapter.
        tensors: Of it.
    """

    adapter: str
    tensors: dict[str, Tensor]


def start_of(registry: ModelRegistry, base: str, adapter: str | None, learning: LearningSettings) -> Start | None:
    """The served adapter, if what is to be trained is what was trained then; else None.

    Raises:
        ModelUnavailable: If its file is missing, damaged or of another base; the message names it.
    """
    if adapter is None:
        return None
    summary, tensors = registry.adapters.read(adapter, base=registry.base_identity(base))
    asked = summary.card.metrics.get("asked", summary.card.config.to_json())
    return Start(adapter, tensors) if asked == learning.adapter else None


def learn_adapter(
    registry: ModelRegistry,
    base: str,
    images: Sequence[TrainingImage],
    learning: LearningSettings,
    *,
    labels: LabelSet,
    start: Start | None,
    parent: str | None,
    snapshot: str,
    checkpoint: Path,
    progress: Callable[[TrainingProgress], None],
    cancelled: Callable[[], bool],
) -> str:
    """Train an adapter and write it; what it cost and how it went stands on its card.

    Args:
        registry: Loads the base, and keeps adapters.
        base: URI of the base model.
        images: To learn from.
        learning: How.
        labels: The project's classes, whose words guide training where that was asked for.
        start: What to go on from, or None to begin at the base.
        parent: Id of the adapter that is served.
        snapshot: Digest of the corrections.
        checkpoint: File from which an interrupted training goes on.
        progress: See ``learn.training.train``.
        cancelled: Likewise.

    Returns:
        Id of the adapter.

    Raises:
        Cancelled: If ``cancelled`` says so.
        InvalidInput: If there is nothing to learn from, or the base cannot be trained so.
        ModelUnavailable: If the base cannot be loaded.
    """
    from maskwright.learn.training.train import train

    segmenter = registry.segmenter(base)
    # The words of a single class tell nothing apart.
    guidance = learning.language_guidance if len(labels) > 1 else 0.0
    config = TrainingConfig(
        adapter=learning.adapter_config,
        steps=learning.steps,
        seconds=learning.seconds,
        seed=learning.seed,
        language=guidance,
    )
    trained = train(
        segmenter,
        images,
        config,
        start=None if start is None else start.tensors,
        words=_words(labels) if config.language else None,
        checkpoint=checkpoint,
        progress=progress,
        cancelled=cancelled,
    )
    metrics = {
        "asked": learning.adapter,
        "steps": trained.steps,
        "seconds": trained.seconds,
        "curve": trained.curve,
    }
    card = AdapterCard(registry.base_identity(base), trained.adapter, segmenter.version, parent, snapshot, metrics)
    return write_adapter(registry.adapters.folder, trained.tensors, card)


def _words(labels: LabelSet) -> dict[str, NDArray[np.float32]]:
    """For every class the vectors of its words and descriptors."""
    from maskwright.models.sentences import SentenceEncoder

    encoder = SentenceEncoder()
    return {item.name: encoder.embed([*item.phrases, *item.descriptors]) for item in labels}


def training_report(registry: ModelRegistry, adapter: str) -> dict[str, Any] | None:
    """The report's ``training`` from the card of an adapter; None if its file is not there or unusable."""
    try:
        card = registry.adapters.summary(adapter).card
    except ModelUnavailable:
        return None
    told = {name: card.metrics.get(name) for name in ("steps", "seconds", "curve")}
    return {**told, "adapter": card.config.to_json()}


def learn_classes(
    settings: Settings,
    images: Sequence[TrainingImage],
    labels: LabelSet,
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
) -> str | None:
    """Fit a class head to the images and write it; ``progress`` and ``cancelled`` as for ``fit_class_head``.

    Returns:
        Its id; None where there is nothing to learn about classes.

    Raises:
        Cancelled: As soon as ``cancelled`` says so.
        ModelUnavailable: If the tagger's weights are not installed.
    """
    from maskwright.learn.class_training import fit_class_head
    from maskwright.models.class_heads import ClassHeadShelf
    from maskwright.models.region_classifier import TagRegionClassifier
    from maskwright.models.region_features import RegionFeatures
    from maskwright.models.sentences import SentenceEncoder
    from maskwright.models.tagger import ImageNetTagger

    if not len(labels):
        return None
    tagger = ImageNetTagger()
    classifier = TagRegionClassifier(tagger, SentenceEncoder())
    head = fit_class_head(images, labels, classifier, RegionFeatures(tagger), progress=progress, cancelled=cancelled)
    return None if head is None else ClassHeadShelf(settings.home / "classes").write(head)
