"""Repeats go, the better stays, and the order in which boxes come says nothing."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from maskwright.models.detectors.suppression import box_ious, suppress
from maskwright.models.protocols import Detections


def found(rows):
    """Of (x1, y1, x2, y2, score, phrase) rows."""
    table = np.array(rows, dtype=np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def rows_of(detections):
    columns = [detections.boxes, detections.scores[:, None], detections.phrase_indices[:, None]]
    return [tuple(map(float, row)) for row in np.concatenate(columns, axis=1)]


sides = st.integers(1, 20)
boxes = st.tuples(st.integers(0, 12), st.integers(0, 12), sides, sides, st.integers(1, 4), st.integers(0, 2)).map(
    lambda v: (v[0], v[1], v[0] + v[2], v[1] + v[3], v[4] / 4, v[5])
)
several = st.lists(boxes, max_size=20)


def test_an_iou_at_the_bound_stays_and_above_it_goes():
    # Boxes of 10 x 10 and 10 x 8 within it share 0.8 of their union.
    at = found([(0, 0, 10, 10, 0.9, 0), (0, 0, 10, 8, 0.8, 1)])
    above = found([(0, 0, 100, 100, 0.9, 0), (0, 0, 100, 81, 0.8, 1)])
    assert len(suppress(at).scores) == 2
    assert rows_of(suppress(above)) == rows_of(found([(0, 0, 100, 100, 0.9, 0)]))


def test_within_one_phrase_half_is_enough():
    at = [(0, 0, 10, 10, 0.9, 0), (0, 0, 10, 5, 0.8, 0)]
    above = [(0, 0, 100, 100, 0.9, 0), (0, 0, 100, 51, 0.8, 0)]
    assert len(suppress(found(at)).scores) == 2
    assert len(suppress(found(above)).scores) == 1
    other = [above[0], (*above[1][:5], 1)]
    assert len(suppress(found(other)).scores) == 2


def test_nothing_is_left_of_nothing():
    assert len(suppress(found([])).scores) == 0


def test_empty_boxes_repeat_nothing():
    assert box_ious(np.zeros(4, np.float32), np.zeros((2, 4), np.float32)).tolist() == [0, 0]


@given(several, st.randoms(use_true_random=False))
def test_the_order_of_the_input_changes_nothing(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert rows_of(suppress(found(rows))) == rows_of(suppress(found(shuffled)))


@given(several)
def test_what_stays_repeats_nothing_and_what_went_repeats_what_was_better(rows):
    every, kept = found(rows), suppress(found(rows))
    assert (np.diff(kept.scores) <= 0).all()
    for i in range(len(kept.scores)):
        ious = box_ious(kept.boxes[i], kept.boxes)
        ious[i] = 0
        assert (ious <= 0.8).all()
        assert (ious[kept.phrase_indices == kept.phrase_indices[i]] <= 0.5).all()
    left = rows_of(kept)
    for row, box in zip(rows_of(every), every.boxes, strict=True):
        if row not in left:
            better = every.scores >= row[4]
            assert (box_ious(box, every.boxes[better]) > 0.5).sum() >= 1
    assert set(left) <= set(rows_of(every))


@given(several)
def test_a_second_pass_finds_nothing_to_drop(rows):
    once = suppress(found(rows))
    assert rows_of(suppress(once)) == rows_of(once)


@given(several)
def test_the_best_box_always_stays(rows):
    kept = suppress(found(rows))
    if rows:
        assert kept.scores[0] == max(np.float32(row[4]) for row in rows)


def test_what_is_no_number_is_no_box():
    kept = suppress(found([(0, 0, 9, 9, 0.5, 0), (float("nan"), 0, 9, 9, 0.9, 0), (20, 0, 29, 9, float("nan"), 0)]))
    assert rows_of(kept) == [(0, 0, 9, 9, 0.5, 0)]
