from __future__ import annotations

import numpy as np
import pytest

from maskwright.assist.everything import ProposalOptions, grid_points, propose_regions, stability
from maskwright.errors import Cancelled
from maskwright.masks import Mask
from maskwright.models.protocols import Proposals


def disk(size: tuple[int, int], x: float, y: float, radius: float) -> Mask:
    return Mask.from_ellipse(x, y, radius, radius, 0.0, size)


def test_every_object_is_found_once_and_exactly(oracle, windows, painted):
    size = (120, 160)
    objects = [disk(size, 40, 40, 20), disk(size, 110, 70, 25), Mask.from_box((10, 90, 50, 115), size)]
    pixels = painted(size, *objects)
    found = propose_regions(oracle, windows(oracle, pixels), size, ProposalOptions(points_per_side=16))
    assert set(found.masks) == set(objects)
    assert (found.predicted_iou >= 0.88).all()
    assert (found.stability >= 0.95).all()


def test_points_are_asked_in_batches_and_lie_in_the_middle_of_their_cells(oracle, windows, painted):
    size = (50, 100)
    propose_regions(oracle, windows(oracle, painted(size)), size, ProposalOptions(points_per_side=10))
    assert oracle.calls == [64, 36]
    points = grid_points(size, 10)
    assert points[0].tolist() == [5.0, 2.5]
    assert points[-1].tolist() == [95.0, 47.5]


def test_an_empty_picture_gives_no_proposals(oracle, windows, painted):
    size = (64, 64)
    found = propose_regions(oracle, windows(oracle, painted(size)), size, ProposalOptions(points_per_side=4))
    assert found.masks == ()
    assert found.predicted_iou.shape == found.stability.shape == (0,)


def test_small_objects_and_what_covers_everything_are_left_out(oracle, windows, painted):
    size = (100, 100)
    pixels = painted(size, Mask.full(size), Mask.from_box((48, 48, 52, 52), size))
    options = ProposalOptions(points_per_side=25, min_area=17)
    assert propose_regions(oracle, windows(oracle, pixels), size, options).masks == ()
    options = ProposalOptions(points_per_side=25, min_area=16)
    assert [m.area for m in propose_regions(oracle, windows(oracle, pixels), size, options).masks] == [16]


@pytest.mark.parametrize("centre", [(256, 256), (200, 300), (130, 130)])
def test_a_disk_across_four_tiles_becomes_one_region(oracle, windows, painted, centre):
    size = (512, 512)
    truth = disk(size, *centre, 100)
    options = ProposalOptions(points_per_side=16, tile_size=290, tile_halo=30)
    found = propose_regions(oracle, windows(oracle, painted(size, truth)), size, options)
    assert [mask.iou(truth) for mask in found.masks] == [1.0]


def test_objects_side_by_side_across_a_seam_stay_apart(oracle, windows, painted):
    size = (200, 500)
    objects = [Mask.from_box((100, y, 400, y + 30), size) for y in (20, 60, 100, 140)]
    options = ProposalOptions(points_per_side=24, tile_size=280, tile_halo=20)
    found = propose_regions(oracle, windows(oracle, painted(size, *objects)), size, options)
    assert set(found.masks) == set(objects)


def test_a_small_object_in_the_overlap_is_reported_once(oracle, windows, painted):
    size = (200, 500)
    truth = disk(size, 250, 100, 12)
    options = ProposalOptions(points_per_side=24, tile_size=280, tile_halo=20)
    assert propose_regions(oracle, windows(oracle, painted(size, truth)), size, options).masks == (truth,)


def test_a_fragment_at_a_seam_that_the_other_tile_does_not_confirm_is_dropped(windows, painted, oracle):
    size = (100, 400)
    truth = Mask.from_box((150, 40, 300, 60), size)
    encode = windows(oracle, painted(size, truth))

    class HalfBlind(type(oracle)):
        def decode(self, embedding, prompts, *, multimask_output=False):
            answer = super().decode(embedding, prompts, multimask_output=multimask_output)
            if embedding.arrays["objects"][:, 0].any():  # the tile in which the object comes in from the left
                answer.predicted_iou[:] = 0
            return answer

    options = ProposalOptions(points_per_side=32, tile_size=230, tile_halo=20)
    assert propose_regions(HalfBlind(), encode, size, options).masks == ()


def test_work_stops_when_cancelled(oracle, windows, painted):
    size = (64, 64)
    answers = iter([False, False, False, True])
    with pytest.raises(Cancelled):
        propose_regions(
            oracle, windows(oracle, painted(size)), size, ProposalOptions(), cancelled=lambda: next(answers)
        )
    assert len(oracle.calls) == 2


def test_a_proposer_is_asked_instead_of_clicked(oracle, windows, painted):
    size = (80, 80)
    good, unstable, poor = disk(size, 20, 20, 10), disk(size, 60, 60, 10), disk(size, 20, 60, 10)

    class Proposing(type(oracle)):
        def propose(self, embedding):
            return Proposals(
                (poor, unstable, good, good),
                np.array([0.2, 0.9, 0.95, 0.9], dtype=np.float32),
                np.array([0.99, 0.3, 0.99, 0.99], dtype=np.float32),
            )

    segmenter = Proposing()
    found = propose_regions(segmenter, windows(segmenter, painted(size)), size, ProposalOptions())
    assert found.masks == (good,)
    assert found.predicted_iou.tolist() == pytest.approx([0.95])
    assert segmenter.calls == []


def test_nearly_contained_masks_of_like_size_are_one_but_small_parts_are_kept(oracle, windows, painted):
    size = (100, 100)
    whole, most, part = (Mask.from_box((10, 10, 90, y), size) for y in (90, 58, 30))

    class Proposing(type(oracle)):
        def propose(self, embedding):
            ones = np.array([0.9, 0.89, 0.88], dtype=np.float32)
            return Proposals((whole, most, part), ones, np.ones(3, dtype=np.float32))

    segmenter = Proposing()
    found = propose_regions(segmenter, windows(segmenter, painted(size)), size, ProposalOptions())
    assert found.masks == (whole, part)


def test_stability_is_the_iou_under_shifted_thresholds():
    logits = np.array([[[3, 2, 0.5, -0.5, -3]], [[3, 3, 3, -3, -3]], [[-3, -3, -3, -3, -3]]], dtype=np.float32)
    assert stability(logits, 1.0).tolist() == [0.5, 1.0, 0.0]
