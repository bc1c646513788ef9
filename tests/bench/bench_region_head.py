"""Classes of regions in street scenes before and after corrections, half of the images to learn from, half to test.

Run: OMP_NUM_THREADS=1 .venv/bin/python tests/bench/bench_region_head.py [--orders 5]

Prints accuracy over regions and its mean over classes, once for whole class masks and once for their connected parts
over 0.5 % of the image, zero-shot and after the corrections of 1, 2, 5, 10 and 20 images (means over shuffled orders of
the learning half), and seconds. The images are for evaluation only: nothing learnt here is kept. Features and constants
were chosen on the learning half alone.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np

from maskwright.masks import Mask
from maskwright.models.learning_classifier import made_for
from maskwright.models.region_classifier import TagRegionClassifier
from maskwright.models.region_features import RegionFeatures
from maskwright.models.region_head import RegionHead
from maskwright.models.sentences import SentenceEncoder
from maskwright.models.tagger import ImageNetTagger

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "camvid"
SMALLEST_PART = 0.005
IMAGES = (1, 2, 5, 10, 20)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=5, help="shuffled orders of the learning half")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        print(f"left out: the development sets are not beside this checkout ({DATA.parent.name}/{DATA.name})")
        return
    document = json.loads((DATA / "stuff.json").read_text())
    names = [category["name"] for category in document["categories"]]
    columns = {category["id"]: column for column, category in enumerate(document["categories"])}
    tagger = ImageNetTagger()
    base, features = TagRegionClassifier(tagger, SentenceEncoder()), RegionFeatures(tagger)
    listed = [image["id"] for image in document["images"]]
    learning, testing = np.array(listed[::2]), np.array(listed[1::2])
    base.votes([[name] for name in names])
    for parts in (False, True):
        vectors, priors, truth, owner = [], [], [], []
        zero_seconds = feature_seconds = 0.0
        for image in document["images"]:
            pixels = np.ascontiguousarray(cv2.imread(str(DATA / image["file_name"]))[:, :, ::-1])
            masks = []
            for annotation in document["annotations"]:
                if annotation["image_id"] != image["id"]:
                    continue
                whole = Mask.from_coco(annotation["segmentation"])
                found = [whole]
                if parts:
                    found = [p for p in whole.components() if p.area > SMALLEST_PART * pixels[..., 0].size]
                masks += found
                truth += [columns[annotation["category_id"]]] * len(found)
            owner += [image["id"]] * len(masks)
            start = time.perf_counter()
            priors.append(base.classify(pixels, masks, [[name] for name in names]))
            middle = time.perf_counter()
            vectors.append(features.describe(pixels, masks))
            zero_seconds, feature_seconds = (
                zero_seconds + middle - start,
                feature_seconds + time.perf_counter() - middle,
            )
        x, prior, y, images = np.concatenate(vectors), np.concatenate(priors), np.array(truth), np.array(owner)
        unseen = np.isin(images, testing)
        print(
            f"{'parts' if parts else 'class masks'}: {len(y)} regions, {unseen.sum()} to test; a region takes "
            f"{1000 * zero_seconds / len(y):.1f} ms zero-shot and {1000 * feature_seconds / len(y):.1f} ms for features"
        )
        print(f"  {'corrected images':18s}{'regions':>8s}{'accuracy':>10s}{'over classes':>14s}{'none at .5':>12s}"
              f"{'seconds to learn':>18s}")  # fmt: skip

        def scores(answers: np.ndarray, y: np.ndarray = y, unseen: np.ndarray = unseen) -> tuple[float, float, float]:
            given, right = answers.argmax(axis=1), y[unseen]
            by_class = [(given[right == c] == c).mean() for c in np.unique(right)]
            return float((given == right).mean()), float(np.mean(by_class)), float((answers.max(axis=1) < 0.5).mean())

        accuracy, balanced, unsure = scores(prior[unseen])
        print(f"  {'0 (zero-shot)':18s}{0:8d}{accuracy:10.3f}{balanced:14.3f}{unsure:12.3f}{'.':>18s}")
        for count in IMAGES:
            rows = []
            for order in range(arguments.orders):
                chosen = np.isin(images, np.random.default_rng(order).permutation(learning)[:count])
                start = time.perf_counter()
                head = RegionHead.fit(
                    x[chosen], y[chosen], prior[chosen], classes=names, made_for=made_for(base, features)
                )
                seconds = time.perf_counter() - start
                rows.append((chosen.sum(), *scores(head.probabilities(x[unseen], prior[unseen])), seconds))
            mean = np.mean(rows, axis=0)
            print(f"  {count:<18d}{mean[0]:8.0f}{mean[1]:10.3f}{mean[2]:14.3f}{mean[3]:12.3f}{mean[4]:18.2f}")


if __name__ == "__main__":
    main()
