"""A project of small drawn pictures in a real store, annotated as Label Studio tells it, and a workshop over it."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maskwright.errors import NotFound
from maskwright.labels import LabelSet
from maskwright.learn.gate.held_out import Parts
from maskwright.learn.rounds.requests import queue_round
from maskwright.learn.rounds.run import run_round
from maskwright.learn.rounds.workshop import HELD_OUT, Workshop
from maskwright.learn.settings import LearningSettings, write_learning
from maskwright.masks import Mask
from maskwright.models.registry import ModelRegistry
from maskwright.settings import Settings
from maskwright.store.corrections import CorrectionsStore, Proposal, Stored, TaskState, open_store
from maskwright.store.rounds import Round
from maskwright_label_studio.brush import encode_brush
from maskwright_label_studio.reader import LabelStudioReader

PLATFORM, SERVER, NUMBER = "label-studio", "http://127.0.0.1:8080", 7
CONFIG = """<View><Image name="image" value="$image"/><BrushLabels name="mask" toName="image">
<Label value="thing"/></BrushLabels></View>"""
PLACES = [(28, 28), (28, 66), (28, 104), (28, 140), (82, 28), (82, 66), (82, 104), (82, 140)]
SIZE = (112, 168)


def drawn(number: int, objects: int = 8) -> tuple[bytes, list[Mask]]:
    """A PNG of rings around dark discs on a noisy ground; an object is ring and disc together."""
    rng = np.random.default_rng(number)
    image = rng.integers(60, 110, (*SIZE, 3)).astype(np.uint8)
    ys, xs = np.mgrid[: SIZE[0], : SIZE[1]]
    masks = []
    for y, x in PLACES[:objects]:
        y, x, r = y + int(rng.integers(-4, 5)), x + int(rng.integers(-4, 5)), int(rng.integers(11, 17))
        distance = np.hypot(ys - y, xs - x)
        image[distance < r] = rng.integers(150, 256, 3)
        image[distance < r * 0.6] = rng.integers(0, 60, 3)
        masks.append(Mask.from_array(distance < r))
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "png")
    return stream.getvalue(), masks


def region(mask: Mask, key: str, label: str = "thing", score: float | None = None) -> dict[str, Any]:
    """A brush region of a result."""
    found = {
        "id": key, "type": "brushlabels", "from_name": "mask", "to_name": "image", "original_width": mask.size[1],
        "original_height": mask.size[0], "image_rotation": 0,
        "value": {"format": "rle", "rle": encode_brush(mask).tolist(), "brushlabels": [label]},
    }  # fmt: skip
    return found if score is None else found | {"score": score}


def task(
    number: int,
    masks: Sequence[Mask],
    *,
    at: str = "2026-01-01T00:00:00Z",
    proposed: Sequence[tuple[Mask, float]] = (),
    **fields: Any,
) -> TaskState:
    """A task with one submitted annotation, which began from a prediction if anything is proposed."""
    result = [region(mask, f"r{n}") for n, mask in enumerate(masks)]
    document = {
        "id": 100 + number, "completed_by": 1, "was_cancelled": False, "result": result, "lead_time": 30.0 + number,
        "created_at": at, "updated_at": at, "parent_prediction": 500 + number if proposed else None,
    }  # fmt: skip
    stored = Stored(100 + number, "submitted", "1", at, at, json.dumps(document).encode(), 30.0 + number)
    guesses = [region(mask, f"r{n}", score=score) for n, (mask, score) in enumerate(proposed)]
    prediction = {"id": 500 + number, "model_version": "base-1", "result": guesses, "created_at": at, "updated_at": at}
    proposals = (Proposal(500 + number, "base-1", json.dumps(prediction).encode(), at),) if proposed else ()
    data = json.dumps({"image": f"/data/upload/7/{number}.png", **fields}).encode()
    return TaskState(number, data, at, (stored,), proposals)


class Folder:
    """Finds the pictures of tasks."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def __call__(self, source: str, file_name: str, task: str) -> bytes:
        if source not in self.files:
            raise NotFound(f"there is no image {source!r}")
        return self.files[source]


class Project:
    """A project of pictures in a store of its own.

    Args:
        home: Folder of the store.
        pictures: How many tasks it has.
        held_out: The last so many pictures are held out.
        objects: On each picture.
        shuffled: Whether training pictures have the masks of another place.
    """

    def __init__(
        self, home: Path, pictures: int = 8, held_out: int = 5, objects: int = 6, shuffled: bool = False
    ) -> None:
        self.settings = Settings(home=home, device="cpu", model="embedded", cpu_threads=1)
        self.store: CorrectionsStore = open_store(home)
        self.row = self.store.project(PLATFORM, SERVER, NUMBER, title="Rings", label_config=CONFIG)
        self.files: dict[str, bytes] = {}
        keys = []
        for number in range(1, pictures + 1):
            content, masks = drawn(number, objects)
            if shuffled and number <= pictures - held_out:
                masks = [Mask.from_array(np.roll(mask.to_array(), (45, 20), (0, 1))) for mask in masks]
            self.files[f"/data/upload/7/{number}.png"] = content
            keys.append(sha256(content).hexdigest())
            self.store.put_tasks(self.row.id, [task(number, masks, scanner="a" if number % 2 else "b")])
        self.keys = tuple(keys)
        parts = Parts(tuple(sorted(keys[: pictures - held_out])), tuple(sorted(keys[pictures - held_out :])))
        self.workshop = Workshop(
            self.settings,
            self.store,
            ModelRegistry(self.settings),
            reader=lambda project: LabelStudioReader(project.label_config),
            images=lambda project: Folder(self.files),
            labels=lambda project: LabelSet.of(["thing"]),
        )
        self.workshop.notes.put(self.row.id, HELD_OUT, parts.to_json())
        self.learn()

    def run(self, owner: str = "tests", lease_s: float = 60.0, **options: Any) -> Round:
        """Queue a round, claim it and run it; see ``run_round``."""
        queue_round(self.workshop, self.row, trigger="tests", force=True)
        claimed = self.workshop.rounds.claim(owner, lease_s)
        assert claimed is not None
        return run_round(claimed, self.workshop, owner, lease_s=lease_s, **options)

    def learn(self, **changes: Any) -> None:
        """Choose learning settings."""
        few = {"steps": 1, "debounce_s": 0.0, "group_field": "scanner", **changes}
        write_learning(self.workshop.notes, self.row.id, LearningSettings(**few))


@pytest.fixture
def make_project(tmp_path):
    """Makes projects; see ``Project``."""
    made = []

    def make(**options: Any) -> Project:
        made.append(Project(tmp_path / f"home{len(made)}", **options))
        return made[-1]

    yield make
    for project in made:
        project.store.close()
