from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from maskwright.export.formats.coco import CocoFormat
from maskwright.export.formats.names import apart_from_files, flat_stem
from maskwright.export.formats.panoptic import PanopticFormat
from maskwright.export.formats.png import PngFormat
from maskwright.export.formats.stuff import StuffFormat
from maskwright.export.formats.voc import VocFormat
from maskwright.export.formats.yolo import YoloFormat
from maskwright.export.records import ImageRecord
from maskwright.masks import Mask

FORMATS = (CocoFormat(), PanopticFormat(), PngFormat(), StuffFormat(), VocFormat(), YoloFormat())
parts = st.text("_a", min_size=1, max_size=4)
paths = st.lists(parts, min_size=1, max_size=3).map("/".join)
file_like = st.lists(st.sampled_from(["x", "x.png", "x.png_", "x.PNG__", "v1.2"]), min_size=1, max_size=3).map("/".join)


def image(name: str) -> ImageRecord:
    return ImageRecord("1/1/0", "1", f"{name}.png", "x", (3, 4), ())


@given(paths, paths)
def test_names_without_folders_stay_different(one, other):
    assert (flat_stem(image(one)) == flat_stem(image(other))) == (one == other)


def test_only_ambiguous_and_long_names_carry_a_mark():
    assert flat_stem(image("a/b_c/d")) == "a__b_c__d"
    assert flat_stem(image("a__b")).startswith("a__b-")
    long = [flat_stem(image("/".join(["\N{HIRAGANA LETTER A}" * 20] * 5) + end)) for end in ("a", "b")]
    assert len(set(long)) == 2
    assert all(len(name.encode()) <= 200 for name in long)


@given(file_like, file_like)
def test_no_image_is_called_like_the_folder_of_another(one, other):
    first, second = apart_from_files(f"{one}/y.png"), apart_from_files(f"{other}/y.png")
    assert (first == second) == (one == other)
    assert not first.startswith("x.png/")
    assert "x.png/" not in first.lower()


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_an_image_may_lie_in_a_folder_that_is_called_like_another_image(kit, tmp_path, form):
    sink = io.BytesIO()
    Image.new("RGB", (4, 3)).save(sink, "PNG")
    region = kit.region(Mask.full((3, 4)))
    names = ["x.png", "x.png/y.png", "x.png_/y.png", "x.png/y.png/z.png", "x/0001.png", "x/0001.png.png", "x.txt/q.png"]
    items = [kit.record(region, number=n, file_name=name) for n, name in enumerate(names, 1)]
    kit.export(form, items, tmp_path, images={item.key: sink.getvalue() for item in items})
