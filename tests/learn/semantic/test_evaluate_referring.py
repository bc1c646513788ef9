"""``maskwright evaluate --task referring`` as people and programs call it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from maskwright import cli_evaluate
from maskwright.errors import InvalidInput
from maskwright.learn.semantic.phrases import true_phrases
from maskwright.masks import Mask

LEFT, RIGHT = ([x, 20, x + 24, 20, x + 24, 44, x, 44] for x in (10, 60))
ENTRIES = (
    {"phrase": "all bananas", "segmentation": [LEFT]},
    {"caption": "all bananas", "segmentation": [RIGHT]},
    {
        "sentences": [{"sent": "banana on the left", "raw": "The banana on the left"}, "left one"],
        "segmentation": [LEFT],
    },
    {"phrase": "the zebra", "segmentation": []},
    {"segmentation": [RIGHT]},
)


def run(coco: Path, *arguments: object) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    cli_evaluate.register(app)
    told = ["evaluate", "--task", "referring", "--coco", coco, "--images", coco.parent, "--model", "classical"]
    environment = {"COLUMNS": "160", "MASKWRIGHT_OFFLINE": "1", "MASKWRIGHT_CPU_THREADS": "1"}
    return CliRunner().invoke(app, [*map(str, told), *map(str, arguments)], env=environment)


def written(folder: Path, *entries: dict[str, object]) -> Path:
    """Two yellow things on blue, with annotations."""
    pixels = np.full((64, 96, 3), (30, 60, 160), dtype=np.uint8)
    for x in (10, 60):
        pixels[20:44, x : x + 24] = (230, 210, 40)
    Image.fromarray(pixels).save(folder / "a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 96, "height": 64}],
        "annotations": [{"id": n, "image_id": 1, "category_id": 1, **one} for n, one in enumerate(entries, 1)],
    }
    (folder / "truth.json").write_text(json.dumps(content))
    return folder / "truth.json"


def test_each_text_is_a_phrase_and_the_same_text_means_all_that_carry_it(tmp_path):
    found = {one.phrase: one.mask for one in true_phrases(written(tmp_path, *ENTRIES), 100)["a.png"]}
    assert {text: mask.area for text, mask in found.items()} == {
        "all bananas": 2 * 24 * 24, "The banana on the left": 24 * 24, "left one": 24 * 24, "the zebra": 0,
    }  # fmt: skip
    assert found["the zebra"] == Mask.empty((64, 96))
    assert len(true_phrases(tmp_path / "truth.json", 2)["a.png"]) == 2


def test_phrases_are_measured_for_programs_and_for_people(tmp_path):
    coco = written(tmp_path, *ENTRIES)
    done = run(coco, "--json")
    assert done.exit_code == 0, done.stderr or done.exception
    report = json.loads(done.stdout)
    assert report["phrases"] == 4
    for measure in ("cumulative_iou", "mean_iou", "precision"):
        assert 0 <= report[measure] <= 1
    assert report["none_accuracy"] in (0, 1), "of one phrase that means nothing"
    told = run(coco, "--limit", 1)
    for words in ("cIoU", "gIoU", "precision@.5", "1 phrases in 1 images, seed 0"):
        assert words in told.stdout, words


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"segmentation": [LEFT]}, "no annotation of truth.json has a text"),
        ({"segmentation": [LEFT], "phrase": 5}, "annotation 1: .*hold texts"),
        ({"segmentation": [LEFT], "sentences": [{"text": "a dog"}]}, "annotation 1: .*'sent' or 'raw'"),
        ({"bbox": [1, 1, 5, 5], "segmentation": [], "phrase": "a dog"}, "annotation 1: its segmentation"),
        ({"segmentation": [LEFT], "phrase": "dog " * 500}, "annotation 1, 'dog "),
    ],
)
def test_what_cannot_be_measured_is_said(tmp_path, entry, expected):
    done = run(written(tmp_path, entry), "--json")
    with pytest.raises(InvalidInput, match=expected):
        raise done.exception
    assert not done.stdout
