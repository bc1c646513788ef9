"""Records with regions of every awkward kind, and what an engine does with a format: render, keep, finish."""

from __future__ import annotations

import io
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from maskwright.export.records import Dataset, ImageRecord
from maskwright.masks import Mask
from maskwright.regions import Provenance, Region

NAMES = ("cat", "Hund & Kätzchen 🐶", "a: b #c", "sky")
DATASET = Dataset({name: i for i, name in enumerate(NAMES, start=1)}, description="a test", licence="CC0")


def region(mask, label="cat", **more):
    return Region(mask, label, 1.0, Provenance("person"), **more)


def record(*regions, size=None, number=1, file_name=None, **more):
    size = size or regions[0].mask.size
    name = file_name or f"folder/{number}.png"
    return ImageRecord(f"p/{number}/0", str(number), name, f"s3://b/{name}", size, regions, **more)


@st.composite
def records(draw, number=1, most=6):
    """Images with several regions each, which overlap as they like; some are empty."""
    size = draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
    bitmaps = draw(st.lists(hnp.arrays(np.bool_, size), max_size=most))
    labels = draw(st.lists(st.sampled_from(NAMES), min_size=len(bitmaps), max_size=len(bitmaps)))
    regions = [
        region(Mask.from_array(b), label, key=f"r{i}") for i, (b, label) in enumerate(zip(bitmaps, labels, strict=True))
    ]
    split = draw(st.sampled_from([None, "train", "val", "test"]))
    return record(*regions, size=size, number=number, split=split)


def render(form, some, dataset=DATASET, images=None):
    """Every record through a copy of the format, as another process would have it: files by path, rows, losses."""
    form = pickle.loads(pickle.dumps(form))
    files, rows, lost = {}, {}, []
    for item in some:
        rendered = form.render(item, pickle.loads(pickle.dumps(dataset)), (images or {}).get(item.key))
        again = form.render(item, dataset, (images or {}).get(item.key))
        assert rendered == again, "render is a pure function"
        for path, content in rendered.files:
            assert path not in files
            files[path] = content
        for section, row in rendered.rows:
            rows.setdefault(section, []).append(row)
        lost.append(rendered.lost)
    return SimpleNamespace(files=files, rows=rows, lost=lost)


def export(form, some, folder, dataset=DATASET, images=None):
    """A whole dataset in ``folder``; what ``finish`` returned and what was lost per record."""
    done = render(form, some, dataset, images)
    for path, content in done.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    written = form.finish(folder, lambda section: iter(done.rows.get(section, [])), dataset)
    assert all((folder / path).is_file() for path in written)
    assert len(set(written)) == len(written)
    return SimpleNamespace(written=written, lost=done.lost, files=done.files)


def png(content):
    return np.array(Image.open(io.BytesIO(content)))


def total(lost, reason="overlap"):
    """Pixels lost per class for one reason."""
    sums = {}
    for loss in lost:
        if loss.reason == reason:
            sums[loss.label] = sums.get(loss.label, 0) + loss.pixels
    return sums


def painted(item, values):
    """The label map by the painter's rule, on pixels."""
    canvas = np.zeros(item.size, dtype=np.int64)
    for one, value in zip(item.regions, values, strict=True):
        canvas[one.mask.to_array()] = value
    return canvas


@pytest.fixture(scope="session")
def kit():
    return SimpleNamespace(
        names=NAMES, dataset=DATASET, region=region, record=record, records=records, render=render, export=export,
        png=png, total=total, painted=painted,
    )  # fmt: skip
