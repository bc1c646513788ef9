"""A training run on disk: written beside, then renamed, so that a stopped run resumes from a whole file."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from maskwright.errors import InvalidInput


@dataclass(eq=False)
class TrainingState:
    """Everything that a run needs to go on as if it had not been stopped.

    Attributes:
        step: Steps done.
        network: Parameters.
        average: Their exponential moving average, which is what ships.
        optimizer: The optimizer's own state, or None for one that begins anew.
        identity: What the run is a function of, by name, but for how long it is; a run goes on only with the same.
    """

    step: int
    network: dict[str, Tensor]
    average: dict[str, Tensor]
    optimizer: dict[str, Any] | None
    identity: dict[str, str]

    def save(self, path: Path) -> None:
        """Write the state; a reader sees the old file or the new one, never half of it."""
        beside = path.with_name(f"{path.name}.{os.getpid()}.partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "step": self.step, "network": self.network, "average": self.average, "optimizer": self.optimizer,
            "identity": self.identity,
        }  # fmt: skip
        with beside.open("wb") as stream:
            torch.save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)

    @classmethod
    def load(cls, path: Path) -> TrainingState:
        """Read a state.

        Raises:
            InvalidInput: If the file is not one of ours or is damaged.
        """
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            return cls(
                int(content["step"]),
                content["network"],
                content["average"],
                content["optimizer"],
                dict(content["identity"]),
            )
        except (OSError, RuntimeError, KeyError, TypeError, ValueError, EOFError, pickle.UnpicklingError) as error:
            raise InvalidInput(f"{path}: not a checkpoint of train-base, or damaged") from error


def check_same(path: Path, before: dict[str, str], now: dict[str, str]) -> None:
    """Refuse to go on with a run under another recipe.

    Raises:
        InvalidInput: Naming the first thing that differs.
    """
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise InvalidInput(
                f"{path}: this run was begun with {name} {before.get(name)}, not {now.get(name)}; "
                "repeat the command that began it, or give another --out"
            )


class Average:
    """Exponential moving average of a network's parameters, with a short memory at first.

    Args:
        network: Whose parameters to follow.
        decay: Share of the old average that every update keeps in the long run.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self.tensors = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    def update(self, network: nn.Module, step: int) -> None:
        """Take the parameters after a step in."""
        keep = min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, tensor in network.state_dict().items():
                self.tensors[name].lerp_(tensor, 1 - keep)
