"""What the network is told about a prompt before it looks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.models.classical_arrays import scene_arrays, scene_of
from maskwright.models.embedded.evidence import CANDIDATES, CHANNELS, Levels, gather
from maskwright.models.embedded.finishing import finish
from maskwright.models.embedded.inputs import WORKING_SIDE, Frame, working_pixels
from maskwright.prompts import Prompt, Scribble


@pytest.fixture(scope="module")
def scene(scenery):
    frame = Frame.of(scenery.shape[:2])
    return scene_of(scene_arrays(working_pixels(scenery, frame)))


def channel(evidence, name):
    return evidence.dense[CHANNELS.index(name)]


def test_every_channel_is_about_minus_one_to_one_and_silent_where_nothing_was_said(scene):
    evidence = gather(scene, Prompt.from_points([(90.0, 120.0, 1)]))
    assert evidence.dense.shape == (len(CHANNELS), scene.size[0] // 2, scene.size[1] // 2)
    assert np.abs(evidence.dense).max() <= 1.0001
    for name in ("excluded", "separate", "negative", "box", "previous", "has_previous"):
        assert not channel(evidence, name).any(), name


def test_places_that_join_the_click_late_have_a_lower_level(scene):
    joined = channel(gather(scene, Prompt.from_points([(90.0, 120.0, 1)])), "joined")
    on_disk, on_ground = joined[60, 50], joined[10, 10]
    assert on_disk > on_ground
    assert joined.min() >= -1


def test_marks_fade_around_clicks_and_strokes(scene):
    evidence = gather(
        scene,
        Prompt(
            point_coords=np.array([[90.0, 120.0]]), point_labels=np.array([1]),
            scribbles=(Scribble(np.array([[10, 10], [60, 10]], dtype=np.float32), positive=False),),
        ),
    )  # fmt: skip
    assert channel(evidence, "positive")[60, 45] == 1
    assert channel(evidence, "positive")[30, 45] < 1e-3
    assert channel(evidence, "negative")[5, 15] == 1


def test_a_box_is_told_as_a_box(scene):
    box = channel(gather(scene, Prompt(box=(40.0, 70.0, 140.0, 170.0))), "box")
    assert box[60, 45] == 1
    assert box[10, 100] == -1


def test_three_candidates_come_with_what_is_expected_of_them(scene):
    evidence = gather(scene, Prompt.from_points([(90.0, 120.0, 1)]))
    assert evidence.scores.shape == (CANDIDATES,)
    assert evidence.scores[1] == evidence.scores.max()


def test_levels_fall_from_leaf_to_whole(scene):
    levels = Levels.of(scene.tree)
    values = levels(np.sort(scene.tree.height))
    assert (np.diff(values) <= 0).all()
    assert values[-1] == -1
    assert values[0] > 0.9


def test_finishing_keeps_a_sure_answer_and_follows_the_pictures_border(scene):
    height, width = scene.size
    ys, xs = np.mgrid[:height, :width]
    truth = (ys - 120) ** 2 + (xs - 90) ** 2 < 50**2
    coarse = np.where(truth, 6.0, -6.0)[::2, ::2].astype(np.float32)
    shifted = np.roll(coarse, 1, axis=1)
    finished = finish(scene, shifted)
    assert finished.shape == scene.size
    found = finished > 0
    before = np.kron(shifted > 0, np.ones((2, 2), dtype=bool))
    assert (found ^ truth).sum() < (before ^ truth).sum()


def test_finishing_nothing_is_nothing(scene):
    assert (finish(scene, np.full((60, 75), -3.0, dtype=np.float32)) < 0).all()


@settings(max_examples=50, deadline=None)
@given(height=st.integers(1, 5000), width=st.integers(1, 5000))
def test_a_working_grid_is_even_and_keeps_the_shape(height, width):
    frame = Frame.of((height, width))
    assert all(side % 2 == 0 and side >= 8 for side in frame.size)
    assert max(frame.size) <= WORKING_SIDE
    assert all(p % 32 == 0 and 0 <= p - s < 32 for p, s in zip(frame.padded, frame.size, strict=True))
    if min(height, width) * min(2.0, WORKING_SIDE / max(height, width)) > 8:
        assert abs(frame.size[0] / frame.size[1] / (height / width) - 1) < 0.2
