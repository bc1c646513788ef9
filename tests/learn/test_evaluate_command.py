"""The command as other programs call it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from maskwright import cli_evaluate
from maskwright.errors import MaskwrightError

KEYS = ["objects", "iou_box", "iou_1", "iou_3", "iou_5", "noc80", "noc85", "noc90", "failures80", "seconds_per_click"]


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    cli_evaluate.register(app)
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)], env={"COLUMNS": "120"})


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> Path:
    """Three pictures with two clear squares each, one of them small, as COCO."""
    folder = tmp_path_factory.mktemp("truth")
    images, annotations = [], []
    for k in range(3):
        pixels = np.full((120, 160, 3), 60.0) + np.random.default_rng(k).normal(0, 4, (120, 160, 3))
        for x1, y1, x2, y2, colour in ((20, 30, 80, 90, (220, 60, 50)), (110, 20, 135, 45, (40, 90, 230))):
            pixels[y1:y2, x1:x2] += np.subtract(colour, 60)
            annotations.append({"id": len(annotations) + 1, "image_id": k, "iscrowd": k % 2, "category_id": 1,
                                "segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]]})  # fmt: skip
        name = f"sub/{k}.png"
        (folder / "images" / "sub").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / "images" / name)
        images.append({"id": k, "file_name": name, "width": 160, "height": 120})
    (folder / "truth.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return folder


def options(truth: Path, *more: object) -> list[object]:
    return ["--coco", truth / "truth.json", "--images", truth / "images", "--model", "classical", *more]


def test_json_is_one_line_with_the_agreed_keys(truth):
    done = run(*options(truth, "--limit", 4, "--seed", 3, "--json"))
    assert done.exit_code == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    report = json.loads(done.stdout)
    assert list(report) == KEYS
    assert report["objects"] == 4
    assert report["iou_5"] > 0.9
    assert 1 <= report["noc80"] <= report["noc85"] <= report["noc90"] <= 20
    assert report["failures80"] == 0
    assert report["seconds_per_click"] > 0
    again = json.loads(run(*options(truth, "--limit", 4, "--seed", 3, "--json", "--task", "interactive")).stdout)
    assert again | {"seconds_per_click": 0} == report | {"seconds_per_click": 0}


def test_people_get_a_table_with_intervals_sizes_and_failures(truth):
    done = run(*options(truth))
    assert done.exit_code == 0, done.stderr
    for words in ("95 % interval", "small", "medium", "large", "IoU, box", "IoU, 1 click ", "IoU, 5 clicks",
                  "boundary IoU, 3 clicks", "NoC@80", "NoC@90", "never reached .85: 0 of 6", "s a click",
                  "6 objects in 3 images, seed 0"):  # fmt: skip
        assert words in done.stdout, words


def test_what_was_left_out_is_said_beside_the_result(truth, tmp_path):
    content = json.loads((truth / "truth.json").read_text())
    content["annotations"][0]["segmentation"] = [[1.1, 1.1, 1.2, 1.1, 1.2, 1.2]]
    (tmp_path / "truth.json").write_text(json.dumps(content))
    done = run("--coco", tmp_path / "truth.json", "--images", truth / "images", "--model", "classical", "--json")
    assert json.loads(done.stdout)["objects"] == 5
    assert "annotation 1 was left out" in done.stderr


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"coco": "absent.json"}, "no COCO file"),
        ({"images": "absent"}, "no folder"),
        ({"model": "nonsense:x"}, "nonsense"),
        ({"file_name": "../truth.json"}, "image 0, of annotation 1: file_name .* leads out of the folder"),
        ({"file_name": "/etc/passwd"}, "leads out of the folder"),
        ({"file_name": "sub/9.png"}, "image 0, of annotation 1: there is no file 'sub/9.png'"),
        ({"segmentation": [[1, 2]]}, "annotation 1: polygon 0"),
    ],
)
def test_what_a_user_can_mend_is_said_before_anything_is_evaluated(truth, tmp_path, change, expected):
    content = json.loads((truth / "truth.json").read_text())
    content["images"][0] |= {k: v for k, v in change.items() if k == "file_name"}
    content["annotations"] = content["annotations"][:1]
    content["annotations"][0] |= {k: v for k, v in change.items() if k == "segmentation"}
    (tmp_path / "truth.json").write_text(json.dumps(content))
    coco, images = tmp_path / change.get("coco", "truth.json"), truth / change.get("images", "images")
    done = run("--coco", coco, "--images", images, "--model", change.get("model", "classical"), "--json")
    assert isinstance(done.exception, MaskwrightError), done.exception
    with pytest.raises(MaskwrightError, match=expected):
        raise done.exception
    assert not done.stdout


def test_what_belongs_to_another_task_is_refused(truth):
    done = run(*options(truth, "--dense", "embedded"))
    with pytest.raises(MaskwrightError, match="belong to --task semantic"):
        raise done.exception


def test_a_limit_below_one_is_refused(truth):
    assert run(*options(truth, "--limit", 0)).exit_code == 2
