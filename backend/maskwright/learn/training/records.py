"""What training takes and gives. Imports no PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from maskwright.masks import Mask
from maskwright.models.adapters.config import AdapterConfig
from maskwright.models.protocols import RGB

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class TrainingObject:
    """An object that a person left on an image.

    Attributes:
        mask: Of the image's size, not empty.
        label: Its class, or None.
        changed: The pixels that the person changed of what was proposed; None if nothing was proposed.
    """

    mask: Mask
    label: str | None = None
    changed: Mask | None = None


@dataclass(frozen=True, eq=False)
class TrainingImage:
    """A corrected image.

    Attributes:
        key: SHA-256 of the image file, hex; equal keys are equal images.
        pixels: Reads the (H, W, 3) uint8 RGB pixels; is called when they are needed, and maybe again.
        objects: What is on it.
        negatives: Proposals that the person deleted, masks of the image's size.
        is_new: Whether no earlier round has learnt from it.
    """

    key: str
    pixels: Callable[[], RGB]
    objects: tuple[TrainingObject, ...]
    negatives: tuple[Mask, ...] = ()
    is_new: bool = True


@dataclass(frozen=True)
class TrainingProgress:
    """Where training is.

    Attributes:
        step: Steps done.
        steps: Of so many at most.
        epoch: Times that every training image has been seen, on the average, rounded down.
        loss: Moving average of the steps' losses.
        validation_iou: The latest, or None before the first or where there are too few images to spare any.
        seconds_left: An estimate, or None before the first step.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    validation_iou: float | None
    seconds_left: float | None


@dataclass(frozen=True, eq=False)
class Trained:
    """What was learnt.

    Attributes:
        tensors: The adapter's, on the CPU; ``models.adapters.files.write_adapter`` stores them.
        adapter: What they change.
        curve: ``{"step", "loss", "validation_iou"}`` at every look at the validation images, the first before the first
            step; the loss is None there, the IoU wherever no image is spared.
        seconds: Spent in all, runs before an interruption included.
        steps: Done in all.
    """

    tensors: dict[str, Tensor]
    adapter: AdapterConfig
    curve: list[dict[str, Any]]
    seconds: float
    steps: int
