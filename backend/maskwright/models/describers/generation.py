"""What the models that write have in common: deterministic decoding, and a word in the log where it was cut short."""

from __future__ import annotations

import logging
from types import MappingProxyType

import torch

GREEDY = MappingProxyType({"do_sample": False, "num_beams": 1})
"""Arguments of ``generate``: the most probable token each time, so that the same picture gets the same words."""

_log = logging.getLogger(__name__)


def warn_if_cut(ids: torch.Tensor, end: int | list[int] | None, name: str, limit: int) -> None:
    """Say in the log that an answer has no end because it met the limit of new tokens.

    Args:
        ids: (n,) int64 of the answer, which may hold the end token and padding after it.
        end: The token or tokens that end an answer.
        name: The model's.
        limit: Tokens that it may write.
    """
    ends = end if isinstance(end, list) else [end]
    if not any(int(token) in ends for token in ids[1:]):
        _log.warning("%s: the answer was cut after %d tokens", name, limit)
