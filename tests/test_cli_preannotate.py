"""maskwright preannotate: what regions mean, in which files, and pictures of where classes are seen."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from maskwright.cli import app
from maskwright.errors import InvalidInput

LABELS = "square,sky,road"


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A picture with a bright square: 160 wide and 120 high, the square covers x 50..110, y 30..90."""
    noise = np.random.default_rng(1).normal(0, 4, (120, 160, 3))
    pixels = np.full((120, 160, 3), 60.0) + noise
    pixels[30:90, 50:110] = (220, 60, 50) + noise[30:90, 50:110]
    (tmp_path / "pictures" / "sub").mkdir(parents=True)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(tmp_path / "pictures" / "sub" / "a.png")
    return tmp_path / "pictures"


@pytest.fixture
def run(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MASKWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MASKWRIGHT_OFFLINE", "true")
    monkeypatch.setenv("MASKWRIGHT_CPU_THREADS", "1")

    def call(*arguments: object, **settings: str):
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        words = ["preannotate", "--images", pictures, "--labels", LABELS, "--model", "classical", *arguments]
        return CliRunner().invoke(app, [str(word) for word in words])

    return call


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = Path(__file__).parent / "models" / "tiny_clip.py"
    spec = importlib.util.spec_from_file_location("tiny_clip", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.save_tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--heat-maps", "maps"], "MASKWRIGHT_DENSE"),
        (["--stuff", "sky,see"], "--stuff names 'see', which is not among --labels"),
        (["--format", "png", "--out", "pictures"], "no empty folder"),
    ],
)
def test_what_cannot_be_done_is_told_before_any_work(run, arguments, words):
    done = run("--out", "o", *arguments)
    assert isinstance(done.exception, InvalidInput)
    assert words in str(done.exception)
    assert not Path("o").exists()


def test_objects_and_areas_are_written_as_panoptic_files_by_what_a_fresh_machine_has(run, tmp_path):
    done = run("--task", "panoptic", "--format", "panoptic", "--out", tmp_path / "made")
    assert done.exit_code == 0, done.exception
    assert "areas of classes are only shown where they were found" in done.stderr
    document = json.loads((tmp_path / "made" / "panoptic.json").read_text())
    assert {one["name"]: one["isthing"] for one in document["categories"]} == {"square": 1, "sky": 0, "road": 0}
    (annotation,) = document["annotations"]
    pixels = np.array(Image.open(tmp_path / "made" / "panoptic" / annotation["file_name"])).astype(int)
    ids = pixels @ [1, 256, 65536]
    assert set(np.unique(ids)) - {0} == {segment["id"] for segment in annotation["segments_info"]}


def test_a_model_that_cannot_be_had_costs_one_sentence_and_no_image(run, caplog):
    done = run("--out", "o.json", MASKWRIGHT_TAGGER="siglip:o/n")
    assert done.exit_code == 0, done.exception
    assert done.stderr.count("'maskwright models pull siglip:o/n'") == 1
    assert not caplog.records


@pytest.mark.slow
def test_dense_features_fill_label_maps_and_draw_where_each_class_is_seen(run, clip, tmp_path):
    done = run(
        "--task", "semantic", "--format", "png", "--out", tmp_path / "made", "--heat-maps", tmp_path / "maps",
        MASKWRIGHT_DENSE=f"maskclip:{clip}",
    )  # fmt: skip
    assert done.exit_code == 0, done.exception
    assert "areas of classes" not in done.stderr
    (image,) = json.loads((tmp_path / "made" / "index.json").read_text())["images"]
    assert set(np.unique(np.array(Image.open(tmp_path / "made" / image["mask"])))) <= {0, 1, 2, 3}
    assert len(image["instances"]) == len({one["class"] for one in image["instances"]})
    maps = sorted(path.name for path in (tmp_path / "maps" / "sub" / "a.png").iterdir())
    assert maps == ["001-square.png", "002-sky.png", "003-road.png"]
    assert Image.open(tmp_path / "maps" / "sub" / "a.png" / maps[0]).size == (160, 120)
