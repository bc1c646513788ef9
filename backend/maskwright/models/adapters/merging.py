"""Adapted copies of a network that share every tensor that the adapter does not change."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from maskwright.errors import InvalidInput
from maskwright.models.adapters.config import AdapterConfig
from maskwright.models.adapters.low_rank import ConvLowRankLinear, SplitLinear
from maskwright.models.adapters.sharing import Network, put, shared_copy
from maskwright.models.adapters.targets import expected_shapes, sites_of

_PARTS = {"q": 0, "k": 1, "v": 2}


def check_tensors(model: nn.Module, config: AdapterConfig, tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are not exactly those of an adapter of this config on this network.

    Raises:
        InvalidInput: If one is missing, too many, of another shape, or holds a number that is not finite; the message
            names the first.
    """
    expected = expected_shapes(model, config)
    if extra := sorted(set(tensors) - set(expected)):
        raise InvalidInput(f"adapter: {extra[0]} is no part of an adapter of kind '{config.kind}' on this network")
    if missing := sorted(set(expected) - set(tensors)):
        raise InvalidInput(f"adapter: {missing[0]} is missing, which kind '{config.kind}' has on this network")
    for name, shape in expected.items():
        if tuple(tensors[name].shape) != shape:
            raise InvalidInput(
                f"adapter: {name} has shape {tuple(tensors[name].shape)}, which does not fit this network ({shape})"
            )
        check_finite(name, tensors[name])


def check_finite(name: str, tensor: Tensor) -> None:
    """Refuse a tensor with a number that is not finite, by name."""
    if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
        raise InvalidInput(f"adapter: {name} holds a number that is not finite")


def adapted(model: Network, config: AdapterConfig, tensors: Mapping[str, Tensor]) -> Network:
    """A copy with an adapter in it, in the network's mode.

    Low-rank corrections are merged, so that the copy is as fast as the network; Conv-LoRA stays a layer of its own.

    Raises:
        InvalidInput: If the tensors are not exactly those of the config on this network.
    """
    check_tensors(model, config, tensors)
    if config.can_be_merged:
        return merged(model, tensors, scale=config.scale)
    copy = shared_copy(model)
    generator = torch.Generator()
    for site in sites_of(model, config):
        if site.part and isinstance(fused := copy.get_submodule(site.layer), nn.Linear):
            put(copy, site.layer, SplitLinear(fused))
        base = copy.get_submodule(site.name)
        assert isinstance(base, nn.Linear)
        layer = ConvLowRankLinear(base, config.rank, config.scale, config.scales, config.dropout, generator)
        for part in ("down", "up", "experts", "gate"):
            value = tensors[f"{site.name}.{part}"]
            put(layer, part, value.to(base.weight, copy=True).contiguous())
        put(copy, site.name, layer.train(base.training))
    return copy


def merged(model: Network, tensors: Mapping[str, Tensor], *, scale: float = 1.0) -> Network:
    """A copy with corrections merged into the weights, ``W + scale * up @ down``, and other tensors in place of theirs.

    Args:
        model: The network.
        tensors: ``NAME.down`` (rank, in) and ``NAME.up`` (out, rank) correct the layer NAME; if NAME ends in ``.q``,
            ``.k`` or ``.v`` of a fused layer, the rows of that part. Any other name replaces the parameter of it.
        scale: The weight of the corrections.

    Raises:
        InvalidInput: If a tensor does not fit the network; the message names the first that does not.
    """
    parameters = dict(model.named_parameters())
    changed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        check_finite(name, tensor)
        layer, _, factor = name.rpartition(".")
        if factor not in ("down", "up"):
            weight = _found(parameters, name, name)
            if tensor.shape != weight.shape:
                raise _misfit(name, tensor)
            changed[name] = torch.empty_like(weight).copy_(tensor)  # the layout stays the base's
            continue
        other = tensors.get(f"{layer}.{'up' if factor == 'down' else 'down'}")
        if other is None:
            raise InvalidInput(f"adapter: {name} came without its counterpart")
        if factor == "up":
            continue
        target, part = f"{layer}.weight", None
        if target not in parameters and layer.rpartition(".")[2] in _PARTS:
            target, part = f"{layer.rpartition('.')[0]}.weight", _PARTS[layer.rpartition(".")[2]]
        weight = _found(parameters, target, name)
        height = weight.shape[0] if part is None else weight.shape[0] // 3
        if tensor.ndim != 2 or other.ndim != 2 or weight.shape[1:] != tensor.shape[1:]:
            raise _misfit(name, tensor)
        if other.shape != (height, tensor.shape[0]):
            raise _misfit(f"{layer}.up", other)
        # In float32 whatever the base's precision, and where the base lies.
        correction = scale * (other.to(weight.device, torch.float32) @ tensor.to(weight.device, torch.float32))
        whole = changed.setdefault(target, weight.detach().clone())
        rows = whole if part is None else whole[part * height : (part + 1) * height]
        rows.copy_(rows.to(torch.float32) + correction)
    copy = shared_copy(model)
    for name, value in changed.items():
        put(copy, name, value.detach())
    return copy


def _found(parameters: Mapping[str, Tensor], target: str, name: str) -> Tensor:
    weight = parameters.get(target)
    if weight is None:
        raise InvalidInput(f"adapter: {name} is no part of this network")
    return weight.detach()


def _misfit(name: str, tensor: Tensor) -> InvalidInput:
    return InvalidInput(f"adapter: {name} has shape {tuple(tensor.shape)}, which does not fit this network")
