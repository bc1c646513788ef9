"""Stand-ins for a labelling platform and for what learns, that do exactly what a test expects."""

from __future__ import annotations

import numpy as np
import pytest

from maskwright.masks import Mask
from maskwright.regions import Provenance, Region

SIZE = (60, 90)
BLOCK = 6


def region(top, left, height, width, label="cell", key=""):
    pixels = np.zeros(SIZE, bool)
    pixels[top : top + height, left : left + width] = True
    return Region(Mask.from_array(pixels), label, 1.0, Provenance("import"), key=key)


class Platform:
    """Remembers what was done on it; answers with the whole object, or with the blocks of a grid that were clicked."""

    platform, server, number, label_config = "test", "http://test.invalid", 1, "<View/>"

    def __init__(self, truths, proposals=(), answer="object"):
        self.truths, self.proposals, self.answer = truths, list(proposals), answer
        self.opened, self.clicked, self.submitted, self.trainings = [], [], {}, 0

    def connect(self):
        return f"model-{self.trainings}"

    def open(self, task):
        self.opened.append(task)
        return self.proposals

    def click(self, task, clicks, label):
        self.clicked.append((task, tuple(clicks), label))
        if self.answer == "nothing":
            return None
        if self.answer == "object":
            mask = next(one.mask for one in self.truths if one.mask.to_array()[clicks[0].y, clicks[0].x])
        else:
            pixels = np.zeros(SIZE, bool)
            for click in clicks:
                top, left = click.y // BLOCK * BLOCK, click.x // BLOCK * BLOCK
                pixels[top : top + BLOCK, left : left + BLOCK] = click.label == 1
            mask = Mask.from_array(pixels)
        return Region(mask, label, 0.5, Provenance("interactive"), key=f"answer-{len(self.clicked)}")

    def submit(self, task, regions, lead_seconds):
        self.submitted[task] = (list(regions), lead_seconds)

    def start_training(self):
        self.trainings += 1

    def close(self):
        pass


@pytest.fixture
def make_platform():
    return Platform


@pytest.fixture
def make_region():
    return region
