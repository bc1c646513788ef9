"""Measured tasks as the store keeps them, and back.

Beside the effort a row keeps under which conditions it holds: a signal that says nothing of an image is not stored, so
the names of all that were measured are; a vector is comparable only with those of its encoder; and a stored prediction
shows what the project's mode showed then. One that a language model gave no answer for is made again, ever later as
long as that fails.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from maskwright.learn.acquisition.cost import Effort
from maskwright.learn.queue import Queue, QueueImage
from maskwright.store.priorities import Priority

DEGRADED_REST_S = 600.0
"""After so long a prediction is made again that a language model gave no answer for; after twice as long the next time,
and so on."""
_MOST_DOUBLINGS = 7
_ASKED, _ENCODER, _SHOWN, _TRIES, _AGAIN = "signals", "encoder", "shown", "degraded", "again_at"


@dataclass(frozen=True)
class Rows:
    """Reads and writes rows under one version of the models.

    Attributes:
        version: The model version in service.
        encoder: Its embedding version.
        shown: What the project's mode shows, see ``Mode.signature``.
    """

    version: str
    encoder: str
    shown: str

    def measured(self, number: int, image: QueueImage, queue: Queue, before: Priority | None) -> Priority:
        """The row of a task that was measured now; without a score, since Label Studio has none yet."""
        lasting = (_SHOWN, _TRIES)
        kept = {} if before is None else {key: value for key, value in _about(before).items() if key in lasting}
        about = {**asdict(image.effort or Effort(0)), _ASKED: list(queue.signals), _ENCODER: self.encoder}
        same_version = before is not None and before.model_version == self.version
        return Priority(
            number,
            None,
            dict(image.signals),
            None if image.feature is None else np.asarray(image.feature, dtype=np.float32),
            about | (kept if same_version else {}),
            self.version,
        )

    def stored(self, row: Priority, score: float, *, degraded: bool = False) -> Priority:
        """The row of a task whose prediction is stored with that score, and shows what is shown now.

        Args:
            row: The task's.
            score: The prediction's.
            degraded: Whether a language model gave no answer for it.
        """
        about = {**_about(row), _SHOWN: self.shown}
        tries = int(about.pop(_TRIES, 0))
        about.pop(_AGAIN, None)
        if degraded:
            about |= {_TRIES: tries + 1, _AGAIN: time.time() + DEGRADED_REST_S * 2 ** min(tries, _MOST_DOUBLINGS)}
        return replace(row, score=score, effort=about)

    def again_at(self, row: Priority | None) -> float:
        """When a stored prediction is to be made again, as ``time.time``; infinite where it is as it should be."""
        if row is None or row.model_version != self.version:
            return math.inf
        return float(_about(row).get(_AGAIN, math.inf))

    def is_stored(self, row: Priority | None) -> bool:
        """Whether Label Studio has this version's prediction of a task, as it should be but for its score."""
        if row is None or row.model_version != self.version or row.score is None:
            return False
        return _about(row).get(_SHOWN) == self.shown and self.again_at(row) > time.time()

    def shows_other(self, row: Priority | None) -> bool:
        """Whether this version's prediction of a task, if there is one, may show other regions than it should."""
        if row is None or row.model_version != self.version or _SHOWN not in _about(row):
            return self.shown != ""  # made for whoever opened the task, under a mode that is not known
        return bool(_about(row)[_SHOWN] != self.shown)

    def image(self, row: Priority) -> QueueImage:
        """What a row tells now: under another version, what the image shows; with another encoder, nothing."""
        key, about = str(row.task_number), dict(_about(row))
        feature = None
        if row.feature is not None and about.get(_ENCODER) == self.encoder:
            feature = np.asarray(row.feature, dtype=np.float32)
        if row.model_version != self.version or _ASKED not in about:
            return QueueImage(key, feature=feature)
        unsaid = dict.fromkeys(about[_ASKED], float("nan"))
        effort = Effort(*(about[name] for name in ("regions", "predicted_iou", "size")))
        return QueueImage(key, signals=unsaid | row.signals, feature=feature, effort=effort)

    def is_measured(self, row: Priority | None, queue: Queue) -> bool:
        """Whether a row holds all that the order needs of its task."""
        if row is None:
            return False
        image = self.image(row)
        return image.feature is not None and image.effort is not None and set(queue.signals) <= image.signals.keys()


def was_degraded(row: Priority) -> bool:
    """Whether the prediction that is stored is one that a language model gave no answer for."""
    return _TRIES in _about(row)


def _about(row: Priority) -> Mapping[str, Any]:
    return row.effort or {}
