"""``maskwright evaluate --task semantic`` as people and programs call it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from maskwright import cli_evaluate
from maskwright.errors import MaskwrightError


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    cli_evaluate.register(app)
    environment = {"COLUMNS": "160", "MASKWRIGHT_OFFLINE": "1", "MASKWRIGHT_CPU_THREADS": "1"}
    return CliRunner().invoke(app, ["evaluate", "--task", "semantic", *map(str, arguments)], env=environment)


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> Path:
    """Four pictures of blue sky over green grass, as stuff; a quarter of each is nobody's."""
    folder = tmp_path_factory.mktemp("truth")
    (folder / "images").mkdir()
    images, annotations = [], []
    for k in range(4):
        rng = np.random.default_rng(k)
        pixels = np.zeros((60, 80, 3))
        pixels[:30], pixels[30:] = (90, 140, 230), (60, 140, 50)
        noisy = np.clip(pixels + rng.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / "images" / f"{k}.png")
        images.append({"id": k, "file_name": f"{k}.png", "width": 80, "height": 60})
        for category, top in ((7, 0), (3, 30)):
            box = [0, top, 60, top, 60, top + 30, 0, top + 30]
            annotations.append({"id": len(annotations) + 1, "image_id": k, "category_id": category, "iscrowd": 0,
                                "segmentation": [box]})  # fmt: skip
    categories = [{"id": 7, "name": "sky"}, {"id": 3, "name": "grass"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "truth.json").write_text(json.dumps(content))
    return folder


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory) -> Path:
    path = Path(__file__).resolve().parents[2] / "models" / "tiny_clip.py"
    spec = importlib.util.spec_from_file_location("tiny_clip_of_semantic", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.save_tiny_clip(tmp_path_factory.mktemp("clip"))


def options(truth: Path, *more: object) -> list[object]:
    model = [] if "--dense" in more else ["--model", "classical"]
    return ["--coco", truth / "truth.json", "--images", truth / "images", *model, *more]


def test_objects_and_areas_are_measured_by_panoptic_quality(truth):
    done = run(*options(truth, "--task", "panoptic", "--limit", 2, "--json", "--stuff", "sky"))
    assert done.exit_code == 0, done.stderr or done.exception
    report = json.loads(done.stdout)
    assert [(one["name"], one["countable"]) for one in report["classes"]] == [("sky", False), ("grass", True)]
    assert report["images"] == 2
    assert all(0 <= one["pq"] <= 1 for one in report["classes"]), "both classes are there, found or not"
    told = run(*options(truth, "--task", "panoptic", "--limit", 1))
    for words in ("PQ", "SQ", "RQ", "sky", "grass", "1 images measured, seed 0"):
        assert words in told.stdout, words


def test_a_class_that_no_image_shows_has_no_figures(truth, tmp_path):
    document = json.loads((truth / "truth.json").read_text())
    document["categories"].append({"id": 9, "name": "fence"})
    (tmp_path / "more.json").write_text(json.dumps(document))
    done = run("--coco", tmp_path / "more.json", "--images", truth / "images", "--model", "classical", "--limit", 1)
    assert done.exit_code == 0, done.stderr or done.exception
    assert "nan" not in done.stdout
    assert [one.strip() for one in done.stdout.split("fence")[1].split("│")[1:4]] == ["-", "-", "0.0%"]


def test_pre_annotations_are_measured_for_programs_and_for_people(truth):
    done = run(*options(truth, "--limit", 2, "--json"))
    assert done.exit_code == 0, done.stderr or done.exception
    assert len(done.stdout.splitlines()) == 1
    report = json.loads(done.stdout)
    row = report["rows"]["pre-annotation"]
    assert row["images"] == 2
    assert [one["name"] for one in row["classes"]] == ["sky", "grass"]
    assert [one["pixels"] for one in row["classes"]] == [3600, 3600]
    assert 0 <= row["miou"] <= row["pixel_accuracy"] <= 1
    told = run(*options(truth, "--limit", 2))
    for words in ("mIoU", "95 % interval", "pixel accuracy", "sky", "grass", "50.0%", "2 images measured, seed 0"):
        assert words in told.stdout, words


def test_dense_features_are_compared_with_descriptors_with_and_without_each_part(truth, clip_folder, tmp_path):
    (tmp_path / "descriptors.json").write_text(json.dumps({"sky": ["the blue sky above"]}))
    done = run(*options(truth, "--limit", 1, "--dense", f"maskclip:{clip_folder}", "--descriptors",
                        tmp_path / "descriptors.json", "--json"))  # fmt: skip
    assert done.exit_code == 0, done.stderr or done.exception
    rows = json.loads(done.stdout)["rows"]
    assert list(rows) == ["all of it", "names only", "one scale"]
    assert all(row["images"] == 1 for row in rows.values())


@pytest.mark.slow
def test_the_embedded_features_learn_to_meet_words_in_five_variants(truth):
    done = run(*options(truth, "--dense", "embedded", "--train-share", 0.5, "--json"))
    assert done.exit_code == 0, done.stderr or done.exception
    report = json.loads(done.stdout)
    assert list(report["rows"]) == ["all of it", "names only", "one scale", "no triplet", "no language"]
    assert "learnt on 2" in report["model"]
    assert all(row["images"] == 2 and row["miou"] > 0.9 for row in report["rows"].values())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--train-share", 0.5], "name them with --dense"),
        (["--dense", "embedded", "--model", "classical"], "leave --model out"),
        (["--dense", "embedded"], "know no language"),
        (["--dense", "embedded", "--train-share", 0.1], "leave none"),
        (["--dense", "nonsense:x"], "nonsense"),
        (["--dense", "embedded", "--descriptors", "absent.json"], "cannot be read"),
        (["--dense", "embedded", "--language", "sentence-matcher", "--train-share", 0.1], "leave none"),
    ],
)
def test_what_a_user_can_mend_is_said(truth, arguments, expected):
    done = run(*options(truth, *arguments, "--json"))
    assert isinstance(done.exception, MaskwrightError), done.exception
    with pytest.raises(MaskwrightError, match=expected):
        raise done.exception
    assert not done.stdout


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[]", "lists of phrases"),
        ('{"sky": "blue"}', "lists of phrases"),
        ("{", "not a JSON"),
        ('{"dog": ["x"]}', "'dog'"),
    ],
)
def test_descriptors_that_cannot_be_meant_are_refused(truth, tmp_path, content, expected):
    (tmp_path / "descriptors.json").write_text(content)
    done = run(*options(truth, "--dense", "embedded", "--descriptors", tmp_path / "descriptors.json"))
    with pytest.raises(MaskwrightError, match=expected):
        raise done.exception


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"categories": []}, "categor"),
        ({"annotations": []}, "nothing to evaluate"),
        ({"file_name": "../truth.json"}, "image 0: file_name .* leads out of the folder"),
        ({"file_name": "9.png"}, "image 0: there is no file '9.png'"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(truth, tmp_path, change, expected):
    content = json.loads((truth / "truth.json").read_text())
    content["images"] = content["images"][:1]
    content["annotations"] = content["annotations"][:2]
    content["images"][0] |= {k: v for k, v in change.items() if k == "file_name"}
    content |= {k: v for k, v in change.items() if k != "file_name"}
    (tmp_path / "truth.json").write_text(json.dumps(content))
    done = run("--coco", tmp_path / "truth.json", "--images", truth / "images", "--model", "classical")
    with pytest.raises(MaskwrightError, match=expected):
        raise done.exception
