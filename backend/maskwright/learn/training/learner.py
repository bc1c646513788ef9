"""The adapter while it learns: its parameters, their moving average, the best of these, and the optimizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from maskwright.models.adapters.attaching import trained_parameters

AVERAGED = 0.98
"""Share of the old average that every step keeps in the long run."""
TOWARDS_BASE = 1e-4
"""Weight of the squared distance to the base's own values (L2-SP, Li et al. 2018)."""
LONGEST_GRADIENT = 1.0
HELPER_PACE = 10.0
"""Learning rate of a helper over that of the adapter: it starts from nothing."""
WARM_UP = 10
"""Steps until the rate is at its peak; it then falls to zero in a straight line."""


class Learner:
    """What ``attach`` made, under an optimizer.

    Args:
        network: The adapted copy.
        base: What it is a copy of.
        rate: Peak learning rate.
        helper: What is trained with it and then left behind.
    """

    def __init__(self, network: nn.Module, base: nn.Module, rate: float, helper: nn.Module | None = None) -> None:
        self.parameters = trained_parameters(network)
        helping = {} if helper is None else dict(helper.named_parameters(prefix="helper"))
        self._everything = self.parameters | helping
        self._helping = list(helping.values())
        held = dict(base.named_parameters())
        self._anchors = {name: held[name].detach() for name in self.parameters if name in held}
        self._rate = rate
        fused = next(iter(self.parameters.values())).is_cuda
        groups = [{"params": list(self.parameters.values()), "pace": 1.0}]
        if helping:
            groups.append({"params": self._helping, "pace": HELPER_PACE})
        self._optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99), weight_decay=0.0, fused=fused)
        self._average = self._copies()
        self.best = self._copies()

    def update(self, step: int, done: float) -> None:
        """Take one step along the gradients that were collected, and forget them.

        Args:
            step: Steps before this one.
            done: Share of the run before this step.
        """
        for name, anchor in self._anchors.items():
            parameter = self.parameters[name]
            if parameter.grad is not None:
                parameter.grad.add_(parameter.detach() - anchor, alpha=2 * TOWARDS_BASE)
        nn.utils.clip_grad_norm_(self.parameters.values(), LONGEST_GRADIENT)
        if self._helping:
            nn.utils.clip_grad_norm_(self._helping, LONGEST_GRADIENT)
        for group in self._optimizer.param_groups:
            group["lr"] = group["pace"] * self._rate * min(1.0, (step + 1) / WARM_UP) * (1 - done)
        self._optimizer.step()
        self._optimizer.zero_grad()
        kept = min(AVERAGED, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                self._average[name].lerp_(parameter, 1 - kept)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The network with the averages in place of what is being trained."""
        own = self._copies()
        self._put(self._average)
        try:
            yield
        finally:
            self._put(own)

    def keep(self) -> None:
        """Remember the averages: what training comes to if it ends here."""
        self.best = {name: tensor.clone() for name, tensor in self._average.items()}

    def tensors(self) -> dict[str, Tensor]:
        """All that is needed to go on."""
        held = {f"average/{name}": tensor for name, tensor in self._average.items()}
        held |= {f"best/{name}": tensor for name, tensor in self.best.items()}
        for name, parameter in self._everything.items():
            held[f"parameter/{name}"] = parameter
            for key, value in self._optimizer.state[parameter].items():
                held[f"{key}/{name}"] = value
        return held

    def restore(self, held: Mapping[str, Tensor]) -> None:
        """Go on with what ``tensors`` gave; it is trusted to be of this adapter."""
        device = next(iter(self.parameters.values())).device
        parts: dict[str, dict[str, Tensor]] = {}
        for path, tensor in held.items():
            part, _, name = path.partition("/")
            parts.setdefault(part, {})[name] = tensor
        values = parts.pop("parameter")
        with torch.no_grad():
            for name, parameter in self._everything.items():
                parameter.copy_(values[name])
        self._average = {name: tensor.to(device) for name, tensor in parts.pop("average").items()}
        self.best = {name: tensor.to(device) for name, tensor in parts.pop("best").items()}
        state = {
            index: {key: tensors[name] for key, tensors in parts.items() if name in tensors}
            for index, name in enumerate(self._everything)
        }
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": {k: v for k, v in state.items() if v}, "param_groups": groups})

    def _copies(self) -> dict[str, Tensor]:
        return {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    def _put(self, values: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(values[name])
