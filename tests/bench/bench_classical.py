"""Interactive quality of the weight-free segmenter beside filled box, GrabCut and flood fill.

Run: .venv/bin/python tests/bench/bench_classical.py --limit 60 [--sets nuclei,bsds,camvid] [--seed 0] [--no-peers]

Prints per development set mean IoU with a box and after 1, 3 and 5 clicks (``maskwright.learn.clicker``), seconds per
click and per encode, correlation of the predicted with the true IoU, and the recall of whole-image proposals.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from maskwright.learn.clicker import Click, click_through
from maskwright.learn.coco_objects import shuffled
from maskwright.learn.interactive import Session
from maskwright.learn.metrics import Pixels, iou
from maskwright.models.classical import ClassicalSegmenter

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
ANNOTATIONS = {"nuclei": "instances.json", "bsds": "regions.json", "camvid": "stuff.json"}
SMALLEST_COMPONENT = 0.005
FITTED_NUCLEI = 100
"""Constants are fitted on so many first images of nuclei (``fit_classical.py``); the rest is held out."""


def images(name: str, document: dict[str, Any], held_out: bool = True) -> list[dict[str, Any]]:
    """The images of a COCO document to report on; of nuclei those that nothing was fitted on, or the others."""
    listed: list[dict[str, Any]] = document["images"]
    if name != "nuclei":
        return listed
    return listed[FITTED_NUCLEI:] if held_out else listed[:FITTED_NUCLEI]


def objects(name: str, limit: int, seed: int, held_out: bool = True) -> Iterator[tuple[Path, Pixels]]:
    """``limit`` randomly chosen objects of a set, of nuclei from the images that nothing was fitted on (or was, if not
    ``held_out``); street classes are split into components over 0.5 % of the image."""
    document = json.loads((DATA / name / ANNOTATIONS[name]).read_text())
    files = {image["id"]: image["file_name"] for image in images(name, document, held_out)}
    found: list[tuple[str, dict[str, Any], int]] = []
    for annotation in document["annotations"]:
        if annotation["image_id"] not in files:
            continue
        parts = [0]
        if name == "camvid":
            pixels = coco_mask.decode(annotation["segmentation"])
            count, _, stats, _ = cv2.connectedComponentsWithStats(pixels, connectivity=8)
            parts = [j for j in range(1, count) if stats[j, cv2.CC_STAT_AREA] > SMALLEST_COMPONENT * pixels.size]
        found += [(files[annotation["image_id"]], annotation["segmentation"], j) for j in parts]
    for file_name, segmentation, part in sorted(shuffled(found, seed)[:limit], key=lambda item: item[0]):
        mask = coco_mask.decode(segmentation)
        if part:
            mask = (cv2.connectedComponents(mask, connectivity=8)[1] == part).astype(np.uint8)
        yield DATA / name / file_name, mask.astype(bool)


def read(path: Path) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB."""
    return np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[:, :, ::-1])


def tight_box(mask: Pixels) -> tuple[int, int, int, int]:
    """xyxy, right and bottom exclusive."""
    ys, xs = np.nonzero(mask)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def filled_box(shape: tuple[int, ...], box: tuple[int, int, int, int]) -> Pixels:
    """The box itself."""
    mask = np.zeros(shape[:2], dtype=bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def grabcut(image: NDArray[np.uint8], box: tuple[int, int, int, int]) -> Pixels:
    """Plain GrabCut in the box, five iterations."""
    state = np.full(image.shape[:2], cv2.GC_BGD, dtype=np.uint8)
    state[box[1] : box[3], box[0] : box[2]] = cv2.GC_PR_FGD
    if (state == cv2.GC_PR_FGD).all():
        return state > 0
    cv2.setRNGSeed(0)
    cv2.grabCut(image, state, None, np.zeros((1, 65)), np.zeros((1, 65)), 5, cv2.GC_INIT_WITH_MASK)
    return (state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD)


def flood(image: NDArray[np.uint8], tolerance: int, clicks: list[Click]) -> Pixels:
    """The magic wand: add what is like each positive click and connected to it, take away for each negative one."""
    mask = np.zeros(image.shape[:2], dtype=bool)
    flags = 4 | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY | (255 << 8)
    for x, y, label in clicks:
        region = np.zeros((image.shape[0] + 2, image.shape[1] + 2), dtype=np.uint8)
        cv2.floodFill(image.copy(), region, (x, y), 0, (tolerance,) * 3, (tolerance,) * 3, flags)
        mask[region[1:-1, 1:-1] > 0] = bool(label)
    return mask


def proposal_recall(name: str, count: int, segmenter: ClassicalSegmenter) -> str:
    """Share of true objects that some proposal meets, over ``count`` images of a set."""
    document = json.loads((DATA / name / ANNOTATIONS[name]).read_text())
    best: list[float] = []
    seconds, made = [], []
    listed = images(name, document)
    for image in listed[:: max(1, len(listed) // count)]:
        embedding = segmenter.encode([read(DATA / name / image["file_name"])])[0]
        start = time.perf_counter()
        proposals = segmenter.propose(embedding)
        seconds.append(time.perf_counter() - start)
        made.append(len(proposals.masks))
        runs = [mask.to_coco() for mask in proposals.masks]
        truth = [a["segmentation"] for a in document["annotations"] if a["image_id"] == image["id"]]
        if truth:
            best += list(coco_mask.iou(runs, truth, [0] * len(truth)).max(axis=0)) if runs else [0.0] * len(truth)
    return (
        f"{name}: recall@.5 {np.mean(np.array(best) > 0.5):.3f}  @.7 {np.mean(np.array(best) > 0.7):.3f}  "
        f"{np.mean(made):.0f} proposals an image, {statistics.median(seconds):.2f} s"
    )


def evaluate(name: str, limit: int, seed: int, peers: bool, clicks: int) -> dict[str, dict[str, float]]:
    """Mean IoU of every method on one set."""
    segmenter = ClassicalSegmenter()
    rows: dict[str, dict[str, list[float]]] = {}
    encode_seconds, click_seconds, predicted, actual = [], [], [], []
    last, image, embedding = None, None, None

    def note(method: str, column: str, value: float) -> None:
        rows.setdefault(method, {}).setdefault(column, []).append(value)

    for path, truth in objects(name, limit, seed):
        if path != last:
            last, image = path, read(path)
            start = time.perf_counter()
            embedding = segmenter.encode([image])[0]
            encode_seconds.append(time.perf_counter() - start)
        if image is None or embedding is None:
            raise AssertionError(path)
        box = tight_box(truth)
        ours = Session(segmenter, embedding)
        for k, value in enumerate(click_through(truth, ours.ask, clicks), 1):
            note("classical", f"{k} clicks", value)
            actual.append(value)
        predicted += ours.predicted_iou
        click_seconds += ours.seconds
        with_box = Session(segmenter, embedding)
        note("classical", "box", iou(with_box.ask([], box), truth))
        predicted += with_box.predicted_iou
        actual.append(rows["classical"]["box"][-1])
        if peers:
            note("filled box", "box", iou(filled_box(truth.shape, box), truth))
            note("GrabCut", "box", iou(grabcut(image[:, :, ::-1].copy(), box), truth))
            for tolerance in (16, 32):
                wand = partial(flood, image, tolerance)
                for k, value in enumerate(click_through(truth, wand, clicks), 1):
                    note(f"flood fill {tolerance}", f"{k} clicks", value)
    means = {method: {c: statistics.fmean(v) for c, v in columns.items()} for method, columns in rows.items()}
    means["classical"] |= {
        "encode s": statistics.median(encode_seconds),
        "click s": statistics.median(click_seconds),
        "r(predicted, true)": float(np.corrcoef(predicted, actual)[0, 1]),
        "mean |predicted - true|": float(np.abs(np.subtract(predicted, actual)).mean()),
    }
    return means


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=60, help="objects per set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sets", default="nuclei,bsds,camvid")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--proposals", type=int, default=0, help="images of nuclei for the recall of proposals")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        print(f"left out: the development sets are not beside this checkout ({DATA.parent.name}/{DATA.name})")
        return
    columns = ["box", "1 clicks", "3 clicks", "5 clicks"]
    total: dict[str, dict[str, list[float]]] = {}
    for name in arguments.sets.split(","):
        print(f"{name} ({arguments.limit} objects, seed {arguments.seed})")
        for method, means in evaluate(name, arguments.limit, arguments.seed, not arguments.no_peers, 5).items():
            cells = "".join(f"{means[c]:10.3f}" if c in means else " " * 9 + "." for c in columns)
            rest = "  ".join(f"{c} {v:.3f}" for c, v in means.items() if not c.endswith("clicks") and c != "box")
            print(f"  {method:14s}{cells}   {rest}", flush=True)
            for column in columns:
                if column in means:
                    total.setdefault(method, {}).setdefault(column, []).append(means[column])
    print("mean of the sets" + " " * 4 + "".join(f"{c:>10s}" for c in columns))
    for method, values in total.items():
        cells = "".join(f"{statistics.fmean(values[c]):10.3f}" if c in values else " " * 9 + "." for c in columns)
        print(f"  {method:14s}{cells}")
    if arguments.proposals:
        print(proposal_recall("nuclei", arguments.proposals, ClassicalSegmenter()))


if __name__ == "__main__":
    main()
