"""The files of the embedded segmenter: half-precision safetensors with a card that names their hash."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.checkpoints import PACKAGED_WEIGHTS
from maskwright.models.efficientnet_lite import EfficientNetLite0, folded
from maskwright.models.embedded.network import EmbeddedNetwork

CARD = "cards.json"
"""For every variant: SHA-256 of its file, what it was trained on and how, and what it reaches."""
MOST_BYTES = 32 * 2**20
UNUSED = ("backbone.conv_head.", "backbone.bn1.", "backbone.fc.")
"""The backbone's classifier, which the segmenter has no use for."""


def card(variant: str) -> dict[str, Any]:
    """What is said of a packaged variant.

    Raises:
        ModelUnavailable: If nothing is, or the cards are damaged.
    """
    try:
        found: dict[str, Any] = json.loads((PACKAGED_WEIGHTS / CARD).read_text(encoding="utf-8"))[variant]
        if not re.fullmatch("[0-9a-f]{64}", found["sha256"]):
            raise ValueError("sha256")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelUnavailable(
            f"the model card of '{variant}' is missing or damaged: install maskwright again"
        ) from error
    return found


def write_weights(path: Path, tensors: dict[str, Tensor]) -> str:
    """Write a network's tensors in half precision; returns the file's SHA-256.

    Equal tensors give equal bytes.

    Raises:
        InvalidInput: If a number is not finite or too large.
    """
    half = {
        name: tensor.detach().to(torch.float16).contiguous()
        for name, tensor in sorted(tensors.items())
        if not name.startswith(UNUSED)
    }
    if broken := [name for name, tensor in half.items() if not torch.isfinite(tensor).all()]:
        raise InvalidInput(f"{broken[0]} holds numbers that half precision cannot hold")
    content = save(half, metadata={"format": "pt"})
    beside = path.with_suffix(".partial")
    beside.write_bytes(content)
    beside.replace(path)
    return hashlib.sha256(content).hexdigest()


def read_network(path: Path, sha256: str | None = None) -> EmbeddedNetwork:
    """The network with the weights of a file, in float32 on the CPU, for inference.

    Args:
        path: A safetensors file written by ``write_weights``.
        sha256: The only content accepted, where it is known.

    Raises:
        ModelUnavailable: If the file is missing, too large, damaged, of another content, or another network's.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ModelUnavailable(f"{path.name}: larger than any weights of this network ({MOST_BYTES >> 20} MiB)")
        content = path.read_bytes()
    except OSError as error:
        raise ModelUnavailable(f"the weights {path.name} cannot be read ({error.strerror})") from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise ModelUnavailable(
            f"the weights {path.name} are damaged or not those of their model card: install maskwright again"
        )
    with torch.random.fork_rng(devices=[]):  # the first numbers are drawn in vain, and are not to shift a seeded caller
        network = EmbeddedNetwork(folded(EfficientNetLite0().eval()))
    try:
        tensors = {name: tensor.to(torch.float32) for name, tensor in load(content).items()}
        found = network.load_state_dict(tensors, strict=False)
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise ModelUnavailable(f"the weights {path.name} are damaged or of another network") from error
    missing = [name for name in found.missing_keys if not name.startswith(UNUSED)]
    if missing or found.unexpected_keys:
        raise ModelUnavailable(f"the weights {path.name} are of another version of the network")
    network.backbone.conv_head = network.backbone.bn1 = network.backbone.fc = torch.nn.Identity()  # type: ignore[assignment]
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network.eval().requires_grad_(False)
