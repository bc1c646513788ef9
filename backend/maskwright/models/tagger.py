"""An image tagger that needs no download: EfficientNet-Lite0 over ImageNet's 1000 classes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.models.imagenet_words import vocabulary
from maskwright.models.protocols import RGB, Tag

if TYPE_CHECKING:
    from maskwright.models.efficientnet_lite import EfficientNetLite0

SIDE = 224
"""Pixels of the network's square input."""
STRIDE = 32
"""Pixels of the input for each place that the network has an opinion on."""
POOLED_CHANNELS = 1280
"""Numbers per image that the network's last layer reads."""
BATCH = 4
"""Images per call of the network: more do not fit a core's cache and take longer each."""
CENTRE, SPREAD = 127.0, 128.0


def network_input(image: RGB, size: tuple[int, int] = (SIDE, SIDE)) -> NDArray[np.float32]:
    """Squeeze an (H, W, 3) uint8 RGB image into (3, h, w) float32, about -1 to 1; ``size`` is (h, w)."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise InvalidInput(f"an image is (height, width, 3) uint8, not {image.shape} {image.dtype}")
    smaller = image.shape[0] > size[0] or image.shape[1] > size[1]
    resized = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
    scaled: NDArray[np.float32] = (resized.astype(np.float32) - CENTRE) / SPREAD
    return scaled.transpose(2, 0, 1)


def input_size(image: RGB, side: int) -> tuple[int, int]:
    """(h, w) in whole strides of an input whose longer side is about ``side`` pixels and has the image's shape."""
    height, width = image.shape[:2]
    scale = side / max(height, width, 1)
    return (
        max(STRIDE, round(height * scale / STRIDE) * STRIDE),
        max(STRIDE, round(width * scale / STRIDE) * STRIDE),
    )


class ImageNetTagger:
    """Images to ImageNet's words. Making one costs nothing: the weights load with the first call, once."""

    name = "efficientnet-lite0"
    version = "efficientnet-lite0-57934424-1"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._network: EfficientNetLite0 | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether the weights are in memory."""
        return self._network is not None

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The 1000 words of its tags."""
        return vocabulary().tags

    def probabilities(self, images: Sequence[RGB]) -> NDArray[np.float32]:
        """(n, 1000) float32, rows summing to 1, in ImageNet's order.

        Raises:
            InvalidInput: If an image is not (H, W, 3) uint8 or holds no pixel.
            ModelUnavailable: If the weights are not installed.
        """
        import torch

        network = self._load()
        rows = [np.zeros((0, len(vocabulary().classes)), dtype=np.float32)]
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(np.stack([network_input(image) for image in images[start : start + BATCH]]))
            with torch.inference_mode():
                logits = network(batch.contiguous(memory_format=torch.channels_last))
            rows.append(torch.softmax(logits, dim=1).numpy())
        return np.concatenate(rows)

    def local_probabilities(self, image: RGB, side: int) -> NDArray[np.float32]:
        """What each place of an image shows: (h, w, 1000) float32, h and w about a 32th of the network's input.

        The network ends in a mean over places and one linear layer, so that it has an opinion on every place: class
        activation maps (Zhou et al. 2016), here with a softmax at each place.

        Args:
            image: (H, W, 3) uint8 RGB.
            side: Pixels of the longer side of the network's input; the image keeps its shape.

        Raises:
            InvalidInput: If the image is not (H, W, 3) uint8 or holds no pixel.
            ModelUnavailable: If the weights are not installed.
        """
        import torch

        pixels = network_input(image, input_size(image, side))
        both = torch.from_numpy(np.stack([pixels, pixels[..., ::-1]])).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            local = torch.softmax(self._load().local_logits(both), dim=-1).numpy()
        mean: NDArray[np.float32] = (local[0] + local[1, :, ::-1]) / 2
        return mean

    def pooled(self, images: Sequence[RGB]) -> NDArray[np.float32]:
        """(n, 1280) float32, not negative: what the last layer reads of each image; errors as ``probabilities``."""
        import torch

        network = self._load()
        rows = [np.zeros((0, POOLED_CHANNELS), dtype=np.float32)]
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(np.stack([network_input(image) for image in images[start : start + BATCH]]))
            with torch.inference_mode():
                rows.append(network.head(batch.contiguous(memory_format=torch.channels_last)).mean(dim=(2, 3)).numpy())
        return np.concatenate(rows)

    def tag_weights(self) -> NDArray[np.float32]:
        """(1000, 1280) float32: what the last layer makes of ``pooled`` for each class of ImageNet, offsets left out.

        Raises:
            ModelUnavailable: If the weights are not installed.
        """
        weights: NDArray[np.float32] = self._load().fc.weight.detach().numpy()
        return weights

    def stage(self, image: RGB, side: int, index: int) -> NDArray[np.float32]:
        """The output of stage ``index`` (0 to 6) of the network on a whole image: (channels, h, w) float32.

        Args:
            image: (H, W, 3) uint8 RGB.
            side: Pixels of the longer side of the network's input; the image keeps its shape, to whole strides.
            index: Stage as ``EfficientNetLite0.features`` counts them.

        Raises:
            InvalidInput: If the image is not (H, W, 3) uint8 or holds no pixel.
            ModelUnavailable: If the weights are not installed.
        """
        import torch

        pixels = torch.from_numpy(network_input(image, input_size(image, side))[None])
        with torch.inference_mode():
            output = self._load().features(pixels.contiguous(memory_format=torch.channels_last))[index]
        return np.ascontiguousarray(output[0].numpy())

    def tags(self, images: Sequence[RGB], *, top: int = 10) -> list[list[Tag]]:
        """The ``top`` most probable tags of each image, most probable first; errors as ``probabilities``."""
        words = vocabulary().tags
        table = self.probabilities(images)
        order = np.argsort(-table, axis=1, kind="stable")[:, :top]
        return [[Tag(words[i], float(row[i])) for i in indices] for row, indices in zip(table, order, strict=True)]

    def _load(self) -> EfficientNetLite0:
        with self._lock:
            if self._network is None:
                from maskwright.models.efficientnet_lite import folded, load_efficientnet_lite0

                self._network = folded(load_efficientnet_lite0())
            return self._network
