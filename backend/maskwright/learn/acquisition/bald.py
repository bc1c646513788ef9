"""Bayesian active learning by disagreement: what the members of a committee know that their mean does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.learn.acquisition.candidates import Context, Look, Signal
from maskwright.learn.acquisition.uncertainty import binary_entropy, mean, sigmoid, uncertain_band
from maskwright.models.protocols import ImageEmbedding
from maskwright.prompts import Prompt

AGREED = 1e-3
"""Cells in which the members' probabilities differ by more belong to the band too."""


class StochasticDecoder(Protocol):
    """A decoder with T answers to every question, drawn from what it could have learnt."""

    def __call__(self, embedding: ImageEmbedding, prompts: Sequence[Prompt]) -> NDArray[np.float32]:
        """(T, B, h, w) float32 low-resolution logits of B prompts on one image, T at least 2, without padding.

        Equal questions get equal answers, whatever was asked before.
        """
        ...


@dataclass(frozen=True, eq=False)
class BALD(Signal):
    """Mutual information between a proposed mask and the decoder's weights, in nats, in [0, ln 2].

    Houlsby et al., "Bayesian Active Learning for Classification and Preference Learning" (2011, arXiv 1112.5745), with
    Monte Carlo dropout as posterior: Gal, Islam & Ghahramani, "Deep Bayesian Active Learning with Image Data" (ICML
    2017). Averaged over the uncertain band of each mask, then over masks.

    Attributes:
        decoder: Draws the answers.
    """

    decoder: StochasticDecoder
    name = "bald"

    def measure(self, key: str, look: Look, context: Context) -> float:
        """See ``Signal``; NaN without proposals.

        Raises:
            InvalidInput: If the decoder drew fewer than two answers.
        """
        if not look.proposals:
            return float("nan")
        drawn = self.decoder(look.embedding, [item.prompt for item in look.proposals])
        if drawn.ndim != 4 or len(drawn) < 2:
            raise InvalidInput(
                f"BALD needs two or more answers (T, B, h, w) of a stochastic decoder, got {drawn.shape}"
            )
        return mean([_of_one(sigmoid(drawn[:, row])) for row in range(drawn.shape[1])])


def mutual_information(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Entropy of the mean minus mean of the entropies over the first axis of (T, ...) probabilities, in nats.

    0 where all T agree, ln 2 at most.
    """
    found = binary_entropy(np.mean(probabilities, axis=0)) - binary_entropy(probabilities).mean(axis=0)
    return np.asarray(np.clip(found, 0.0, np.log(2.0)))


def _of_one(probabilities: NDArray[np.float64]) -> float:
    band = uncertain_band(probabilities.mean(axis=0)) | (np.ptp(probabilities, axis=0) > AGREED)
    return float(mutual_information(probabilities[:, band]).mean())
