"""Files of region heads: safetensors, with everything needed to tell that they are whole and fit."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_safetensors

from maskwright.errors import ModelUnavailable

if TYPE_CHECKING:
    from maskwright.models.region_head import RegionHead

KIND = "maskwright-region-head-1"
ADVICE = "learn it again or go back to an earlier version"


def digest(head: RegionHead) -> str:
    """64 hex digits (SHA-256) of all that a head holds."""
    description = json.dumps([KIND, head.classes, head.trust, head.made_for, head.weights.shape])
    content = hashlib.sha256(description.encode())
    for array, kind in ((head.counts, "<i8"), (head.weights, "<f4"), (head.centre, "<f4")):
        content.update(np.ascontiguousarray(array, dtype=kind).tobytes())
    return content.hexdigest()


def save(head: RegionHead, path: Path) -> None:
    """Write a head to a file, whole or not at all."""
    metadata = {
        "kind": KIND,
        "classes": json.dumps(head.classes),
        "trust": repr(head.trust),
        "made_for": head.made_for,
        "sha256": digest(head),
    }
    arrays = {"counts": head.counts, "weights": head.weights, "centre": head.centre}
    content = to_safetensors({name: np.ascontiguousarray(array) for name, array in arrays.items()}, metadata)
    partial = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load(path: Path) -> RegionHead:
    """Read a head from a file.

    Raises:
        ModelUnavailable: If the file is missing, damaged, altered or of another kind or version.
    """
    from maskwright.models.region_head import RegionHead

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("kind") != KIND:
                raise ModelUnavailable(
                    f"{path.name} is no region head of this version ({metadata.get('kind')!r}, not {KIND!r}); {ADVICE}"
                )
            head = RegionHead(
                tuple(json.loads(metadata["classes"])),
                file.get_tensor("counts"),
                file.get_tensor("weights"),
                file.get_tensor("centre"),
                float(metadata["trust"]),
                metadata["made_for"],
            )
        whole = digest(head) == metadata["sha256"]
    except FileNotFoundError as error:
        raise ModelUnavailable(f"the region head {path.name} is missing; {ADVICE}") from error
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise ModelUnavailable(f"the region head {path.name} is damaged; {ADVICE}") from error
    shape = (len(head.centre), len(head.classes) + 1)
    if not whole or head.weights.shape != shape or head.counts.shape != shape[1:]:
        raise ModelUnavailable(f"the region head {path.name} is damaged or was altered; {ADVICE}")
    return head
