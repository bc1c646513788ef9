"""Embeddings as the decoder takes them, kept for the few images that are being clicked on."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from maskwright.models.classical_arrays import scene_of
from maskwright.models.classical_regions import Scene
from maskwright.models.protocols import ImageEmbedding

STRIDES = (16, 8, 4, 2)
KEPT = 4
"""Prepared images that are kept; each takes about 10 MB. They go when their embeddings go."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """The scene of an image and its embedding at each stride, (1, C, h, w) float32 on the network's device."""

    scene: Scene
    image: dict[int, Tensor]


class PreparedImages:
    """Prepares embeddings and remembers the latest. Safe under threads: at worst an image is prepared twice.

    Args:
        device: Of the network.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._kept: OrderedDict[int, tuple[weakref.ref[ImageEmbedding], Prepared]] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, embedding: ImageEmbedding) -> Prepared:
        """The prepared form of an embedding, by identity."""
        key = id(embedding)
        with self._lock:
            found = self._kept.get(key)
            if found is not None and found[0]() is embedding:
                self._kept.move_to_end(key)
                return found[1]
        made = Prepared(scene_of(embedding.arrays), self._tensors(embedding))
        with self._lock:
            self._kept[key] = (weakref.ref(embedding, partial(self._forget, key)), made)
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return made

    def _forget(self, key: int, _: weakref.ref[ImageEmbedding]) -> None:
        # Called wherever the last reference goes, maybe inside the lock: a plain removal needs none.
        found = self._kept.get(key)
        if found is not None and found[0]() is None:
            self._kept.pop(key, None)

    def _tensors(self, embedding: ImageEmbedding) -> dict[int, Tensor]:
        with torch.inference_mode():
            return {
                stride: torch.from_numpy(embedding.arrays[f"stride{stride}"].astype(np.float32))[None]
                .to(self._device)
                .contiguous(memory_format=torch.channels_last)
                for stride in STRIDES
            }
