"""Dense features that need no download: what the packaged tagger sees at each place. They know no language."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.models.dense.input_grid import unit
from maskwright.models.protocols import RGB
from maskwright.models.region_features import SIDE, STAGE
from maskwright.models.tagger import ImageNetTagger


class TaggerPlaces:
    """The tagger's stage of stride 16, scaled to length 1 at each place. Thread-safe; loads with the first image.

    Args:
        tagger: May be shared.
    """

    name = "tagger-places"

    def __init__(self, tagger: ImageNetTagger) -> None:
        self.version = f"tagger-places-1({tagger.version})"
        self._tagger = tagger

    def features(self, image: RGB) -> NDArray[np.float32]:
        """See ``protocols.DenseFeatures``."""
        return unit(self._tagger.stage(image, SIDE, STAGE).transpose(1, 2, 0))

    def text(self, phrases: Sequence[str]) -> NDArray[np.float32]:
        """Always raises ``InvalidInput``: these features cannot be compared with words until that is learnt."""
        raise InvalidInput("the embedded features know no language: they meet words only where that is learnt")
