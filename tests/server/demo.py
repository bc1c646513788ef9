"""A project with rounds as they would be after some weeks, made without any model: for tests and pictures of pages."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from maskwright.learn.rounds.gallery import picture
from maskwright.learn.rounds.workshop import round_folder
from maskwright.learn.settings import LearningSettings, write_learning
from maskwright.masks import Mask
from maskwright.models.adapters.config import AdapterConfig
from maskwright.models.adapters.files import AdapterCard, write_adapter
from maskwright.models.class_heads import ClassHeadShelf
from maskwright.models.region_head import RegionHead
from maskwright.store.artifacts import write_atomically
from maskwright.store.corrections import CorrectionsStore, Stored, TaskState
from maskwright.store.priorities import Priority, PriorityStore
from maskwright.store.project_notes import ProjectNotes
from maskwright.store.rounds import RoundState, RoundStore
from maskwright.store.served import ServedRegister
from maskwright.store.snapshots import SnapshotStore

BASE = "embedded"
CLASSES = ("nucleus", "mitosis", "debris")
PROMPTS = {"box": 0.86, "1": 0.52, "3": 0.71, "5": 0.79}


def add_project(
    store: CorrectionsStore, title: str = "Nuclei, histology", *, server: str = "http://labels.example:8080",
    number: int = 12, tasks: int = 100, annotated: int = 60,
) -> int:  # fmt: skip
    """A project with tasks, some of them annotated; the store's own number of it."""
    project = store.project("label-studio", server, number, title=title, label_config="<View/>").id
    for start in range(1, tasks + 1, 500):
        store.put_tasks(project, [task(n, annotated=n <= annotated) for n in range(start, min(start + 500, tasks + 1))])
    return project


def task(number: int, *, annotated: bool) -> TaskState:
    """A task of the platform's number."""
    document = json.dumps({"id": number, "result": []}).encode()
    drawn = (Stored(number, "submitted", "7", "2026-05-01T12:00:00Z", "2026-05-01T12:00:00Z", document),)
    return TaskState(number, json.dumps({"image": f"/{number}.png"}).encode(), annotations=drawn if annotated else ())


def figures(learnt: float, version: str) -> dict[str, Any]:
    """FIGURES of a model that has learnt so much, from 0 to 1."""
    iou = {name: round(start + (0.955 - start) * 0.8 * learnt, 4) for name, start in PROMPTS.items()}
    return {
        "segmenter_version": version, "primary": round(sum(iou.values()) / 4, 4),
        **{f"iou_{name}": value for name, value in iou.items()},
        "boundary_iou_5": round(iou["1"] - 0.11, 4), "noc85": round(7.4 - 4.6 * learnt, 3),
        "noc90": round(11.2 - 5.9 * learnt, 3), "failed85": round(0.21 - 0.17 * learnt, 3),
        "calibration_error": round(0.118 - 0.07 * learnt, 4), "miou": round(0.61 + 0.2 * learnt, 4),
        "class_accuracy": round(0.64 + 0.24 * learnt, 4), "objects": 188, "images": 24,
    }  # fmt: skip


def report(number: int, before: float, after: float, gallery: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """The metrics of a whole round."""
    served, candidate = figures(before, "embedded-1"), figures(after, "embedded-2")
    gain = round(candidate["primary"] - served["primary"], 4)
    steps = range(20, 401, 20)
    return {
        "images": {"training": 16 * number, "held_out": 24, "new": 16},
        "objects": {"training": 131 * number, "held_out": 188},
        "training": {
            "steps": 400, "seconds": 96.4, "adapter": {"target": "both", "rank": 8},
            "curve": [
                {"step": s, "loss": round(0.34 + 0.62 * math.exp(-s / 90) + 0.02 * math.sin(s), 4),
                 "validation_iou": round(after * 0.2 + 0.7 - 0.2 * math.exp(-s / 120), 4) if s % 80 == 0 else None}
                for s in steps
            ],
        },
        "served": served, "candidate": candidate,
        "gain": {"mean": gain, "low": round(gain - 0.006, 4), "high": round(gain + 0.007, 4)},
        "by_prompt": [
            {"name": n, "served": served[f"iou_{n}"], "candidate": candidate[f"iou_{n}"],
             "low": candidate[f"iou_{n}"] - served[f"iou_{n}"] - 0.007,
             "high": candidate[f"iou_{n}"] - served[f"iou_{n}"] + 0.008}
            for n in PROMPTS
        ],
        "by_class": [
            {"name": name, "objects": 120 // (i + 1), "served": 0.72 - 0.06 * i,
             "candidate": 0.72 - 0.06 * i + gain * g,
             "low": gain * g - 0.015 * (i + 1), "high": gain * g + 0.016 * (i + 1),
             "error_low": 0.25 + 0.05 * i - gain * g, "error_high": 0.31 + 0.08 * i - gain * g}
            for i, (name, g) in enumerate(zip(CLASSES, (1.3, 0.9, -0.2), strict=True))
        ],
        "by_group": {
            "field": "scanner",
            "groups": [
                {"name": "Aperio AT2", "objects": 92, "images": 11, "error": 0.142, "low": 0.121, "high": 0.166},
                {"name": "Hamamatsu S60", "objects": 61, "images": 8, "error": 0.171, "low": 0.139, "high": 0.207},
                {"name": "phone camera", "objects": 35, "images": 5, "error": 0.268, "low": 0.214, "high": 0.331},
            ],
        },
        "confusion": {
            "classes": [*CLASSES, "(missed)"],
            "rows": [[101, 6, 4, 9], [7, 31, 1, 3], [5, 2, 17, 2], [8, 3, 2, 0]],
        },
        "gallery": [*gallery],
        "seconds": {"data": 4.2, "train": 96.4, "evaluate": 31.0},
    }  # fmt: skip


def draw_gallery(home: Path, project: int, number: int) -> list[dict[str, Any]]:
    """Pictures of made-up cells as files of a round, and the report's rows for them."""
    folder = round_folder(home, project, number)
    folder.mkdir(parents=True)
    notes = {
        "worst": "answer at 1 click against what was drawn",
        "disputed": "served and candidate differ",
        "suspect": "drawn differently from what the model expects",
    }
    found = []
    for row, (kind, note) in enumerate(notes.items()):
        for place in range(1, 6):
            file = f"{kind}-{place:02d}.png"
            write_atomically(folder / file, _cells(seed=100 * number + 10 * row + place))
            found.append({
                "file": file, "kind": kind, "task": str(7 * place + row), "label": CLASSES[(place + row) % 3],
                "iou": round(0.11 * place + 0.05 * row, 2), "note": note,
            })  # fmt: skip
    return found


def _cells(seed: int) -> bytes:
    random = np.random.default_rng(seed)
    canvas = np.full((160, 200, 3), (226, 190, 214), np.uint8)
    canvas = np.clip(canvas + cv2.GaussianBlur(random.normal(0, 30, canvas.shape), (0, 0), 4), 0, 255).astype(np.uint8)
    for _ in range(12):
        centre = tuple(int(v) for v in random.integers((0, 0), (200, 160)))
        axes = tuple(int(v) for v in random.integers(9, 20, 2))
        cv2.ellipse(canvas, centre, axes, int(random.integers(180)), 0, 360, (104, 72, 142), -1, cv2.LINE_AA)
    cv2.ellipse(canvas, (100, 80), (34, 26), 20, 0, 360, (112, 80, 150), -1, cv2.LINE_AA)
    off, size = (tuple(int(v) for v in random.integers(*span, 2)) for span in ((-14, 14), (16, 40)))
    answer = cv2.ellipse(np.zeros((160, 200), np.uint8), (100 + off[0], 80 + off[1]), size, 50, 0, 360, 1, -1)
    drawn = cv2.ellipse(np.zeros((160, 200), np.uint8), (100, 80), (34, 26), 20, 0, 360, 1, -1)
    return picture(canvas, Mask.from_array(drawn), Mask.from_array(answer))


def learn(home: Path, seed: int) -> tuple[str, str]:
    """Ids of an adapter and of a class head, both whole and of no use."""
    random = np.random.default_rng(seed)
    layer = "vision_encoder.layers.0.attn.qkv.q"
    tensors = {f"{layer}.{name}": torch.from_numpy(random.random(shape, np.float32)) for name, shape in
               (("down", (2, 8)), ("up", (8, 2)))}  # fmt: skip
    adapter = write_adapter(home / "adapters", tensors, AdapterCard("demo", AdapterConfig("lora", rank=2)))
    features, prior = random.random((6, 4), np.float32), np.full((6, 3), 0.3, np.float32)
    head = RegionHead.fit(features, [0, 1, 2, 0, 1, 2], prior, classes=CLASSES, made_for="demo")
    return adapter, ClassHeadShelf(home / "classes").write(head)


def add_round(
    store: CorrectionsStore, project: int, state: RoundState, reason: str, metrics: dict[str, Any], *,
    base: str = BASE,
) -> int:  # fmt: skip
    """A round that went all its ways through the real store, and ended so; its number."""
    rounds = RoundStore(store.database)
    queued, _ = rounds.queue(project, trigger="corrections", base=base, config={"acquisition": "hybrid", "seed": 0})
    claimed = rounds.claim("worker-1", 60.0, project_id=project)
    assert claimed is not None
    before = ServedRegister(store.database).current(project, base)
    snapshot = SnapshotStore(store.database).create(f"round-{project}-{queued.number}", project).name
    adapter, classes = learn(store.database.path.parent, queued.number)
    rounds.advance(
        claimed.id, "worker-1", RoundState.EVALUATING, adapter=adapter, classes=classes,
        snapshot=snapshot, served_before=before.id if before else None,
    )  # fmt: skip
    if state is RoundState.PROMOTED:
        rounds.promote(claimed.id, "worker-1", reason=reason, verdict={}, metrics=metrics)
    else:
        rounds.finish(claimed.id, "worker-1", state, reason=reason, verdict={}, metrics=metrics)
    return queued.number


def seed(home: Path, store: CorrectionsStore) -> int:
    """The whole project: five promoted rounds, one refused, one without enough data, and one that is training."""
    project = add_project(store)
    write_learning(
        ProjectNotes(store.database), project, LearningSettings(mode="semi-automatic", group_field="scanner")
    )
    few = "Not enough data: 3 held-out images with 21 objects, but a verdict needs 5 images and 30 objects."
    add_round(store, project, RoundState.UNDECIDED, few, report(1, 0.0, 0.12))
    learnt = 0.0
    for number, after in ((2, 0.3), (3, 0.52), (4, 0.46), (5, 0.7), (6, 0.81), (7, 0.86)):
        metrics = report(number, learnt, after, draw_gallery(home, project, number))
        before, then = metrics["served"]["primary"], metrics["candidate"]["primary"]
        went = f"the mean IoU over box, 1, 3 and 5 clicks went from {before:.4f} to {then:.4f} ({then - before:+.4f})"
        if after < learnt:
            reason = f"Refused: {went}, but the 90 % lower bound of that is {metrics['gain']['low']:+.4f}, not above 0"
            add_round(store, project, RoundState.REFUSED, f"{reason} (188 objects on 24 images).", metrics)
            continue
        reason = (
            f"Promoted: {went}, and the 90 % lower bound of that is {metrics['gain']['low']:+.4f} (188 objects on 24 "
            "images); no prompt type lost more than 0.01 and no class more than 0.05."
        )
        add_round(store, project, RoundState.PROMOTED, reason, metrics)
        learnt = after
    random = np.random.default_rng(0)
    scores = np.sort(random.random(70))
    PriorityStore(store.database).put(project, [
        Priority(
            40 + place, None if place < 2 else float(score),
            {"disagreement": float(random.random()), "bald": float(random.random())}, model_version="embedded-4f2a",
        )
        for place, score in enumerate(scores)
    ])  # fmt: skip
    return project


def begin_round(store: CorrectionsStore, project: int) -> int:
    """One more round that is being trained; its number."""
    rounds = RoundStore(store.database)
    queued, _ = rounds.queue(project, trigger="corrections", base=BASE, config={})
    claimed = rounds.claim("worker-1", 600.0, project_id=project)
    assert claimed is not None
    told = {"stage": "training", "step": 240, "steps": 400, "loss": 0.412, "seconds_left": 38}
    rounds.renew(claimed.id, "worker-1", 600.0, told)
    return queued.number
