"""Train an adapter of any family on corrections."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from maskwright.learn.training.options import TrainingConfig
from maskwright.learn.training.records import Trained, TrainingImage, TrainingProgress
from maskwright.models.protocols import Segmenter


def train(
    segmenter: Segmenter,
    images: Sequence[TrainingImage],
    config: TrainingConfig = TrainingConfig(),
    *,
    start: Mapping[str, Tensor] | None = None,
    checkpoint: Path | None = None,
    progress: Callable[[TrainingProgress], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train an adapter."""
    raise NotImplementedError
