"""Training images as steps draw them: each as it is and mirrored, encoded once where the encoder is frozen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.learn.training.pointing import Pointing
from maskwright.learn.training.records import TrainingImage, TrainingObject
from maskwright.learn.training.trainable import Encoded, Trainable
from maskwright.masks import Mask
from maskwright.models.protocols import RGB

_HALF = 6e4
"""Features are kept in half precision, within its bounds, as they are in service."""


@dataclass(frozen=True, eq=False)
class View:
    """An image, or its mirror image.

    Attributes:
        image: The image.
        mirrored: Whether left and right are exchanged.
    """

    image: TrainingImage
    mirrored: bool

    def pixels(self) -> RGB:
        """(H, W, 3) uint8 RGB.

        Raises:
            InvalidInput: If a mask is not of the image's size.
        """
        pixels = self.image.pixels()
        for mask in (*(o.mask for o in self.image.objects), *self.image.negatives):
            if mask.size != pixels.shape[:2]:
                raise InvalidInput(f"image {self.image.key[:12]}: a mask of {mask.size} on {pixels.shape[:2]} pixels")
        return np.ascontiguousarray(pixels[:, ::-1]) if self.mirrored else pixels

    def array(self, mask: Mask) -> NDArray[np.bool_]:
        """A mask of the image on this view."""
        array = mask.to_array()
        return np.ascontiguousarray(array[:, ::-1]) if self.mirrored else array

    def pointing(self, trainable: Trainable, thing: TrainingObject) -> Pointing:
        """An object of the image, not pointed at yet."""
        share = trainable.share(self.array(thing.mask))
        changed = np.zeros_like(share) if thing.changed is None else trainable.share(self.array(thing.changed))
        return Pointing(share, changed, trainable.grid(thing.mask.size))


class Views:
    """Images as they are and mirrored; as many of them as memory allows.

    Args:
        images: To learn from, at least one.
        trainable: The learner; with a frozen encoder its features are those of the base.
        frozen: Whether the encoder stays as it is, so that every view is encoded once.
        budget: Bytes for what is kept.
        seed: Chooses what is left out.
        mirrored: Whether there are mirror images too.
    """

    def __init__(
        self,
        images: Sequence[TrainingImage],
        trainable: Trainable,
        *,
        frozen: bool,
        budget: int,
        seed: int,
        mirrored: bool = True,
    ) -> None:
        self._trainable, self._frozen = trainable, frozen
        self._kept: dict[tuple[str, bool], Encoded] = {}
        order = np.random.default_rng([seed, len(images)]).permutation(len(images))
        listed = [View(images[i], side) for side in ((False, True) if mirrored else (False,)) for i in order]
        if frozen:
            first = self.encoded(listed[0])
            listed = listed[: max(1, budget // max(1, first.nbytes))]
        self.listed = tuple(listed)

    def encoded(self, view: View) -> Encoded:
        """A view as the decoder takes it; with gradients into the encoder unless it is frozen."""
        if not self._frozen:
            return self._trainable.encode(view.pixels())
        key = view.image.key, view.mirrored
        if key not in self._kept:
            with torch.no_grad():
                made = self._trainable.encode(view.pixels())
            self._kept[key] = _as(made, lambda t: t.clamp(-_HALF, _HALF).to(torch.float16))
        return _as(self._kept[key], lambda t: t.to(torch.float32))


def _as(encoded: Encoded, change: Callable[[torch.Tensor], torch.Tensor]) -> Encoded:
    return replace(encoded, features={name: change(tensor) for name, tensor in encoded.features.items()})
