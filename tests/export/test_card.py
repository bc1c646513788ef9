"""The card and the contact sheet tell what a dataset holds, the same text and picture for the same data."""

from __future__ import annotations

import io
import json
import random

import numpy as np
import pytest
from PIL import Image

from maskwright.annotated import AnnotatedTask, Annotation, TaskImage
from maskwright.export.card import write_card
from maskwright.export.companions import CARD, Companions
from maskwright.export.contact_sheet import MOST_SAMPLES, draw_contact_sheet
from maskwright.export.label_mapping import LabelMapping
from maskwright.export.loading import how_to_load
from maskwright.export.records import Dataset, ImageRecord, Loss
from maskwright.export.selection import Selection, choose
from maskwright.export.splits import SplitRule
from maskwright.export.tally import MOST_PROBLEMS, ClassFigures, Tally
from maskwright.images import ImageLimits, label_colours
from maskwright.masks import Mask
from maskwright.regions import Provenance, Region

SIZE = (60, 80)
DATASET = Dataset({"cat": 1, "dog": 2, "never | used": 7}, description="Pets of *Ulm*", licence="CC BY 4.0")
SELECTION = Selection(
    "majority", LabelMapping.parse(["hound=dog"], exclude=["sky"]), split=SplitRule.parse("train=0.5,val=0.5", "task")
)
FORMATS = ("coco", "panoptic", "stuff", "yolo", "voc", "png", "parquet", "label-studio", "text")


def region(x: int, label: str = "cat", side: int = 10) -> Region:
    return Region(Mask.from_box((x, 5, x + side, 5 + side), SIZE), label, 1.0, Provenance("person"), key=f"r{x}")


def chosen_of(number: int):
    images = (TaskImage("image", 0, f"/data/upload/3/{number}.png", SIZE),)
    people = tuple(
        Annotation(
            f"{number}{who}", who, "submitted", updated_at=f"2026-01-{number + 1:02}T00:00:00Z",
            model_version="embedded-1" if who == "bob" else None,
            regions={0: (region(5, "hound"), region(30, "cat" if who == "ann" or number % 2 else "hound"))},
            problems=("region q: its run lengths cannot be read",) if number == 3 else (),
        )
        for who in ("ann", "bob")
    )  # fmt: skip
    return choose(AnnotatedTask("3", str(number), {}, images, people if number else ()), SELECTION)


def tally_of(numbers) -> Tally:
    tally = Tally()
    for number in numbers:
        chosen = chosen_of(number)
        tally.tasks += 1
        tally.add_chosen(chosen)
        for record in chosen.records:
            tally.add_record(record, [Loss("cat", "holes", 25)] if number == 2 else [])
    return tally


def card(tally: Tally, **more: object) -> str:
    settings = {"format_name": "coco", "index": "annotations.json", **more}
    files = {"annotations.json": "ab" * 32, "images/1.png": "cd" * 32}
    return write_card(tally, DATASET, files, "project 3 of label-studio", SELECTION, tally.newest, **settings)


def test_the_card_tells_everything_that_was_counted():
    text = card(tally_of(range(9)))
    for line in (
        "# Pets of \\*Ulm\\*",
        "| Images | 8 |",
        "| Regions | 16 |",
        "| Source | project 3 of label-studio |",
        "| State of | 2026-01-09T00:00:00Z |",
        "| 1 | cat | 4 | 4 | 400 | 100 | 100 | 100 |",
        "| 2 | dog | 12 | 8 | 1,200 | 100 | 100 | 100 |",
        "| 7 | never \\| used | 0 | 0 |  |  |  |  |",
        "| ann | 8 |",
        "| embedded-1 | 8 |",
        "Classes changed: hound → dog.",
        "Classes left out: sky.",
        "| images with several annotators | 8 |",
        "| mean IoU of matched objects | 1.000 |",
        "| same class, of matched objects | 0.750 |",
        "| cat | holes filled or cut open | 1 | 25 | 6.2 % |",
        "| no annotation | 1 |",
        "- annotation 3bob: region q: its run lengths cannot be read",
        "CC BY 4.0",
        'coco = COCO("annotations.json")',
        f"{'ab' * 32}  annotations.json",
        "![Sample images with their regions](contact-sheet.png)",
    ):
        assert line in text.split("\n") or line in text, line
    assert "Shared out by hash: train 0.5, val 0.5; seed 0." in text
    assert "more than half" in text


def test_the_same_data_give_the_same_card_however_the_work_was_divided():
    whole = card(tally_of(range(9)))
    order = [list(range(3)), [3], list(range(4, 9))]
    merged = Tally()
    for part in order:
        merged.add(Tally.from_json(json.loads(json.dumps(tally_of(part).to_json()))))
    assert merged == tally_of(range(9))
    assert card(merged) == whole


def test_an_empty_dataset_has_a_card_too():
    text = write_card(Tally(), Dataset({}), {}, "x.json", Selection(), "")
    assert "The dataset has no class." in text
    assert "Ask whoever owns the images" in text
    assert "State of" not in text


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_how_to_load_it_in_python_that_compiles(name: str):
    (block,) = how_to_load(name, "annotations.json")
    code = block.removeprefix("```python\n").removesuffix("\n```")
    compile(code, name, "exec")
    assert len(code.splitlines()) <= 4
    assert how_to_load("unheard-of", "x") == []


def test_hostile_names_stay_text():
    evil = "<script>|`x`\n# [a](b)"
    dataset = Dataset({evil: 1}, description=evil, licence=evil)
    tally = Tally(annotators=tally_of([1]).annotators)
    tally.annotators[evil] = 3
    tally.add_problem(evil)
    text = write_card(tally, dataset, {}, evil, Selection(), "", format_name="a`b")
    assert "<script>" not in text.replace("\\<script\\>", "")
    assert "\n# [a]" not in text


def test_sizes_are_known_to_about_ten_per_cent():
    rng = random.Random(1)
    areas = sorted(int(2 ** rng.uniform(0, 20)) for _ in range(2000))
    figures = ClassFigures()
    for area in areas:
        figures.add_region(area, None)
    for share in (0.1, 0.5, 0.9):
        exact = areas[int(share * len(areas)) - 1]
        assert figures.quantile(share) == pytest.approx(exact, rel=0.12, abs=1)
    assert ClassFigures().quantile(0.5) == 0


def test_of_many_problems_the_first_are_kept_and_all_are_counted():
    first, second = Tally(), Tally()
    for n in range(15):
        first.add_problem(f"a{n}")
        second.add_problem(f"b{n}")
    first.add(second)
    assert first.problem_count == 30
    assert first.problems == [f"a{n}" for n in range(15)] + [f"b{n}" for n in range(MOST_PROBLEMS - 15)]


# --- contact sheet ----------------------------------------------------------------------------------------------------


def record(number: int, *regions: Region, size: tuple[int, int] = SIZE) -> ImageRecord:
    return ImageRecord(f"3/{number}/0", str(number), f"pets/{number}.png", "", size, regions, split="train")


def picture(colour: tuple[int, int, int] = (10, 20, 200), size: tuple[int, int] = SIZE) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", size[::-1], colour).save(sink, "PNG")
    return sink.getvalue()


def pixels_of(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_the_contact_sheet_shows_the_image_with_its_regions_tinted():
    sheet = pixels_of(draw_contact_sheet([(record(1, region(20, side=30)), picture())], DATASET.categories))
    assert (np.abs(sheet - (10, 20, 200)).sum(axis=2) == 0).sum() > 10_000, "the image"
    tint = np.rint(np.array([10, 20, 200]) * 0.6 + np.array(label_colours(["cat"])["cat"]) * 0.4)
    assert (np.abs(sheet - tint).max(axis=2) <= 2).sum() > 5_000, "the region"


def test_a_sample_whose_file_is_missing_broken_or_of_another_size_is_drawn_on_grey():
    for image in (None, b"no image", picture(size=(30, 30))):
        sheet = pixels_of(draw_contact_sheet([(record(1, region(20)), image)], DATASET.categories))
        assert ((sheet == 208).all(axis=2)).sum() > 50_000


def test_the_same_samples_give_the_same_bytes_and_many_are_cut_off():
    samples = [(record(n, region(20), region(3, "dog")), picture()) for n in range(40)]
    one = draw_contact_sheet(samples, DATASET.categories)
    assert one == draw_contact_sheet(samples[:MOST_SAMPLES], DATASET.categories)
    width, height = Image.open(io.BytesIO(one)).size
    assert width < 2400
    assert height < 2400


def test_regions_of_one_pixel_and_images_of_any_shape_can_be_drawn():
    dot = Region(Mask.from_box((7, 9, 8, 10), (2000, 3000)), "cat", 1.0, Provenance("person"))
    samples = [
        (record(1, dot, size=(2000, 3000)), None),
        (record(2, size=(1, 5000)), None),
        (record(3, size=(5000, 1)), None),
        (record(4, *[Region(Mask.full((3, 3)), "dog", 1.0, Provenance("person"))] * 9, size=(3, 3)), None),
    ]
    sheet = pixels_of(draw_contact_sheet(samples, DATASET.categories))
    red = np.array(label_colours(["cat"])["cat"])
    assert (np.abs(sheet - red).sum(axis=2) < 60).any(), "the dot"
    assert draw_contact_sheet([], {}).startswith(b"\x89PNG")


def test_card_and_sheet_come_with_the_dataset():
    made = Companions("coco", DATASET, SELECTION, "project 3", ImageLimits())
    tally = tally_of(range(4))
    files = dict(made.make(tally, [(record(1, region(20)), None)], {"annotations.json": "ab" * 32}, "annotations.json"))
    assert list(files) == ["contact-sheet.png", CARD]
    text = files[CARD].decode()
    assert "contact-sheet.png" in text.split("## Checksums")[1]
    assert "| State of | 2026-01-04T00:00:00Z |" in text
