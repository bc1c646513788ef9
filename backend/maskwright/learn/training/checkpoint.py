"""A training run on disk: one safetensors file, whole or not there, so that a killed run goes on where it was.

Everything random is drawn from the seed and the number of the step, so that nothing else has to be remembered, and a
run that went on ends with the tensors of one that was never stopped.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from maskwright.errors import InvalidInput
from maskwright.store.artifacts import write_atomically

log = logging.getLogger(__name__)
FORMAT = 1
_LENGTH_BYTES = 8


@dataclass(eq=False)
class Progress:
    """Where a run is, but for its tensors.

    Attributes:
        step: Steps done.
        seconds: Spent.
        loss: Moving average of the steps' losses.
        best: Best validation IoU so far, or None.
        stale: Looks at the validation images since then.
        curve: See ``Trained``.
    """

    step: int = 0
    seconds: float = 0.0
    loss: float = 0.0
    best: float | None = None
    stale: int = 0
    curve: list[dict[str, Any]] = field(default_factory=list)


def write(path: Path, identity: str, progress: Progress, tensors: dict[str, Tensor]) -> None:
    """Write a run.

    Args:
        path: Is replaced; its folder is made if it is not there.
        identity: What the run is a function of.
        progress: Where it is.
        tensors: All that it needs to go on.

    Raises:
        InvalidInput: If it cannot be written.
    """
    held = {name: tensor.detach().to("cpu").contiguous() for name, tensor in sorted(tensors.items())}
    said = {"format": FORMAT, "identity": identity, "progress": asdict(progress), "digest": _digest(held)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"cannot write {path}: {error.strerror}") from error
    write_atomically(path, save(held, metadata={"maskwright_training": json.dumps(said)}))


def read(path: Path, identity: str) -> tuple[Progress, dict[str, Tensor]] | None:
    """The run that was left at a place, or None if there is none, or none of this identity that is whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    try:
        length = int.from_bytes(content[:_LENGTH_BYTES], "little")
        header = json.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + length])
        said = json.loads(header["__metadata__"]["maskwright_training"])
        tensors = load(content)
        whole = said["format"] == FORMAT and said["digest"] == _digest(tensors)
        progress = Progress(**said["progress"])
    except (ValueError, KeyError, TypeError, SafetensorError, RecursionError):
        whole = False
    if not whole:
        log.warning("%s: the checkpoint is damaged; training begins anew", path.name)
        return None
    if said["identity"] != identity:
        log.info("%s: the checkpoint is of another config, base or set of corrections; training begins anew", path.name)
        return None
    return progress, tensors


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name};{tensor.dtype};{tuple(tensor.shape)};".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
