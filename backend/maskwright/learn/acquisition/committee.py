"""A committee drawn from one embedded network by dropout in its mask decoder.

Dropping units with a mask that is kept for all questions is dropping columns of the weights after them (Gal &
Ghahramani, "Dropout as a Bayesian Approximation", ICML 2016, section 3; kept masks: Kirsch et al., "BatchBALD", NeurIPS
2019). So every member is the network with a few matrices of its own and all other tensors shared: it costs no hooks, no
state and no generator at the time of a question, and answers are the same in whatever order images come. The decoder
was not trained with dropout; at this rate its answers hardly worsen, but the posterior is a rough one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.learn.acquisition.bald import StochasticDecoder
from maskwright.learn.acquisition.looking import without_padding
from maskwright.models.protocols import ImageEmbedding, Segmenter
from maskwright.prompts import Prompt

if TYPE_CHECKING:
    from torch import Tensor

    from maskwright.models.device import ComputeDevice
    from maskwright.models.embedded.network import EmbeddedNetwork
    from maskwright.models.families import ModelDescription

MEMBERS = 5
RATE = 0.15
DROPPED = re.compile(r"decoder\.(layers\.\d+\.mlp\.2|hyper\.\d+\.2)\.weight")
"""Matrices whose inputs are hidden units: of the attention layers, and of the networks that make the masks."""


class Committee:
    """A ``StochasticDecoder`` whose draws are whole segmenters.

    Args:
        members: Two or more, all able to read one embedding.
    """

    def __init__(self, members: Sequence[Segmenter]) -> None:
        if len(members) < 2:
            raise InvalidInput(f"a committee has two members or more, got {len(members)}")
        self._members = tuple(members)

    def __call__(self, embedding: ImageEmbedding, prompts: Sequence[Prompt]) -> NDArray[np.float32]:
        """See ``StochasticDecoder``."""
        return np.stack(
            [
                without_padding(member.decode(embedding, prompts).low_res_logits[:, 0], embedding)
                for member in self._members
            ]
        )


def dropout_committee(
    network: EmbeddedNetwork,
    description: ModelDescription,
    device: ComputeDevice,
    *,
    adapter: Mapping[str, Tensor] | None = None,
    members: int = MEMBERS,
    rate: float = RATE,
    seed: int = 0,
) -> StochasticDecoder:
    """Members of an embedded network, or of one with an adapter.

    Hidden units of the decoder are dropped, and with an adapter of low rank its ranks too.

    Args:
        network: The base, on the device.
        description: Of the segmenter in service, whose embeddings the members read.
        device: Where they run.
        adapter: Trained tensors on top of the base (see ``models.adapters``).
        members: 2 or more; each multiplies the cost of a decode.
        rate: Probability that a unit is dropped, in [0, 1).
        seed: Of the draws, 0 or more.

    Raises:
        InvalidInput: If a number lies outside its range, or the adapter does not fit.
    """
    from maskwright.models.adapters.merging import merged
    from maskwright.models.embedded.segmenter import EmbeddedSegmenter

    if members < 2 or not 0 <= rate < 1 or seed < 0:
        raise InvalidInput(
            f"committee: {members} members must be 2 or more, rate {rate} in [0, 1), seed {seed} 0 or more"
        )
    drawn = []
    for member in range(members):
        rng = np.random.default_rng([seed, member])
        thinned = {
            name: _thinned(tensor, (tensor.shape[0], 1), rate, rng) if name.endswith(".down") else tensor
            for name, tensor in sorted((adapter or {}).items())
        }
        served = merged(network, thinned)
        dropped = {
            name: _thinned(parameter.detach(), (1, parameter.shape[1]), rate, rng)
            for name, parameter in sorted(served.named_parameters())
            if DROPPED.fullmatch(name)
        }
        drawn.append(EmbeddedSegmenter(description, merged(served, dropped), device))
    return Committee(drawn)


def _thinned(tensor: Tensor, shape: tuple[int, int], rate: float, rng: np.random.Generator) -> Tensor:
    """A matrix with some of its rows or columns at zero, as ``shape`` says, and the others raised to keep the mean."""
    import torch

    kept = (rng.random(shape) >= rate) / (1 - rate)
    return tensor * torch.from_numpy(kept.astype(np.float32)).to(tensor)
