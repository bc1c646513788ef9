"""The table of model families: what loads a scheme's weights, and what names them before they are loaded."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from maskwright.errors import ModelUnavailable
from maskwright.models.checkpoints import Checkpoint
from maskwright.models.classical_answers import DECODE_ALGORITHM
from maskwright.models.classical_arrays import ENCODE_ALGORITHM, scene_nbytes
from maskwright.models.device import ComputeDevice

_FLOAT = 4


@dataclass(frozen=True)
class ModelDescription:
    """What is known of a model without its weights; see ``Segmenter`` for the meaning of each attribute."""

    name: str
    version: str
    embedding_version: str
    embedding_nbytes: int


@dataclass(frozen=True)
class Family:
    """One model family.

    Attributes:
        module: Module that loads it, imported on first use.
        loader: Name of a function in it: ``(Checkpoint, ModelDescription, ComputeDevice) -> Segmenter``, or, for an
            engine without weights, of a class that takes no argument.
        model_types: ``model_type`` values of ``config.json`` that it can load; empty = not checked.
        embedding_nbytes: Bytes of one image's embedding, from ``config.json`` (which may be empty).
        encode_revision: Counts changes of our code that change ``encode``.
        decode_revision: Counts changes of our code that change ``decode``, ``upsample`` or ``propose``.
    """

    module: str
    loader: str
    model_types: frozenset[str] = frozenset()
    embedding_nbytes: Callable[[Mapping[str, Any]], int] | None = None
    encode_revision: int | str = 1
    decode_revision: int | str = 1

    @property
    def has_weights(self) -> bool:
        """Whether the family loads a checkpoint."""
        return self.embedding_nbytes is not None

    def describe(self, checkpoint: Checkpoint, device: ComputeDevice) -> ModelDescription:
        """Name and versions of a checkpoint under this family; the loaded segmenter carries the same.

        Raises:
            ModelUnavailable: If the checkpoint is known to be another family's, or its configuration is malformed.
        """
        found = checkpoint.config.get("model_type")
        if checkpoint.config and self.model_types and found not in self.model_types:
            raise ModelUnavailable(
                f"model {checkpoint.uri}: its config.json says model_type {found!r}, "
                f"but '{checkpoint.uri.scheme}:' loads {' or '.join(sorted(self.model_types))}"
            )
        name = _readable_name(checkpoint.uri.location)
        if checkpoint.uri.kind == "packaged":
            name = f"{checkpoint.uri.scheme}-{name}" if checkpoint.uri.location else checkpoint.uri.scheme
        base = f"{checkpoint.uri.scheme};{checkpoint.fingerprint};{device.dtype};encode={self.encode_revision}"
        try:
            size = self.embedding_nbytes(checkpoint.config) if self.embedding_nbytes else 0
        except (TypeError, ValueError, ArithmeticError) as error:
            raise ModelUnavailable(f"model {checkpoint.uri}: the sizes in its config.json are malformed") from error
        return ModelDescription(
            name=name,
            version=f"{name}-{_short_hash(f'{base};decode={self.decode_revision}')}",
            embedding_version=f"{name}-{_short_hash(base)}",
            embedding_nbytes=size,
        )


def _readable_name(location: str) -> str:
    """Last part of a hub id or path, without a checkpoint's suffix, of letters, digits, '.', '_' and '-'."""
    name = PurePath(location).name.removesuffix(".pth").removesuffix(".pt").removesuffix(".safetensors")
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") or "model"


def _short_hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=4).hexdigest()


def _part(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of a composite configuration, also where it lies inside a video model's tracker."""
    for holder in (config, config.get("tracker_config")):
        part = holder.get(name) if isinstance(holder, Mapping) else None
        if isinstance(part, Mapping):
            return part
    return {}


def _sam_cells(config: Mapping[str, Any]) -> int:
    vision = _part(config, "vision_config")
    return (int(vision.get("image_size", 1024)) // int(vision.get("patch_size", 16))) ** 2


def _sam_nbytes(config: Mapping[str, Any]) -> int:
    return _sam_cells(config) * int(_part(config, "vision_config").get("output_channels", 256)) * _FLOAT


def _sam_hq_nbytes(config: Mapping[str, Any]) -> int:
    # The decoder also reads the patch tokens after the first global-attention block. Unknown width: that of ViT-H.
    width = int(_part(config, "vision_config").get("hidden_size", 768 if config else 1280))
    return _sam_nbytes(config) + _sam_cells(config) * width * _FLOAT


def _pyramid_nbytes(default_sides: tuple[int, int, int]) -> Callable[[Mapping[str, Any]], int]:
    def nbytes(config: Mapping[str, Any]) -> int:
        vision = _part(config, "vision_config")
        sizes = vision.get("backbone_feature_sizes") or [[side, side] for side in default_sides]
        channels = int(vision.get("fpn_hidden_size", 256))
        # The two finer levels are stored as the mask decoder reads them: an eighth and a quarter of the channels.
        return sum(h * w * (channels // d) * _FLOAT for (h, w), d in zip(sizes, (8, 4, 1), strict=True))

    return nbytes


def _embedded_nbytes(_config: Mapping[str, Any]) -> int:
    cells = sum(width * (_EMBEDDED_SIDE // stride) ** 2 for stride, width in _EMBEDDED_WIDTHS.items())
    return 2 * cells + scene_nbytes(_EMBEDDED_SIDE)


_EMBEDDED_SIDE = 512
_EMBEDDED_WIDTHS = MappingProxyType({2: 12, 4: 24, 8: 48, 16: 128})
_EMBEDDED = Family(
    "maskwright.models.embedded.segmenter",
    "load_embedded",
    embedding_nbytes=_embedded_nbytes,
    # The first numbers count changes of the embedded engine's own inputs and neck, and of all that comes after them.
    encode_revision=f"1/{ENCODE_ALGORITHM}/{_EMBEDDED_SIDE}",
    decode_revision=f"2/{DECODE_ALGORITHM}",
)

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "classical": Family("maskwright.models.classical", "ClassicalSegmenter"),
        "embedded": _EMBEDDED,
        "embedded-no-nuclei": _EMBEDDED,
        "sam": Family("maskwright.models.sam", "load_sam", frozenset({"sam"}), _sam_nbytes),
        "sam-hq": Family("maskwright.models.sam", "load_sam_hq", frozenset({"sam_hq"}), _sam_hq_nbytes),
        "sam2": Family(
            "maskwright.models.sam2", "load_sam2", frozenset({"sam2", "sam2_video"}), _pyramid_nbytes((256, 128, 64))
        ),
        "sam3": Family(
            "maskwright.models.sam3",
            "load_sam3",
            frozenset({"sam3_tracker", "sam3_tracker_video", "sam3_video"}),
            _pyramid_nbytes((288, 144, 72)),
        ),
        "segment-anything": Family(
            "maskwright.models.segment_anything", "load_checkpoint", embedding_nbytes=_sam_nbytes
        ),
        "segment-anything-package": Family(
            "maskwright.models.segment_anything_package", "load_checkpoint", embedding_nbytes=_sam_nbytes
        ),
    }
)
"""Family of each scheme of ``maskwright.models.uri.SCHEMES``."""
