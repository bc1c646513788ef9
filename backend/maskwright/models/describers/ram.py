"""RAM++ (Swin-L, 4,585 tags with a threshold each) on the package ``ram``, which users install themselves.

The package is not on PyPI, and transformers holds no such class. What its authors released calls functions that
transformers 5 no longer has, so a copy of it that was brought to transformers 5 is needed; of that, only what
``load_ram`` and ``RamTagger`` touch has to be as in the release. The package's own loader opens checkpoints as pickles
and prints where they lie, so the network is made empty and filled here from tensors alone (Huang et al. 2023, arXiv
2310.15200).
"""

from __future__ import annotations

import importlib
import pickle
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from maskwright.errors import ModelUnavailable
from maskwright.models.checkpoints import Checkpoint
from maskwright.models.describers.tiles import tiles, united
from maskwright.models.device import ComputeDevice
from maskwright.models.preprocessing import InputFrame
from maskwright.models.protocols import RGB, Tag
from maskwright.models.stages import StageDescription

SIDE = 384
"""Pixels of its square input, to which images are stretched."""
_COMPUTED = ("relative_position_index", "attn_mask")
"""Buffers that the network computes itself, whatever a checkpoint says of them."""
_NAMED = 3
_REMEDY = (
    "it comes from github.com/xinyu1205/recognize-anything, not from PyPI, and its release is written for "
    "transformers 4, so install a copy that was brought to transformers 5, or take a tagger that needs no such "
    "package: clip:, siglip: or florence2:"
)


class RamTagger:
    """Images to the package's tags; large images in tiles, whose tags are united.

    Args:
        network: The package's ``RAM_plus``, in evaluation mode on ``device``.
        description: Name and version.
        device: Where it runs.
    """

    def __init__(self, network: Any, description: StageDescription, device: ComputeDevice) -> None:
        self.name, self.version = description.name, description.version
        self._network, self._device = network, device
        self._frame = InputFrame(SIDE, keep_aspect=False)
        self._places = {str(word): index for index, word in enumerate(network.tag_list)}
        self._lock = threading.Lock()
        self._logits: list[torch.Tensor] = []
        # The package says which tags pass their thresholds, not by how much: that is read where it computes it.
        network.fc.register_forward_hook(lambda _module, _inputs, output: self._logits.append(output))

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The package's words."""
        return tuple(self._places)

    def tags(self, images: Sequence[RGB], *, top: int = 10) -> list[list[Tag]]:
        """Of each (H, W, 3) uint8 RGB image the tags above the package's thresholds, most probable first.

        Raises:
            InvalidInput: If an image has another form or holds no pixel.
        """
        return [united((self._tile_tags(tile) for tile in tiles(image)), top) for image in images]

    def _tile_tags(self, tile: RGB) -> list[Tag]:
        pixels = torch.from_numpy(self._frame.pixels(tile))[None].to(self._device.torch)
        with self._lock, self._device.inference():
            self._logits.clear()
            passed = self._network.generate_tag(pixels)[0][0]
            probabilities = torch.sigmoid(self._logits[-1].float()).flatten().cpu()
        words = [word.strip() for word in passed.split("|")]
        return [Tag(word, float(probabilities[self._places[word]])) for word in words if word in self._places]


def load_ram(checkpoint: Checkpoint, description: StageDescription, device: ComputeDevice) -> RamTagger:
    """Load a Swin-L checkpoint of RAM++ (``ram_plus_swin_large_14m.pth``) into the package's network.

    Raises:
        ModelUnavailable: If the package is not installed or of another interface, or the file is no such checkpoint.
    """
    try:
        ram_plus = importlib.import_module("ram.models").ram_plus
    except (ImportError, RuntimeError, AttributeError) as error:  # versions of torchvision and timm that do not fit
        absent = isinstance(error, ModuleNotFoundError) and error.name == "ram"
        state = "is not installed" if absent else "cannot be imported beside this version of transformers"
        raise ModelUnavailable(f"model {checkpoint.uri}: the package 'ram' {state}; {_REMEDY}") from error
    try:
        network = ram_plus(pretrained="", image_size=SIDE, vit="swin_l")
    except OSError as error:
        raise ModelUnavailable(
            f"model {checkpoint.uri}: the package 'ram' builds on the tokenizer of bert-base-uncased, which is not on "
            "this machine; run 'hf download bert-base-uncased' where there is a connection"
        ) from error
    if not all(hasattr(network, part) for part in ("generate_tag", "tag_list", "fc")):
        raise ModelUnavailable(f"model {checkpoint.uri}: the package 'ram' here has another interface; {_REMEDY}")
    _fill(network, _tensors(checkpoint), checkpoint)
    return RamTagger(network.float().eval().requires_grad_(False).to(device.torch), description, device)


def _tensors(checkpoint: Checkpoint) -> Mapping[str, torch.Tensor]:
    assert checkpoint.path is not None
    try:
        content = torch.load(checkpoint.path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ModelUnavailable(
            f"model {checkpoint.uri}: the file is no checkpoint of tensors alone; other pickles can run code when "
            "opened and are refused"
        ) from error
    state = content.get("model", content) if isinstance(content, Mapping) else {}
    if not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelUnavailable(f"model {checkpoint.uri}: the file holds no weights of RAM++")
    return {
        name.replace("vision_multi", "tagging_head"): tensor
        for name, tensor in state.items()
        if not any(part in name for part in _COMPUTED)
    }


def _fill(network: Any, state: Mapping[str, torch.Tensor], checkpoint: Checkpoint) -> None:
    try:
        missing = network.load_state_dict(state, strict=False).missing_keys
    except RuntimeError as error:
        raise ModelUnavailable(
            f"model {checkpoint.uri}: its tensors have other shapes than RAM++ with Swin-L at {SIDE} px"
        ) from error
    missing = [name for name in missing if not any(part in name for part in _COMPUTED)]
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise ModelUnavailable(
            f"model {checkpoint.uri}: its weights are incomplete for RAM++ with Swin-L; missing: "
            f"{', '.join(missing[:_NAMED])}{more}"
        )
