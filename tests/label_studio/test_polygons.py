"""Masks as polygons that have neither holes nor parts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from maskwright.masks import Mask
from maskwright_label_studio.polygons import outlines


def filled(rings, size) -> Mask:
    """The rings as a browser fills them: each on its own."""
    masks = [Mask.from_polygons([ring], size) for ring in rings]
    return masks[0].union(*masks[1:]) if masks else Mask.empty(size)


@pytest.mark.parametrize("parts", ["split", "bridge"])
@settings(max_examples=80, deadline=None)
@given(pixels=arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_without_tolerance_nothing_is_lost_whatever_the_holes_and_parts(parts, pixels):
    mask = Mask.from_array(pixels)
    found = outlines(mask, tolerance=0, max_vertices=10_000, parts=parts)
    assert filled(found.rings, mask.size) == mask
    assert found.iou == 1.0
    assert len(found.rings) <= 1 or parts == "split"


def test_split_cuts_a_ring_into_pieces_without_holes(ring_and_blob):
    found = outlines(ring_and_blob, tolerance=1, max_vertices=500)
    assert len(found.rings) >= 3
    assert found.iou > 0.97


def test_bridge_joins_everything_by_seams_of_no_width(ring_and_blob):
    found = outlines(ring_and_blob, tolerance=1, max_vertices=500, parts="bridge")
    assert len(found.rings) == 1
    assert found.iou > 0.97


@pytest.mark.parametrize("parts", ["split", "bridge"])
@pytest.mark.parametrize("limit", [4, 5, 12, 60])
def test_no_ring_has_more_vertices_than_allowed(parts, limit, ring_and_blob):
    found = outlines(ring_and_blob, tolerance=0.5, max_vertices=limit, parts=parts)
    assert found.rings
    assert max(map(len, found.rings)) <= limit
    assert min(map(len, found.rings)) >= 3


def test_the_measured_iou_is_that_of_the_rings(ring_and_blob):
    found = outlines(ring_and_blob, tolerance=6, max_vertices=500)
    assert found.iou == pytest.approx(filled(found.rings, ring_and_blob.size).iou(ring_and_blob))
    assert found.iou < 1


def test_more_tolerance_means_fewer_vertices(ring_and_blob):
    fine, coarse = (outlines(ring_and_blob, tolerance=t, max_vertices=10_000) for t in (0.5, 4.0))
    assert sum(map(len, coarse.rings)) < sum(map(len, fine.rings)) / 3


@pytest.mark.parametrize("parts", ["split", "bridge"])
def test_a_mask_of_a_thousand_specks_and_holes_is_answered_in_bounded_pieces(parts):
    rng = np.random.default_rng(0)
    picture = (cv2.GaussianBlur(rng.random((400, 400)), (9, 9), 2) > 0.5).astype(np.uint8)
    mask = Mask.from_array(picture)
    found = outlines(mask, tolerance=1, max_vertices=500, parts=parts)
    assert 1 <= len(found.rings) < 600
    assert max(map(len, found.rings)) <= 500


def test_an_empty_mask_has_no_outline():
    assert outlines(Mask.empty((5, 5)), tolerance=1, max_vertices=10).rings == ()
