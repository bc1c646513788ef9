"""What is trained, for how long and how fast, where nothing else was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from maskwright.learn.training.embedded import EmbeddedTrainable
from maskwright.learn.training.trainable import Trainable
from maskwright.models.adapters.config import AdapterConfig
from maskwright.models.adapters.targets import sites_of

FEW_OBJECTS = 200
"""With fewer corrected objects the encoders of the SAM families stay as they are."""
RANK = 8
_LATE = 1 / 3


@dataclass(frozen=True)
class Pace:
    """How long and how fast.

    Attributes:
        steps: Most steps, of one image each.
        rate: Peak learning rate.
    """

    steps: int
    rate: float


def default_adapter(trainable: Trainable, objects: int) -> AdapterConfig:
    """The adapter of a family: its decoder; with many objects also low-rank corrections of the encoder's late third.

    The latter on a GPU only: on a CPU every step would run a large encoder forth and back, for hours in all.
    """
    on_cpu = trainable.device.torch.type == "cpu"
    if isinstance(trainable, EmbeddedTrainable) or objects < FEW_OBJECTS or on_cpu:
        return AdapterConfig("decoder")
    blocks = 1 + max(site.block for site in sites_of(trainable.network, AdapterConfig("lora")))
    return AdapterConfig("both", rank=RANK, last_blocks=ceil(blocks * _LATE))


def default_pace(trainable: Trainable, adapter: AdapterConfig) -> Pace:
    """Steps and rate of a family."""
    if isinstance(trainable, EmbeddedTrainable):
        return Pace(120, 1.2e-3)
    return Pace(400, 2e-4) if adapter.has_corrections else Pace(400, 1e-4)
