"""Measured tasks as the store keeps them, and back."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from maskwright.learn.acquisition.cost import Effort
from maskwright.learn.queue import Queue, QueueImage
from maskwright.store.priorities import Priority

_ASKED = "signals"
"""Beside the effort: names of what was measured, for a signal that says nothing of an image is not stored."""


def row_of(number: int, image: QueueImage, version: str, queue: Queue) -> Priority:
    """The row of a task that was measured under this version; without a score, since Label Studio has none yet."""
    effort = image.effort or Effort(0)
    return Priority(
        number,
        None,
        dict(image.signals),
        None if image.feature is None else [float(value) for value in image.feature],
        {**asdict(effort), _ASKED: list(queue.signals)},
        version,
    )


def image_of(row: Priority, version: str) -> QueueImage:
    """What a row tells under this version: of another one's, what the image shows."""
    feature = None if row.feature is None else np.asarray(row.feature, dtype=np.float32)
    if row.model_version != version or row.effort is None:
        return QueueImage(str(row.task_number), feature=feature)
    effort = dict(row.effort)
    unsaid = dict.fromkeys(effort.pop(_ASKED, ()), float("nan"))
    return QueueImage(str(row.task_number), signals=unsaid | row.signals, feature=feature, effort=Effort(**effort))


def is_measured(row: Priority, queue: Queue, version: str) -> bool:
    """Whether a row holds all that the order needs of its task under this version."""
    image = image_of(row, version)
    return image.feature is not None and image.effort is not None and set(queue.signals) <= image.signals.keys()
