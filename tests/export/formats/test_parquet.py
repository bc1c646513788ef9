from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from maskwright.export.formats import parquet
from maskwright.export.formats.parquet import ParquetFormat
from maskwright.masks import Mask


def picture(value, size=(8, 10)):
    sink = io.BytesIO()
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(sink, "PNG")
    return sink.getvalue()


@pytest.fixture
def dataset_folder(kit, tmp_path):
    """Four images, one of them not at hand, and the other files that an export leaves beside the data."""
    size = (8, 10)
    shapes = [Mask.from_box((1, 1, 6, 7), size) - Mask.from_box((2, 2, 4, 4), size), Mask.from_box((5, 5, 9, 8), size)]
    items = [
        kit.record(
            *(
                kit.region(m, label, is_crowd=label == "sky")
                for m, label in zip(shapes, (kit.names[1], "sky"), strict=True)
            ),
            number=i,
            split=split,
        )
        for i, split in enumerate(["train", "train", "val", "test"], 1)
    ]
    items.append(kit.record(size=size, number=5, split="train"))
    images = {item.key: picture(40 * i) for i, item in enumerate(items) if i != 1}
    done = kit.export(ParquetFormat(semantic=True), items, tmp_path, images=images)
    assert done.written[-1] == "data/train-00000-of-00001.parquet"
    (tmp_path / "README.md").write_text("# A card\n\nThe train part has 3 images.\n")
    (tmp_path / "dataset.json").write_text("{}")
    (tmp_path / "contact_sheet.png").write_bytes(picture(0))
    return tmp_path


# Of its own process: the environment must be set before `datasets` is imported.
LOAD = """
import json, sys
import numpy as np
from datasets import ClassLabel, Image, load_dataset
folder = sys.argv[1]
whole = load_dataset(folder)
one = load_dataset("parquet", data_files={"train": folder + "/data/train-*.parquet"})["train"]
streamed = next(iter(load_dataset(folder, split="train", streaming=True)))
row = whole["train"][0]
features = whole["train"].features
print(json.dumps({
    "splits": {name: len(part) for name, part in whole.items()},
    "same": len(one) == len(whole["train"]) and one.features == features,
    "streamed": streamed["image_id"],
    "image": [row["image"].size, np.array(row["image"]).max().item()],
    "missing": [r["image"] is None for r in whole["train"]],
    "files": whole["train"]["file_name"][:],
    "names": features["objects"]["category"].feature.names,
    "categories": features["objects"]["category"].feature.int2str(row["objects"]["category"]),
    "objects": row["objects"],
    "empty": whole["train"][2]["objects"]["id"],
    "semantic": np.array(row["semantic"]).tolist(),
}))
"""


def test_datasets_opens_the_folder_offline_with_images_decoded_and_classes_named(kit, dataset_folder, tmp_path_factory):
    environment = os.environ | {"HF_HOME": str(tmp_path_factory.mktemp("hub")), "HF_DATASETS_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(dataset_folder)], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["splits"] == {"train": 3, "validation": 1, "test": 1}
    assert seen["same"]
    assert seen["streamed"] == 1
    assert seen["image"] == [[10, 8], 0]
    assert seen["missing"] == [False, True, False]
    assert seen["files"] == ["folder/1.png", "folder/2.png", "folder/5.png"]
    assert seen["names"] == list(kit.names)
    assert seen["categories"] == [kit.names[1], "sky"]
    assert seen["empty"] == []
    objects = seen["objects"]
    assert objects["category_id"] == [2, 4]
    assert objects["bbox"] == [[1, 1, 5, 6], [5, 5, 4, 3]]
    assert objects["area"] == [26, 12]
    assert objects["iscrowd"] == [False, True]
    low, high = (coco_mask.decode(rle).astype(bool) for rle in objects["segmentation"])
    assert (low.sum(), high.sum()) == (26, 12)
    expected = np.where(high, 4, np.where(low, 2, 0))
    assert np.array_equal(seen["semantic"], expected)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_mask_comes_back_exactly_and_nothing_is_lost(kit, tmp_path_factory, data):
    item = data.draw(kit.records())
    folder = tmp_path_factory.mktemp("parquet")
    done = kit.export(ParquetFormat(), [item], folder)
    (row,) = pq.read_table(folder / done.written[-1]).to_pylist()
    kept = [region for region in item.regions if not region.mask.is_empty]
    objects = row["objects"]
    assert [Mask.from_coco(rle) for rle in objects["segmentation"]] == [region.mask for region in kept]
    assert [kit.names[i] for i in objects["category"]] == [region.label for region in kept]
    assert len(set(objects["id"])) == len(kept)
    assert done.lost == [()]


def test_row_groups_and_files_are_bounded(kit, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "_FILE_BYTES", 100_000)
    monkeypatch.setattr(parquet, "_GROUP_BYTES", 40_000)
    items = [kit.record(kit.region(Mask.full((3, 4))), number=i) for i in range(1, 301)]
    big = {item.key: picture(1) + bytes(3_000) for item in items[:60]}
    done = kit.export(ParquetFormat(), items, tmp_path, images=big)
    count = len(done.written)
    assert count > 1
    assert list(done.written) == [f"data/train-{i:05}-of-{count:05}.parquet" for i in range(count)]
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == [p.removeprefix("data/") for p in done.written]
    files = [pq.ParquetFile(tmp_path / path) for path in done.written]
    ids = [number for file in files for number in file.read(["image_id"])["image_id"].to_pylist()]
    assert ids == list(range(1, 301))
    groups = [file.metadata.row_group(i) for file in files for i in range(file.num_row_groups)]
    assert max(group.num_rows for group in groups) == 64
    assert max(group.total_byte_size for group in groups) < 60_000


def test_the_same_rows_make_the_same_bytes(kit, tmp_path):
    items = [kit.record(kit.region(Mask.full((3, 4))), number=i) for i in range(1, 4)]
    for name in ("one", "two"):
        kit.export(ParquetFormat(), items, tmp_path / name)
    path = "data/train-00000-of-00001.parquet"
    assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes()


def test_a_dataset_without_images_has_an_empty_table_with_its_features(kit, tmp_path):
    (path,) = kit.export(ParquetFormat(), [], tmp_path).written
    table = pq.read_table(tmp_path / path)
    assert table.num_rows == 0
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["objects"]["category"]["feature"]["names"] == list(kit.names)


def test_a_row_says_how_long_its_pictures_are(kit):
    item = kit.record(kit.region(Mask.full((8, 10))))
    (packed,) = kit.render(ParquetFormat(), [item], images={item.key: picture(7)}).rows["train"]
    assert struct.unpack_from("<II", packed) == (len(picture(7)), 0)
