"""Fit the constants of the weight-free segmenter (``maskwright.models.classical_scores``) and print them.

Run: .venv/bin/python tests/bench/fit_classical.py [--scenes 80] [--nuclei 160] [--rounds 2] [--seed 0]

Data, all free to train on: objects of the first 100 images of nuclei (CC0; the others are held out), and invented
scenes (``maskwright.learn.base.drawn``). Nothing else is read.

Method: simulated boxes and clicks are answered by the segmenter itself while every family of candidates that it judges
is noted, with what was measured on each candidate and the IoU it really has. Ridge regression per stage, every kind of
target weighing the same, gives the next round's constants. Columns are dropped while two-fold cross-validation over
images says that the choice among candidates does not suffer.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from bench_classical import objects, read, tight_box
from numpy.typing import NDArray

from maskwright.learn.base.drawn import drawn
from maskwright.learn.clicker import Answer, Click, next_click
from maskwright.learn.interactive import Session
from maskwright.learn.metrics import Pixels, iou
from maskwright.models import classical_answers, classical_proposals, classical_scores
from maskwright.models.classical import ClassicalSegmenter
from maskwright.models.classical_regions import FEATURES, Family, Scene

START = {
    "first": {"central": 0.8, "ragged": -0.1}, "add": {"central": 0.8}, "remove": {"central": 0.8},
    "box": {"box_iou": 0.8}, "refined": {"one": 0.5}, "proposal": {"one": 0.9, "ragged": -0.2},
}  # fmt: skip
"""What the first round answers with: not fitted on anything."""
CLICKS = 5
LOOSENESS = 0.16
"""Every third box, and all in plain scenes, is larger than its object by up to this share of its side, on each side."""
RIDGE = 3.0
MOST_COLUMNS = 10
PROPOSAL_COLUMNS = ("one", "strength", "weak", "frame", "ragged", "depth", "contrast")
GOOD_SHARE = 0.4
"""Weight of the proposals that meet an object among all: by number they would hardly count."""
WORTH = 0.003
"""Columns are dropped until the choice is worse than the best seen by this much IoU."""
Floats = NDArray[np.float64]
Judged = tuple[str, int, Floats, Floats]
"""Kind of target, image, (K, F) measurements and (K,) true IoU of candidates that were judged together."""


@dataclass
class Notes:
    """What the segmenter judged, per stage."""

    families: dict[str, list[Judged]] = field(default_factory=dict)
    kind: str = ""
    image: int = 0
    truth: Pixels | None = None
    last: tuple[Scene, Family, NDArray[np.bool_]] | None = None

    def watch(self) -> None:
        """From now on note whatever ``classical_answers`` measures and judges."""
        measure, expected_iou = classical_answers.measure, classical_scores.expected_iou

        def measure_and_keep(scene: Scene, family: Family, seed: Any, current: NDArray[np.bool_], box: Any) -> Floats:
            self.last = (scene, family, current)
            return measure(scene, family, seed, current, box)

        def judge_and_note(stage: Any, measured: Floats) -> Floats:
            self.families.setdefault(stage, []).append((self.kind, self.image, measured, self._true(stage)))
            return expected_iou(stage, measured)

        classical_answers.measure = measure_and_keep
        classical_answers.expected_iou = judge_and_note

    def _true(self, stage: str) -> Floats:
        if self.last is None or self.truth is None:
            raise AssertionError(stage)
        scene, family, current = self.last
        truth = cv2.resize(self.truth.astype(np.float32), scene.size[::-1], interpolation=cv2.INTER_AREA) > 0.5
        wanted = np.bincount(scene.tree.leaf.ravel(), truth.ravel(), minlength=scene.tree.count)
        if stage in ("add", "remove"):  # a click means to change what is wrong in its direction
            wanted = np.where(current, 0, wanted) if stage == "add" else np.where(current, scene.area - wanted, 0)

        def sums(leaves: Floats) -> Floats:
            return np.cumsum(np.bincount(family.level, leaves, minlength=family.count + 1))[: family.count]

        hit = sums(wanted)
        return np.asarray(hit / np.maximum(sums(scene.area) + wanted.sum() - hit, 1))


def clicked_ious(truth: Pixels, answer: Answer) -> list[float]:
    """IoU after each of ``CLICKS`` clicks.

    Where nothing is wrong the first pixel is marked as off the object, because the shipped constants were fitted so.
    """
    mask, taken, clicks, found = np.zeros_like(truth), np.zeros_like(truth), [], []
    for _ in range(CLICKS):
        clicks.append(next_click(truth, mask, taken) or Click(0, 0, 0))
        taken[clicks[-1].y, clicks[-1].x] = True
        mask = answer(clicks)
        found.append(iou(mask, truth))
    return found


def proposals(segmenter: ClassicalSegmenter, path: Path, masks: list[Pixels], image: int) -> Judged:
    """What is measured on the nodes that would be proposed for an image, and the best IoU each has with an object."""
    scene = segmenter._scene(segmenter.encode([read(path)])[0])
    nodes = classical_proposals._measure_nodes(scene)
    kept = [k for k, _ in classical_proposals._suppress(scene.tree, nodes, nodes.measured[:, 0] * 0 + 0.5)]
    number = np.zeros(masks[0].shape, dtype=np.float32)
    for k, mask in enumerate(masks, 1):
        number[mask] = k
    on_grid = cv2.resize(number, scene.size[::-1], interpolation=cv2.INTER_NEAREST).astype(np.int64)
    area, best = np.bincount(on_grid.ravel(), minlength=len(masks) + 1), []
    for k in kept:
        x1, y1, x2, y2 = nodes.boxes[k]
        pixels = classical_proposals._node_pixels(scene, int(nodes.number[k]), nodes.boxes[k])
        hit = np.bincount(on_grid[y1:y2, x1:x2][pixels], minlength=len(area))
        best.append(float((hit / (area + pixels.sum() - hit))[1:].max()))
    return "nucleus", image, nodes.measured[kept], np.array(best)


class Regression:
    """Ridge regression on the families of one stage, and how well its choices do on images it has not seen."""

    def __init__(self, stage: str, families: list[Judged]) -> None:
        kinds = sorted({kind for kind, *_ in families})
        lengths = np.array([len(y) for *_, y in families])
        self.starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        self.x, self.y = np.concatenate([f[2] for f in families]), np.concatenate([f[3] for f in families])
        self.kind = np.array([kinds.index(f[0]) for f in families])
        self.fold = np.array([f[1] % 2 for f in families])
        each = (len(families) / len(kinds) / np.bincount(self.kind))[self.kind]
        self.weight, self.row_fold = np.repeat(each / lengths, lengths), np.repeat(self.fold, lengths)
        self.family_weight, self.lengths, self.alone = each, lengths, stage in ("refined", "proposal")
        if stage == "proposal":
            good = self.y > 0.5
            shares = np.where(good, GOOD_SHARE / self.weight[good].sum(), (1 - GOOD_SHARE) / self.weight[~good].sum())
            self.weight = self.weight * shares * self.weight.sum()

    def solve(self, columns: list[int], rows: NDArray[np.bool_]) -> Floats:
        """Weights of the columns; the first is the constant and is not held back."""
        x, w = self.x[rows][:, columns], self.weight[rows]
        mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-9
        mean[0], spread[0] = 0, 1
        z = (x - mean) / spread
        held = np.diag([0.0] + [RIDGE] * (len(columns) - 1))
        found = np.linalg.solve((z * w[:, None]).T @ z + held, z.T @ (w * self.y[rows])) / spread
        found[0] -= (found * mean)[1:].sum()
        return np.asarray(found)

    def quality(self, columns: list[int]) -> float:
        """Mean true IoU of the candidates chosen on the other fold (no choice: 1 - error)."""
        scores = np.zeros(len(self.y))
        for k in (0, 1):
            scores[self.row_fold == k] = self.x[self.row_fold == k][:, columns] @ self.solve(
                columns, self.row_fold != k
            )
        if self.alone:
            return 1 - float(np.average((scores - self.y) ** 2, weights=self.weight)) ** 0.5
        best = np.repeat(np.maximum.reduceat(scores, self.starts), self.lengths)
        chosen = np.minimum.reduceat(np.where(scores >= best, self.y, np.inf), self.starts)
        return float(np.average(chosen, weights=self.family_weight))

    def thinned(self, columns: list[int]) -> list[int]:
        """Drop columns, the least useful first, while the choice stays as good."""
        best = self.quality(columns)
        while len(columns) > 2:
            quality, least = max((self.quality([c for c in columns if c != d]), d) for d in columns[1:])
            best = max(best, quality)
            if quality < best - WORTH and len(columns) <= MOST_COLUMNS:
                break
            columns = [c for c in columns if c != least]
        return columns


def fit(stage: str, families: list[Judged], thin: bool) -> tuple[dict[str, float], float]:
    """The constants of one stage and the quality of its choices."""
    unused = {"first": ("shared", "relative"), "add": (), "remove": ()}.get(
        stage, ("central", "central2", "shared", "relative")
    )
    if stage == "proposal":
        unused, thin = set(FEATURES) - set(PROPOSAL_COLUMNS), False
    columns = [k for k, name in enumerate(FEATURES) if name not in unused and (stage == "box" or "box" not in name)]
    regression = Regression(stage, families)
    columns = regression.thinned(columns) if thin else columns
    found = regression.solve(columns, np.ones(len(regression.y), dtype=bool))
    rounded = {FEATURES[c]: round(float(v), 3) for c, v in zip(columns, found, strict=True)}
    return {name: value for name, value in rounded.items() if value}, regression.quality(columns)


def main() -> None:
    """Print the constants of every stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=80)
    parser.add_argument("--nuclei", type=int, default=160, help="objects, of the first 100 images")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    segmenter, notes = ClassicalSegmenter(), Notes()
    chosen: dict[Path, list[Pixels]] = {}
    every: dict[Path, list[Pixels]] = {}
    for path, mask in objects("nuclei", 10**6, 0, held_out=False):
        every.setdefault(path, []).append(mask)
    for path, mask in objects("nuclei", arguments.nuclei, arguments.seed, held_out=False):
        chosen.setdefault(path, []).append(mask)
    tasks = [("nucleus", read(path), masks) for path, masks in chosen.items()] + list(drawn(rng, arguments.scenes))
    embeddings = {id(image): segmenter.encode([image])[0] for _, image, _ in tasks}  # a scene may be in two tasks
    numbers = {key: number for number, key in enumerate(embeddings)}
    constants: dict[str, dict[str, float]] = dict(START)
    notes.watch()
    for turn in range(arguments.rounds):
        classical_scores.COEFFICIENTS = constants
        results: dict[str, list[list[float]]] = {}
        for notes.kind, image, masks in tasks:
            notes.image, embedding = numbers[id(image)], embeddings[id(image)]
            for index, notes.truth in enumerate(masks):
                x1, y1, x2, y2 = tight_box(notes.truth)
                loose = (
                    rng.uniform(0, LOOSENESS, 4)
                    * (index % 3 == 2 or notes.kind == "plain")
                    * (x2 - x1, y2 - y1, x2 - x1, y2 - y1)
                )
                with_box = Session(segmenter, embedding).ask(
                    [], (x1 - loose[0], y1 - loose[1], x2 + loose[2], y2 + loose[3])
                )
                clicked = clicked_ious(notes.truth, Session(segmenter, embedding).ask)
                both = float((with_box & notes.truth).sum() / (with_box | notes.truth).sum())
                results.setdefault(notes.kind, []).append([both, *clicked])
        for kind, rows in results.items():
            print(f"round {turn} {kind:8s} {len(rows)} box, clicks 1..5:", np.mean(rows, axis=0).round(3), flush=True)
        notes.families["proposal"] = [proposals(segmenter, *item, k) for k, item in enumerate(every.items())]
        fitted = {stage: fit(stage, found, turn == arguments.rounds - 1) for stage, found in notes.families.items()}
        constants = {stage: weights for stage, (weights, _) in fitted.items()}
    for stage, (weights, quality) in fitted.items():
        print(f'"{stage}": {weights},  # {quality:.3f}')


if __name__ == "__main__":
    main()
