"""How to train. Imports no PyTorch."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from maskwright.errors import InvalidInput
from maskwright.models.adapters.config import AdapterConfig


@dataclass(frozen=True)
class TrainingConfig:
    """How to train; None leaves a value to the family of the segmenter (see ``families``).

    Attributes:
        adapter: What is trained on top of the base.
        steps: Most steps.
        seconds: Most seconds, of one process: CPU seconds on a CPU, by the clock on a GPU. Without a limit, equal
            seeds give equal tensors on a CPU.
        rate: Peak learning rate.
        seed: Of everything random, 0 or more.
        cache_mib: Memory for the embeddings of images whose encoder is frozen; what does not fit is left out, by lot.
        checkpoint_every_s: Seconds between two checkpoints.
        gradient_checkpointing: Whether a trained encoder's activations are computed twice instead of kept.
        compile: Whether a trained encoder is compiled (CUDA only; worth it from some hundred steps on).
        language: Weight of the language guidance beside the losses of masks; 0 = none. It needs an adapter that
            changes the encoder, and ``train`` has to be told the classes' words.
    """

    adapter: AdapterConfig | None = None
    steps: int | None = None
    seconds: float | None = None
    rate: float | None = None
    seed: int = 0
    cache_mib: int = 2048
    checkpoint_every_s: float = 30.0
    gradient_checkpointing: bool = False
    compile: bool = False
    language: float = 0.0

    def __post_init__(self) -> None:
        if self.seed < 0 or (self.steps is not None and self.steps < 1) or self.cache_mib < 1:
            raise InvalidInput("training: seed is 0 or more, steps and cache_mib are 1 or more")
        if not 0 <= self.language < math.inf:
            raise InvalidInput(f"training: language is {self.language!r}; it is a number, 0 or more")
        for name in ("seconds", "rate", "checkpoint_every_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InvalidInput(f"training: {name} is {value!r}; it is a positive number")

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self) | {"adapter": None if self.adapter is None else self.adapter.to_json()}
