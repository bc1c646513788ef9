from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from maskwright.errors import InvalidInput
from maskwright.export import import_work
from maskwright.export.coco_in import CocoReader
from maskwright.export.import_work import NamedEntries, make_tasks
from maskwright.export.workers import Workers


@dataclass(frozen=True)
class Areas:
    """A platform that writes the areas of regions."""

    holds_boxes: bool = False

    def task(self, relative, regions):
        if relative == "refused.png":
            raise InvalidInput("no such image here")
        return json.dumps([relative, [int(region.mask.area) for region in regions]]).encode()


@pytest.fixture
def at_once(monkeypatch):
    """Processes from the first chunk on, and small chunks."""
    monkeypatch.setattr(import_work, "Workers", partial(Workers, patience_s=0))
    monkeypatch.setattr(import_work, "_CHUNK_ANNOTATIONS", 20)


def coco(path: Path, **changes: object) -> Path:
    square = [0, 0, 1, 0, 1, 1, 0, 1]
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": 40, "width": 40} for n in range(120)],
        "annotations": [
            {"id": n, "image_id": n % 100, "category_id": 1, "segmentation": [[v * (1 + n % 9) for v in square]]}
            for n in range(300)
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }
    content["annotations"][150] |= changes
    path.write_text(json.dumps(content).replace('{"id"', '\n{"id"'))
    return path


def made(path: Path, workers: int, name: str = "{}") -> list[bytes]:
    with CocoReader(path) as reader:
        images = (NamedEntries(name.format(e.image.file_name), e) for e in reader.entries())
        return [task.text for task in make_tasks(reader, images, Areas(), workers)]


def test_many_processes_make_the_same_tasks_in_the_same_order(tmp_path, at_once):
    path = coco(tmp_path / "c.json")
    alone = made(path, 1)
    assert len(alone) == 120
    assert json.loads(alone[3]) == ["3.png", [16, 25, 36]]
    assert made(path, 2) == alone


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_wrong_is_told_with_its_line_whoever_finds_it(tmp_path, at_once, workers):
    path = coco(tmp_path / "c.json", segmentation=[[1, 2, 3]])
    line = path.read_text().split('{"id": 150, "image_id"')[0].count("\n") + 1
    with pytest.raises(InvalidInput, match=rf"^c\.json, line {line}: annotation 150: polygon 0"):
        made(path, workers)
    path = coco(tmp_path / "c.json", segmentation=[], bbox=[1, 1, 5, 5])
    with pytest.raises(InvalidInput, match="annotation 150 has a box and no segmentation"):
        made(path, workers)
    with pytest.raises(InvalidInput, match="image 0: no such image here"):
        made(coco(tmp_path / "c.json"), workers, "refused.png")
