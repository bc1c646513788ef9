"""Pictures and prompts as the embedded network takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from maskwright.models.classical_regions import Scene
from maskwright.models.embedded.evidence import gather
from maskwright.models.embedded.network import BOX_END, BOX_START, NEGATIVE, PADDING, POSITIVE, Prompts
from maskwright.models.protocols import RGB
from maskwright.models.scribbles import with_scribbles_as_points
from maskwright.prompts import Prompt

WORKING_SIDE = 512
"""Longest side in pixels of the working grid; smaller images are enlarged twice at most, slivers more."""
SMALLEST_SIDE = 8
STRIDE = 32
CENTRE, SPREAD = 127.0, 128.0
"""Grey value that is zero for the backbone, and how many grey values are one."""


@dataclass(frozen=True)
class Frame:
    """A working grid: (h, w) in pixels, both even."""

    size: tuple[int, int]

    @classmethod
    def of(cls, original_size: tuple[int, int]) -> Frame:
        """The grid of an (H, W) image."""
        scale = min(2.0, WORKING_SIDE / max(original_size))
        height, width = (max(SMALLEST_SIDE, 2 * round(v * scale / 2)) for v in original_size)
        return cls((height, width))

    @property
    def half(self) -> tuple[int, int]:
        """(h / 2, w / 2), the size of the logits."""
        return self.size[0] // 2, self.size[1] // 2

    @property
    def padded(self) -> tuple[int, int]:
        """(h, w) rounded up to multiples of the network's largest stride."""
        return -(-self.size[0] // STRIDE) * STRIDE, -(-self.size[1] // STRIDE) * STRIDE


def working_pixels(image: RGB, frame: Frame) -> NDArray[np.uint8]:
    """An (H, W, 3) image on its grid."""
    height, width = frame.size
    smaller = height < image.shape[0] or width < image.shape[1]
    pixels: NDArray[np.uint8] = cv2.resize(
        np.ascontiguousarray(image), (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    )
    return pixels


def image_tensor(pixels: NDArray[np.uint8], frame: Frame) -> Tensor:
    """(1, 3, H, W) float32 input of the network; what pads the grid is zero."""
    height, width = frame.padded
    tensor = torch.zeros((1, 3, height, width)).contiguous(memory_format=torch.channels_last)
    normalised = (torch.from_numpy(pixels.copy()).to(torch.float32) - CENTRE) / SPREAD
    tensor[0, :, : frame.size[0], : frame.size[1]] = normalised.permute(2, 0, 1)
    return tensor


def stack_prompts(scene: Scene, frame: Frame, prompts: Sequence[Prompt]) -> Prompts:
    """Prompts in coordinates of the working grid as one batch; shorter lists of points are padded."""
    found = [gather(scene, prompt) for prompt in prompts]
    points = [_points(prompt, frame) for prompt in prompts]
    most = max(1, *(len(kinds) for _, kinds in points))
    coords = np.zeros((len(prompts), most, 2), dtype=np.float32)
    kinds = np.full((len(prompts), most), PADDING, dtype=np.int64)
    for row, (xy, kind) in enumerate(points):
        coords[row, : len(kind)] = xy
        kinds[row, : len(kind)] = kind
    dense = torch.from_numpy(np.stack([evidence.dense for evidence in found]))
    height, width = frame.padded
    padding = (0, width // 2 - dense.shape[3], 0, height // 2 - dense.shape[2])
    return Prompts(
        dense=functional.pad(dense, padding) if any(padding) else dense,
        points=torch.from_numpy(coords),
        kinds=torch.from_numpy(kinds),
        scores=torch.from_numpy(np.stack([evidence.scores for evidence in found])),
        size=frame.half,
    )


def _points(prompt: Prompt, frame: Frame) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(N, 2) xy and (N,) kinds of clicks, strokes and the box's corners; those beyond the picture move to its edge."""
    coords, labels = with_scribbles_as_points(prompt, frame.size)
    kinds = np.where(labels == 1, POSITIVE, NEGATIVE).astype(np.int64)
    if prompt.box is not None:
        coords = np.concatenate([coords, np.array(prompt.box, dtype=np.float32).reshape(2, 2)])
        kinds = np.concatenate([kinds, np.array([BOX_START, BOX_END], dtype=np.int64)])
    return np.clip(coords, 0, np.array(frame.size[::-1], dtype=np.float32)), kinds
