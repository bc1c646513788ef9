"""Small trained weights on top of the frozen network: low-rank corrections of the attention, or a decoder of its own.

An adapter is a set of named tensors. ``NAME.down`` (rank, in) and ``NAME.up`` (out, rank) add ``up @ down`` to the
weight of the linear layer NAME (LoRA, Hu et al. 2021); any other name replaces the parameter of that name. The base
stays pristine: ``adapted`` works on a copy that shares every tensor it does not change.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from maskwright.errors import InvalidInput
from maskwright.models.embedded.network import EmbeddedNetwork

ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
"""Linear layers of the two-way attention that low-rank corrections are attached to."""


class LowRankLinear(nn.Module):
    """A frozen linear layer with a trainable correction of low rank, zero at first.

    Args:
        base: The layer.
        rank: Of the correction.
        generator: Draws its first factor.
    """

    def __init__(self, base: nn.Linear, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        bound = math.sqrt(3 / base.in_features)
        first = torch.empty(rank, base.in_features).uniform_(-bound, bound, generator=generator)
        self.down = nn.Parameter(first.to(base.weight))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank).to(base.weight))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        y: Tensor = self.base(x) + functional.linear(functional.linear(x, self.down), self.up)
        return y


def with_low_rank(network: EmbeddedNetwork, rank: int = 8, seed: int = 0) -> EmbeddedNetwork:
    """A copy in which nothing is trainable but low-rank corrections of the decoder's attention.

    Raises:
        InvalidInput: If the rank is not positive.
    """
    if rank < 1:
        raise InvalidInput(f"rank is {rank}; an adapter's rank is at least 1")
    result = copy.deepcopy(network).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name, module in list(result.decoder.layers.named_modules()):
        holder, _, last = name.rpartition(".")
        if last in ATTENTION and isinstance(module, nn.Linear):
            setattr(result.decoder.layers.get_submodule(holder), last, LowRankLinear(module, rank, generator))
    return result


def with_decoder(network: EmbeddedNetwork) -> EmbeddedNetwork:
    """A copy in which nothing is trainable but the mask decoder."""
    result = copy.deepcopy(network).requires_grad_(False)
    result.decoder.requires_grad_(True)
    return result


def adapter_tensors(network: EmbeddedNetwork) -> dict[str, Tensor]:
    """What a network made by ``with_low_rank`` or ``with_decoder`` has learnt, to be stored."""
    return {name: p.detach().clone().contiguous() for name, p in network.named_parameters() if p.requires_grad}


def adapted(network: EmbeddedNetwork, tensors: Mapping[str, Tensor]) -> EmbeddedNetwork:
    """A copy of a network with an adapter merged in, as fast as the network itself.

    Raises:
        InvalidInput: If the tensors do not fit the network; the message names the first that does not.
    """
    parameters = dict(network.named_parameters())
    changed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise InvalidInput(f"adapter: {name} holds a number that is not finite")
        base, _, part = name.rpartition(".")
        if part in ("down", "up"):
            target, other = f"{base}.weight", tensors.get(f"{base}.{'up' if part == 'down' else 'down'}")
            if other is None:
                raise InvalidInput(f"adapter: {name} came without its counterpart")
            if part == "up":
                continue
            correction = (
                other.to(torch.float32) @ tensor.to(torch.float32) if other.shape[1:] == tensor.shape[:1] else None
            )
        else:
            target, correction = name, None
        weight = parameters.get(target)
        if weight is None:
            raise InvalidInput(f"adapter: {name} is no part of this network")
        value = tensor.to(weight) if target == name else None if correction is None else weight + correction.to(weight)
        if value is None or value.shape != weight.shape:
            raise InvalidInput(f"adapter: {name} has shape {tuple(tensor.shape)}, which does not fit this network")
        changed[target] = value
    result = copy.deepcopy(network, {id(p): p for p in parameters.values()})
    for name, value in changed.items():
        holder, _, last = name.rpartition(".")
        layout = torch.channels_last if value.ndim == 4 else torch.contiguous_format
        frozen = nn.Parameter(value.detach().clone(memory_format=layout), requires_grad=False)
        setattr(result.get_submodule(holder), last, frozen)
    return result
