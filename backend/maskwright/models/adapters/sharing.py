"""Copies of a network that share its tensors."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def shared_copy(model: Network) -> Network:
    """A copy with modules and parameters of its own over the same memory; nothing in it is trainable.

    Parameters can be replaced or wrapped in the copy, and the base does not change; no number is copied.
    """
    memo: dict[int, Any] = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in model.parameters()}
    memo.update({id(b): b for b in model.buffers()})
    return copy.deepcopy(model, memo)


def put(model: nn.Module, name: str, thing: nn.Module | Tensor) -> None:
    """Replace a named submodule, or a named parameter by a frozen one."""
    holder, _, last = name.rpartition(".")
    value = thing if isinstance(thing, nn.Module | nn.Parameter) else nn.Parameter(thing, requires_grad=False)
    setattr(model.get_submodule(holder), last, value)
