"""Adapters as files: ``<id>.safetensors``, the id a hash of the content, with a card of what it fits and came from.

Nothing in a file is trusted before all of it is checked: the content against the id, the sizes, the names, every
number, and the base that it was trained on. Imports no PyTorch before tensors are asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.adapters.config import AdapterConfig, touches_encoder
from maskwright.store.artifacts import write_atomically

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
"""Version of the files; a reader refuses another."""
MOST_BYTES = 256 * 2**20
"""Larger than any adapter: the mask decoder of SAM takes 16 MB, rank 64 on every layer of ViT-H 100 MB."""
_MOST_HEADER_BYTES = 4 * 2**20
_LENGTH_BYTES = 8
_CARD = "maskwright_adapter"
"""The one entry of the metadata. With more, equal adapters would not be equal files: their order is not fixed."""
ID = re.compile("[0-9a-f]{32}")
_ADVICE = "go back to an earlier version of the model, or train again"


@dataclass(frozen=True)
class AdapterCard:
    """What is said of an adapter in its file.

    Attributes:
        base: Identity of the weights it was trained on; see ``ModelRegistry.base_identity``.
        config: What was trained.
        base_version: Readable version of that base.
        parent: Id of the adapter that training went on from, or None.
        snapshot: Digest of the corrections it learnt from; empty = unknown.
        metrics: Anything measured, as JSON values.
    """

    base: str
    config: AdapterConfig
    base_version: str = ""
    parent: str | None = None
    snapshot: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AdapterSummary:
    """A checked file without its tensors.

    Attributes:
        id: Of the adapter.
        card: What is said in the file.
        names: Of its tensors.
    """

    id: str
    card: AdapterCard
    names: tuple[str, ...]

    @property
    def touches_encoder(self) -> bool:
        """Whether image embeddings of the adapted model differ from the base's."""
        return touches_encoder(self.names)


def write_adapter(folder: Path, tensors: Mapping[str, Tensor], card: AdapterCard) -> str:
    """Write an adapter, whole or not at all, and on the disk before this returns.

    Args:
        folder: Is made if it is not there.
        tensors: From ``trained_tensors``.
        card: What is said of them.

    Returns:
        The adapter's id, 32 hex digits. Equal tensors and cards give equal ids.

    Raises:
        InvalidInput: If there are no tensors, a number is not finite, the names are not of the kind that the card
            says, the card is not JSON, or the folder cannot be written.
    """
    from safetensors.torch import save

    if fault := _fault_of_names(card.config, tensors):
        raise InvalidInput(f"adapter: {fault}")
    for name, tensor in tensors.items():
        if fault := _fault_of_tensor(name, tensor):
            raise InvalidInput(f"adapter: {fault}")
    said = {
        "format": FORMAT,
        "base": card.base,
        "base_version": card.base_version,
        "config": card.config.to_json(),
        "parent": card.parent,
        "snapshot": card.snapshot,
        "metrics": dict(card.metrics),
    }
    try:
        text = json.dumps(said, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInput("adapter: its metrics are no JSON values (numbers must be finite)") from error
    held = {name: tensor.detach().to("cpu").contiguous() for name, tensor in sorted(tensors.items())}
    content = save(held, metadata={_CARD: text})
    if len(content) > MOST_BYTES:
        raise InvalidInput(f"adapter: {len(content) >> 20} MiB; an adapter takes at most {MOST_BYTES >> 20} MiB")
    identifier = _digest(content)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / file_name(identifier), content)
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)  # the new name, too, survives a power cut
        finally:
            os.close(handle)
    except OSError as error:
        raise InvalidInput(f"adapter: {folder} cannot be written ({error.strerror})") from error
    return identifier


def read_summary(folder: Path, identifier: str, *, base: str | None = None) -> AdapterSummary:
    """Check a file and tell what is in it, without PyTorch; see ``read_adapter``."""
    return _summary(identifier, _content(folder, identifier), base)


def read_adapter(folder: Path, identifier: str, *, base: str | None = None) -> tuple[AdapterSummary, dict[str, Tensor]]:
    """Read an adapter.

    Args:
        folder: Where adapters lie.
        identifier: Of the adapter.
        base: Identity of the weights that it must fit, or None to take any.

    Raises:
        ModelUnavailable: If the file is missing, too large, cut short, altered, of another format or kind or for
            another base, or holds a number that is not finite; the message names the adapter, the fault and what to do.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = _content(folder, identifier)
    summary = _summary(identifier, content, base)
    try:
        tensors = load(content)
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _unusable(identifier, "is damaged") from error
    for name, tensor in tensors.items():
        if fault := _fault_of_tensor(name, tensor):
            raise _unusable(identifier, f"is refused: {fault}")
    return summary, tensors


def _content(folder: Path, identifier: str) -> bytes:
    """The bytes of a file that are what its id names."""
    if not ID.fullmatch(identifier):
        raise ModelUnavailable(f"adapter {identifier!r}: an adapter's id has 32 hex digits")
    try:
        with (folder / file_name(identifier)).open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise _unusable(identifier, "is not among this server's adapters") from error
    except OSError as error:
        raise _unusable(identifier, f"cannot be read ({error.strerror})") from error
    if len(content) > MOST_BYTES:
        raise _unusable(identifier, f"is larger than any adapter ({MOST_BYTES >> 20} MiB)")
    if _digest(content) != identifier:
        raise _unusable(identifier, "is cut short" if _is_cut(content) else "is damaged or was altered")
    return content


def _summary(identifier: str, content: bytes, base: str | None) -> AdapterSummary:
    try:
        header = _header(content)
        said = json.loads(header.pop("__metadata__")[_CARD])
        version = said["format"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _unusable(identifier, "is no adapter of Maskwright") from error
    if version != FORMAT:
        raise _unusable(identifier, f"is of format {version!r}, and this version reads {FORMAT}")
    try:
        card = AdapterCard(
            base=_text(said["base"]),
            config=AdapterConfig.from_json(said["config"]),
            base_version=_text(said["base_version"]),
            parent=None if said["parent"] is None else _text(said["parent"]),
            snapshot=_text(said["snapshot"]),
            metrics=dict(said["metrics"]),
        )
    except InvalidInput as error:
        raise _unusable(identifier, f"is refused: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise _unusable(identifier, "has a malformed card") from error
    if fault := _fault_of_names(card.config, header):
        raise _unusable(identifier, f"is refused: {fault}")
    summary = AdapterSummary(identifier, card, tuple(sorted(header)))
    check_base(summary, base)
    return summary


def check_base(summary: AdapterSummary, base: str | None) -> None:
    """Raise ``ModelUnavailable`` if an adapter was trained on other weights than those of this identity."""
    if base is not None and summary.card.base != base:
        trained_on = summary.card.base_version or summary.card.base
        raise _unusable(summary.id, f"was trained on another base model ({trained_on})")


def _header(content: bytes) -> dict[str, Any]:
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    if len(content) < _LENGTH_BYTES or length > min(_MOST_HEADER_BYTES, len(content) - _LENGTH_BYTES):
        raise ValueError("header")
    header = json.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + length])
    if not isinstance(header, dict):
        raise ValueError("header")
    return header


def _is_cut(content: bytes) -> bool:
    """Whether bytes begin as a safetensors file does and end before it should."""
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    if len(content) < _LENGTH_BYTES or len(content) < _LENGTH_BYTES + length <= _LENGTH_BYTES + _MOST_HEADER_BYTES:
        return True
    try:
        header = _header(content)
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        return bool(max(ends, default=0) > len(content) - _LENGTH_BYTES - length)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return False


def _fault_of_names(config: AdapterConfig, names: Mapping[str, Any]) -> str:
    """Why tensors of these names cannot be an adapter of this config, as far as names tell without the network."""
    factors = {"down", "up", "experts", "gate"} if config.kind == "conv-lora" else {"down", "up"}
    corrections = [name for name in names if name.rpartition(".")[2] in factors]
    others = sorted(set(names) - set(corrections))
    if not names or (config.has_corrections and not corrections) or (config.has_decoder and not others):
        return f"it holds less than an adapter of kind '{config.kind}'"
    if corrections and not config.has_corrections:
        return f"{sorted(corrections)[0]} is no part of an adapter of kind '{config.kind}'"
    if others and not config.has_decoder:
        return f"{others[0]} is no part of an adapter of kind '{config.kind}'"
    if others and touches_encoder(others):
        return f"{next(n for n in others if touches_encoder([n]))} is no part of a mask decoder"
    return ""


def _fault_of_tensor(name: str, tensor: Tensor) -> str:
    import torch

    if not tensor.is_floating_point():
        return f"{name} holds no floating-point numbers"
    return "" if bool(torch.isfinite(tensor).all()) else f"{name} holds a number that is not finite"


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def file_name(identifier: str) -> str:
    """Name of an adapter's file."""
    return f"{identifier}.safetensors"


def _unusable(identifier: str, fault: str) -> ModelUnavailable:
    return ModelUnavailable(f"adapter {identifier} {fault}; {_ADVICE}")
