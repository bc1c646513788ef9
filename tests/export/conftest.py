"""Small Label Studio exports for tests: the fixture ``files`` has all of the functions below."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from maskwright.export.plan import Plan
from maskwright.export.records import Dataset
from maskwright.export.registry import find_format
from maskwright.export.selection import Selection
from maskwright.masks import Mask
from maskwright_label_studio.brush import encode_brush
from maskwright_label_studio.reader import LabelStudioReader

SIZE = (40, 60)
LABELS = {"cat": 1, "dog": 2}


def brush(mask: Mask, label: str = "cat", key: str = "r1") -> dict[str, Any]:
    """A brush region of a result."""
    value = {"format": "rle", "rle": encode_brush(mask).tolist(), "brushlabels": [label]}
    return _region("brushlabels", value, mask.size, key)


def polygon(points: Sequence[tuple[float, float]], label: str = "cat", key: str = "p1") -> dict[str, Any]:
    """A drawn polygon; corners in per cent."""
    return _region("polygonlabels", {"points": [list(p) for p in points], "polygonlabels": [label]}, SIZE, key)


def _region(kind: str, value: dict[str, Any], size: tuple[int, int], key: str) -> dict[str, Any]:
    return {
        "id": key, "type": kind, "from_name": "mask", "to_name": "image", "original_width": size[1],
        "original_height": size[0], "image_rotation": 0, "value": value,
    }  # fmt: skip


def task(number: int, *regions: dict[str, Any], name: str = "", person: int = 1) -> dict[str, Any]:
    """A task with one annotation."""
    annotation = {
        "id": 10 * number, "completed_by": person, "was_cancelled": False, "result": list(regions),
        "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    source = f"/data/upload/1/{name or f'{number:08x}-picture.png'}"
    return {"id": number, "project": 1, "data": {"image": source}, "annotations": [annotation], "predictions": []}


def tasks(count: int) -> list[dict[str, Any]]:
    """Tasks with two regions each, one with a hole."""
    found = []
    for number in range(1, count + 1):
        ring = Mask.from_ellipse(20 + number % 20, 20, 14, 12, number, SIZE) - Mask.from_box((18, 15, 24, 22), SIZE)
        box = Mask.from_box((2, 2, 5 + number % 30, 9), SIZE)
        found.append(task(number, brush(ring, "cat", "a"), brush(box, "dog", "b")))
    return found


def write(folder: Path, found: Sequence[dict[str, Any]], name: str = "tasks.json") -> Path:
    """A file with a task per line, the first one in line 2."""
    path = folder / name
    path.write_text("[\n" + ",\n".join(map(json.dumps, found)) + "\n]\n")
    return path


def plan(form: str = "coco", make: Callable[[], Any] | None = None, **options: Any) -> Plan:
    """A plan for such files."""
    dataset = Dataset(options.pop("categories", LABELS), **options)
    chosen = find_format(form) if make is None else make()
    return Plan(LabelStudioReader(), Selection(), chosen, dataset, {"source": "tests"})


def tree(folder: Path) -> dict[str, bytes]:
    """The files that a user sees in a folder, by relative path; hidden ones are left out."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }


@pytest.fixture
def files() -> SimpleNamespace:
    """The functions of this module."""
    return SimpleNamespace(
        SIZE=SIZE,
        LABELS=LABELS,
        brush=brush,
        polygon=polygon,
        task=task,
        tasks=tasks,
        write=write,
        plan=plan,
        tree=tree,
    )
