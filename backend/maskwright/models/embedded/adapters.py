"""Adapters of the embedded network: low-rank corrections of its two-way attention, or a decoder of its own.

Short names for what ``models.adapters`` does for every family.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from maskwright.models.adapters.attaching import attach, trained_tensors
from maskwright.models.adapters.config import AdapterConfig
from maskwright.models.adapters.merging import merged
from maskwright.models.embedded.network import EmbeddedNetwork


def with_low_rank(network: EmbeddedNetwork, rank: int = 8, seed: int = 0) -> EmbeddedNetwork:
    """A copy in which nothing is trainable but low-rank corrections of the decoder's attention.

    Raises:
        InvalidInput: If the rank is not positive.
    """
    return attach(network, AdapterConfig("lora", rank=rank), seed)


def with_decoder(network: EmbeddedNetwork) -> EmbeddedNetwork:
    """A copy in which nothing is trainable but the mask decoder."""
    return attach(network, AdapterConfig("decoder"))


def adapter_tensors(network: EmbeddedNetwork) -> dict[str, Tensor]:
    """What a network made by ``with_low_rank`` or ``with_decoder`` has learnt, to be stored."""
    return trained_tensors(network)


def adapted(network: EmbeddedNetwork, tensors: Mapping[str, Tensor]) -> EmbeddedNetwork:
    """A copy of a network with an adapter merged in, as fast as the network itself.

    Raises:
        InvalidInput: If the tensors do not fit the network; the message names the first that does not.
    """
    return merged(network, tensors)
