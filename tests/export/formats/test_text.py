"""The training set of descriptors: every line is a conversation whose answer is the masks on the grid."""

from __future__ import annotations

import io
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from maskwright.errors import InvalidInput
from maskwright.export.formats.text import TextFormat
from maskwright.export.records import Dataset, ImageRecord
from maskwright.labels import LabelSet
from maskwright.masks import Mask
from maskwright.masks.grids import grid_of_layers
from maskwright.masks.text_parser import parse_text
from maskwright.regions import Provenance, Region

steady = settings(deadline=None, derandomize=True)

SIZE = (64, 96)
DATASET = Dataset({"dog": 1, "cat": 2, "tree": 3, "car": 4})


def region(label, *box):
    return Region(Mask.from_box(box, SIZE), label, 1.0, Provenance("person"))


def record(*regions, **other):
    values = {"key": "1/7/0", "task": "7", "file_name": "a/b.png", "source": "/data/b.png", "size": SIZE}
    return ImageRecord(**{**values, "regions": regions, **other})


def conversations(rendered):
    return [json.loads(row) for _, row in rendered.rows]


def exported(folder, records, dataset=DATASET, kind=None):
    """The folder as the engine would leave it."""
    kind = kind or TextFormat()
    rendered = [kind.render(one, dataset, None) for one in records]

    def rows(section):
        return (row for one in rendered for name, row in one.rows if name == section)

    return kind.finish(folder, rows, dataset)


def test_every_answer_reads_back_as_the_masks_on_the_grid():
    one = record(region("dog", 0, 0, 48, 32), region("cat", 48, 0, 96, 64))
    lines = conversations(TextFormat().render(one, DATASET, None))
    wanted = grid_of_layers([(r.label, r.mask) for r in one.regions], 16)
    labels = LabelSet.of(DATASET.categories)
    by_kind = {}
    for line in lines:
        question, answer = line["conversations"]
        assert (question["from"], answer["from"]) == ("human", "gpt")
        assert question["value"].startswith("<image>\n")
        read = parse_text(answer["value"], 16, labels)
        assert (read.confidence, read.warnings) == (1, ())
        by_kind.setdefault(line["kind"], []).append((line, read.grid))
        assert (line["image"], line["height"], line["width"], line["grid"]) == ("a/b.png", 64, 96, 16)
    assert [g for _, g in by_kind["everything"]] == [wanted]
    assert [(line["labels"], g.present) for line, g in by_kind["only"]] == [(["dog"], ("dog",)), (["cat"], ("cat",))]
    for _, grid in by_kind["only"]:
        assert (grid.marked(*grid.present) == wanted.marked(*grid.present)).all()
    ((among, grid),) = by_kind["among"]
    assert grid == wanted
    assert {"dog", "cat"} < set(among["labels"]) <= set(DATASET.categories)
    assert len({line["id"] for line in lines}) == len(lines)


def test_the_block_is_in_the_papers_form():
    dataset = Dataset({"dog": 1}, grid=2)
    (line, *_) = conversations(TextFormat().render(record(region("dog", 0, 0, 48, 64)), dataset, None))
    assert line["conversations"][1]["value"].endswith("\n<seg>dog *1| others *1\n dog *1| others *1\n</seg>")


def test_an_image_without_classes_teaches_to_refuse():
    lines = conversations(TextFormat().render(record(), DATASET, None))
    assert [line["kind"] for line in lines] == ["everything", "among"]
    for line in lines:
        assert parse_text(line["conversations"][1]["value"], 16).grid.present == ()


def test_objects_that_no_cell_is_called_after_are_not_asked_for_and_counted_as_lost():
    speck = region("cat", 1, 1, 2, 2)
    rendered = TextFormat().render(record(region("dog", 0, 0, 48, 64), speck), Dataset({"dog": 1, "cat": 2}), None)
    assert [line["labels"] for line in conversations(rendered)][:2] == [["dog"], ["dog"]]
    lost = {(loss.label, loss.reason): loss.pixels for loss in rendered.lost}
    assert lost == {("dog", "overlap"): 1, ("dog", "grid"): 1, ("cat", "grid"): 1}
    kept = TextFormat(sampling="any").render(record(speck), DATASET, None)
    assert conversations(kept)[0]["labels"] == ["cat"]


def test_the_pixels_counted_as_lost_are_those_that_differ():
    rng = np.random.default_rng(0)
    labels = list(DATASET.categories)
    regions = [
        Region(Mask.from_ellipse(*rng.uniform(10, 60, 2), *rng.uniform(3, 25, 2), 20, SIZE), labels[n % 4], 1.0,
               Provenance("person"))
        for n in range(6)
    ]  # fmt: skip
    rendered = TextFormat().render(record(*regions), DATASET, None)
    painted = np.zeros(SIZE, dtype=int)
    for one in regions:
        painted[one.mask.to_array()] = DATASET.categories[one.label]
    grid = parse_text(conversations(rendered)[0]["conversations"][1]["value"], 16).grid
    for label, number in DATASET.categories.items():
        wrong = int(np.count_nonzero(grid.mask(label, SIZE).to_array() != (painted == number)))
        assert sum(loss.pixels for loss in rendered.lost if (loss.label, loss.reason) == (label, "grid")) == wrong


def test_instances_are_told_apart_when_asked_for():
    one = record(region("dog", 0, 0, 48, 64), region("dog", 48, 0, 96, 64))
    lines = conversations(TextFormat(instances=True).render(one, DATASET, None))
    grid = parse_text(lines[0]["conversations"][1]["value"], 16, LabelSet.of(["dog"])).grid
    assert grid.present == ("dog#1", "dog#2")
    assert lines[0]["labels"] == ["dog"]
    assert [line["kind"] for line in lines] == ["everything", "only", "among"]


def test_there_is_a_file_for_each_split_and_the_last_named_is_for_training(tmp_path):
    records = [record(region("dog", 0, 0, 48, 64), key=f"1/{n}/0", task=str(n), split=split)
               for n, split in enumerate(["train", "val", "train", "test"], 1)]  # fmt: skip
    written = exported(tmp_path, records)
    assert written == ("descriptors.json", "test.jsonl", "val.jsonl", "train.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert {line["id"].split("-")[0] for line in lines} == {"1", "3"}
    reading = json.loads((tmp_path / "descriptors.json").read_text())
    assert (reading["grid"], reading["labels"]) == (16, list(DATASET.categories))


def test_an_undivided_or_empty_dataset_is_one_file(tmp_path):
    assert exported(tmp_path, [record()])[-1] == "conversations.jsonl"
    assert len((tmp_path / "conversations.jsonl").read_text().splitlines()) == 2
    assert exported(tmp_path, [])[-1] == "conversations.jsonl"
    assert (tmp_path / "conversations.jsonl").read_bytes() == b""


def test_hugging_face_datasets_loads_the_lines(tmp_path):
    datasets = pytest.importorskip("datasets")
    exported(tmp_path, [record(region("dog", 0, 0, 48, 64)), record(key="1/8/0", task="8")])
    path = str(tmp_path / "conversations.jsonl")
    rows = datasets.load_dataset("json", data_files=path, split="train", cache_dir=str(tmp_path / "cache"))
    assert rows[0]["conversations"][0]["from"] == "human"
    assert len(rows) == 5


def test_images_are_copied_where_they_are_at_hand():
    sink = io.BytesIO()
    Image.new("RGB", SIZE[::-1]).save(sink, "PNG")
    rendered = TextFormat().render(record(), DATASET, sink.getvalue())
    assert rendered.files == (("images/a/b.png", sink.getvalue()),)
    assert {line["image"] for line in conversations(rendered)} == {"images/a/b.png"}


def test_the_same_input_gives_the_same_bytes_and_the_format_travels_between_processes():
    one = record(region("dog", 0, 0, 48, 32))
    travelled = pickle.loads(pickle.dumps(TextFormat()))
    assert travelled.render(one, DATASET, None) == TextFormat().render(one, DATASET, None)


def test_a_grid_out_of_bounds_is_refused():
    with pytest.raises(InvalidInput, match="1 to 128"):
        TextFormat().render(record(), Dataset({}, grid=0), None)


@steady
@given(
    st.lists(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=10).filter(str.strip), max_size=4),
    st.integers(1, 32),
)
def test_classes_of_any_name_are_written_and_read_back(names, grid):
    dataset = Dataset({name: number for number, name in enumerate(dict.fromkeys(names), 1)}, grid=grid)
    regions = [region(name, 20 * n, 0, 20 * n + 20, 64) for n, name in enumerate(dataset.categories)]
    for line in conversations(TextFormat().render(record(*regions), dataset, None)):
        read = parse_text(line["conversations"][1]["value"], grid)
        assert read.confidence == 1
        spelt = {" ".join(name.split()) for name in line["labels"]}
        assert set(read.grid.present) <= spelt
