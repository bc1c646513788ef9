from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from maskwright.learn.clicker import Click
from maskwright.learn.interactive import Session, evaluate_image, evaluate_object
from maskwright.learn.summary import Summary, measures, summarise
from maskwright.masks import Mask
from maskwright.models.protocols import Candidates, ImageEmbedding
from maskwright.prompts import Prompt


class Planned:
    """A segmenter that computes its masks from the prompt alone and remembers what it was asked.

    Subclasses give `mask(prompt, shape)`; asked for three masks it offers an empty one, the mask and a full one, and
    thinks most of the second.
    """

    name = version = embedding_version = "planned"
    embedding_nbytes = 0

    def __init__(self) -> None:
        self.prompts: list[Prompt] = []
        self.multimask: list[bool] = []
        self.encoded = 0

    def encode(self, images: Sequence[np.ndarray]) -> list[ImageEmbedding]:
        self.encoded += len(images)
        return [ImageEmbedding({}, image.shape[:2], image.shape[:2], self.version) for image in images]

    def decode(self, embedding, prompts, *, multimask_output=False) -> Candidates:
        (prompt,) = prompts
        self.prompts.append(prompt)
        self.multimask.append(multimask_output)
        mask = self.mask(prompt, embedding.original_size)
        masks = [np.zeros_like(mask), mask, np.ones_like(mask)] if multimask_output else [mask]
        logits = np.where(np.stack(masks), 1.0 + len(self.prompts), -1.0).astype(np.float32)
        scores = np.array([[0.2, 0.9, 0.3] if multimask_output else [0.5]], dtype=np.float32)
        return Candidates(logits[None], scores)

    def upsample(self, embedding, low_res_logits) -> Mask:
        return Mask.from_array(low_res_logits > 0)

    def mask(self, prompt: Prompt, shape: tuple[int, int]) -> np.ndarray:
        raise NotImplementedError


class Oracle(Planned):
    """Knows the objects: answers with the one under the first click, or the one that fills the box best."""

    def __init__(self, objects: Sequence[np.ndarray]) -> None:
        super().__init__()
        self.objects = objects

    def mask(self, prompt, shape):
        if prompt.box is not None:
            return max(self.objects, key=lambda mask: Mask.from_array(mask).iou(Mask.from_box(prompt.box, shape)))
        x, y = prompt.point_coords[0].astype(int)
        return next(mask for mask in self.objects if mask[y, x])


class Cells(Planned):
    """Answers with the square cells of a grid that hold positive clicks, whatever the object."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def mask(self, prompt, shape):
        found = np.zeros(shape, dtype=bool)
        for x, y in prompt.point_coords[prompt.point_labels == 1] // self.side * self.side:
            found[int(y) : int(y) + self.side, int(x) : int(x) + self.side] = True
        return found


class Blind(Planned):
    """Never finds anything."""

    def mask(self, prompt, shape):
        return np.zeros(shape, dtype=bool)


IMAGE = np.zeros((40, 120, 3), dtype=np.uint8)


def row_of_cells(count: int, side: int = 10) -> np.ndarray:
    mask = np.zeros(IMAGE.shape[:2], dtype=bool)
    mask[side : 2 * side, : count * side] = True
    return mask


def outcome(segmenter: Planned, truth: np.ndarray):
    return evaluate_object(segmenter, segmenter.encode([IMAGE])[0], Mask.from_array(truth))


def test_whoever_knows_the_objects_needs_one_click_each():
    objects = [np.zeros(IMAGE.shape[:2], dtype=bool) for _ in range(3)]
    objects[0][2:20, 3:40] = True
    objects[1][25:38, 50:90] = True
    objects[2][5:9, 100:103] = True
    oracle = Oracle(objects)
    found, seconds = evaluate_image(oracle, IMAGE, [Mask.from_array(mask) for mask in objects])
    assert oracle.encoded == 1
    assert seconds >= 0
    for one in found:
        for name, value in measures(one).items():
            expected = 1.0 if "iou" in name or name.startswith("noc") else 0.0
            assert value == expected, name
        assert one.clicked.ious == (1.0,), "a perfect mask is left alone"
    summary = summarise(found, ["a.png"] * 3, seed=0)
    assert summary.as_json() | {"seconds_per_click": 0} == {
        "objects": 3, "iou_box": 1.0, "iou_1": 1.0, "iou_3": 1.0, "iou_5": 1.0, "noc80": 1.0, "noc85": 1.0,
        "noc90": 1.0, "failures80": 0, "seconds_per_click": 0,
    }  # fmt: skip


def test_whoever_finds_nothing_counts_twenty_clicks_and_a_failure():
    blind = Blind()
    found = outcome(blind, row_of_cells(5))
    assert found.clicked.ious == (0.0,) * 20
    assert len(found.click_seconds) == 20
    assert [found.clicked.clicks_to(threshold) for threshold in (0.8, 0.85, 0.9)] == [None] * 3
    summary = summarise([found], ["a.png"], seed=0)
    assert summary.as_json() | {"seconds_per_click": 0} == {
        "objects": 1, "iou_box": 0.0, "iou_1": 0.0, "iou_3": 0.0, "iou_5": 0.0, "noc80": 20.0, "noc85": 20.0,
        "noc90": 20.0, "failures80": 1, "seconds_per_click": 0,
    }  # fmt: skip
    clicked = [tuple(p.point_coords[-1]) for p in blind.prompts[1:]]
    assert len(set(clicked)) == 20, "no pixel was clicked twice"


@pytest.mark.parametrize(("cells", "expected"), [(1, (1, 1, 1)), (5, (4, 5, 5)), (10, (8, 9, 9)), (12, (10, 11, 11))])
def test_clicks_that_each_add_a_cell_are_counted_exactly(cells, expected):
    found = outcome(Cells(10), row_of_cells(cells))
    assert found.clicked.ious[:3] == pytest.approx([k / cells for k in range(1, 4)][: len(found.clicked.ious)])
    assert tuple(found.clicked.clicks_to(threshold) for threshold in (0.8, 0.85, 0.9)) == expected
    assert found.clicked.reported[1].iou == pytest.approx(min(3, cells) / cells)
    assert len(found.clicked.ious) == (1 if cells == 1 else max(5, expected[-1])), "then it stops"


class AlmostThere(Planned):
    """All of the object but its first few pixels, always."""

    def __init__(self, truth: np.ndarray, missing: int) -> None:
        super().__init__()
        self.found = truth.copy()
        self.found[tuple(np.argwhere(truth)[:missing].T)] = False

    def mask(self, prompt, shape):
        return self.found


def test_five_clicks_are_made_even_if_every_threshold_was_reached_before():
    truth = row_of_cells(10)
    found = outcome(AlmostThere(truth, missing=20), truth)
    assert found.clicked.ious == pytest.approx([0.98] * 5)
    assert found.clicked.clicks_to(0.9) == 1


def test_a_session_ends_where_nothing_is_left_to_click_on():
    truth = row_of_cells(10)
    almost = AlmostThere(truth, missing=1)
    found = outcome(almost, truth)
    assert [tuple(prompt.point_coords[-1]) for prompt in almost.prompts[2:]] == [(0.5, 10.5)]
    assert [quality.iou for quality in found.clicked.reported] == pytest.approx([0.999] * 3)


def test_a_session_feeds_back_the_logits_of_the_best_of_three():
    truth = row_of_cells(3)
    cells = Cells(10)
    session = Session(cells, cells.encode([IMAGE])[0])
    first = session.ask([Click(5, 15, 1)])
    assert np.array_equal(first, row_of_cells(1)), "the mask it thought most of, of three"
    session.ask([Click(5, 15, 1), Click(15, 15, 1)])
    last = session.ask([Click(5, 15, 1), Click(15, 15, 1), Click(25, 15, 1)])
    assert np.array_equal(last, truth)
    assert cells.multimask == [True, False, False]
    assert cells.prompts[0].mask_input is None
    assert np.array_equal(cells.prompts[1].mask_input > 0, first)
    assert cells.prompts[2].mask_input.max() == 3.0, "the last answer's, not the first's"
    assert cells.prompts[2].point_coords.tolist() == [[5.5, 15.5], [15.5, 15.5], [25.5, 15.5]]
    assert session.predicted_iou == pytest.approx([0.9, 0.5, 0.5])
    assert len(session.seconds) == 3


def test_the_box_is_tight_and_asked_on_its_own():
    cells = Cells(10)
    outcome(cells, row_of_cells(3))
    assert cells.prompts[0].box == (0.0, 10.0, 30.0, 20.0)
    assert cells.multimask[0] is False
    assert cells.prompts[1].box is None
    assert cells.prompts[1].mask_input is None


def test_figures_are_told_apart_by_object_size():
    small, large = row_of_cells(4), np.zeros((140, 140), dtype=bool)
    large[10:120, 10:120] = True
    big_image = np.zeros((140, 140, 3), dtype=np.uint8)
    found = [outcome(Oracle([small]), small), evaluate_image(Blind(), big_image, [Mask.from_array(large)])[0][0]]
    summary: Summary = summarise(found, ["a.png", "b.png"], seed=0)
    assert {size: count for size, (count, _) in summary.by_size.items()} == {"small": 1, "large": 1}
    assert summary.by_size["small"][1]["noc80"] == 1
    assert summary.by_size["large"][1]["noc80"] == 20
    assert summary.estimates["noc80"].mean == 10.5
    assert dict(summary.failures) == {80: 1, 85: 1, 90: 1}
    assert summary.seconds_per_click == pytest.approx(np.mean([s for one in found for s in one.click_seconds]))
