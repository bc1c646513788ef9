"""The commands as other programs call them: exact forms, exit codes, one line on standard error."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

COMMAND = str(Path(sys.executable).with_name("maskwright"))


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MASKWRIGHT_", "LABEL_STUDIO"))}
    return kept | {
        "MASKWRIGHT_HOME": str(tmp_path_factory.mktemp("home")),
        "MASKWRIGHT_OFFLINE": "true",
        "COLUMNS": "200",
    }


@pytest.fixture(scope="module")
def run(environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cwd")

    def call(*arguments: object, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *map(str, arguments)], env=environment | settings, cwd=folder, capture_output=True, text=True,
            timeout=240,
        )  # fmt: skip

    return call


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Two pictures with a bright square each, 160 wide and 120 high; the square covers x 50..110, y 30..90."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, colour in (("a.png", (220, 60, 50)), ("sub/b.jpg", (40, 90, 230))):
        noise = np.random.default_rng(1).normal(0, 4, (120, 160, 3))
        pixels = np.full((120, 160, 3), 60.0) + noise
        pixels[30:90, 50:110] = colour + noise[30:90, 50:110]
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=95)
    return folder


@pytest.fixture(scope="module")
def square() -> np.ndarray:
    truth = np.zeros((120, 160), bool)
    truth[30:90, 50:110] = True
    return truth


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_predict_writes_the_mask_and_prints_score_box_area_and_model_version(run, pictures, square, tmp_path):
    out = tmp_path / "mask.png"
    done = run("predict", pictures / "a.png", "--point", "80,60,1", "--point", "10,10,0", "--box", "45,25,115,95",
               "--model", "classical", "--out", out, "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    mask = np.asarray(Image.open(out))
    assert Image.open(out).mode == "L"
    assert mask.shape == (120, 160)
    assert set(np.unique(mask)) <= {0, 255}
    assert iou(mask > 0, square) > 0.9
    assert report["area"] == (mask > 0).sum()
    assert np.allclose(report["box"], (50, 30, 110, 90), atol=3)
    assert 0 < report["score"] <= 1
    assert re.fullmatch(r"classical-[0-9a-f]{8}", report["model_version"])
    assert [path.name for path in tmp_path.iterdir()] == ["mask.png"], "nothing half-written stays behind"


def test_predict_with_one_click_prints_for_people(run, pictures):
    done = run("predict", pictures / "a.png", "--point", "80,60,1")
    assert done.returncode == 0
    for word in ("score", "box", "area", "model version"):
        assert word in done.stdout


def test_predict_takes_words_in_place_of_clicks(run, tmp_path):
    import skimage

    cat, out = Path(skimage.__file__).parent / "data" / "chelsea.png", tmp_path / "mask.png"
    done = run("predict", cat, "--phrase", "the cat", "--out", out)
    assert done.returncode == 0, done.stderr
    assert np.asarray(Image.open(out)).mean() > 0.4 * 255
    out.unlink()
    done = run("predict", cat, "--phrase", "the spoon", "--out", out)
    assert done.returncode != 0
    assert "nothing in" in done.stderr
    assert "'the spoon'" in done.stderr
    assert not out.exists()


def test_predict_speaks_pixels_of_the_displayed_image(run, pictures, square, tmp_path):
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise, so 120 wide and 160 high
    Image.open(pictures / "a.png").save(turned, exif=exif, quality=95)
    out = tmp_path / "mask.png"
    # Clockwise: x' = height - y, y' = x.
    done = run("predict", turned, "--box", f"{120 - 95},45,{120 - 25},115", "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["size"] == [160, 120]
    assert iou(np.asarray(Image.open(out)) > 0, np.rot90(square, -1)) > 0.9


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["predict", "no-such.png", "--point", "1,1,1"], "no image file"),
        (["predict", "{a}"], "--point"),
        (["predict", "{a}", "--point", "1,1"], "X,Y,1"),
        (["predict", "{a}", "--point", "a,b,c"], "X,Y,1"),
        (["predict", "{a}", "--point", "1,1,2"], "neither 1"),
        (["predict", "{a}", "--point", "nan,1,1"], "finite|outside"),
        (["predict", "{a}", "--point", "500,1,1"], "160 x 120"),
        (["predict", "{a}", "--box", "1,2,3"], "X1,Y1,X2,Y2"),
        (["predict", "{a}", "--box", "9,9,3,3"], "x2 > x1"),
        (["predict", "{a}", "--point", "1,1,1", "--model", "nonsense:x"], "nonsense"),
        (["predict", "{a}", "--point", "1,1,1", "--model", "sam:/no/such/folder"], "sam:"),
        (["predict", "{a}", "--point", "80,60,1", "--out", "/no/such/folder/mask.png"], "cannot write"),
        (["predict", "{text}", "--point", "1,1,1"], ""),
        (["preannotate", "--images", "/no/such", "--labels", "x", "--out", "o.json"], "no folder"),
        (["preannotate", "--images", "{empty}", "--labels", "x", "--out", "o.json"], "no image"),
        (["preannotate", "--images", "{folder}", "--labels", "x,x", "--out", "o.json"], "twice"),
        (["preannotate", "--images", "{folder}", "--labels", "x,", "--out", "o.json"], "blank"),
        (["precompute"], "--images DIR or --project"),
        (["serve", "--host", "0.0.0.0", "--port", "0"], "MASKWRIGHT_PASSWORD"),
        (["serve", "--port", "0", "--model", "nonsense:x"], "nonsense"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_code_2(run, pictures, tmp_path, arguments, expected):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("not a picture")
    places = {"a": pictures / "a.png", "folder": pictures, "empty": tmp_path / "empty", "text": tmp_path / "text.png"}
    done = run(*(argument.format(**places) for argument in arguments))
    assert done.returncode == 2, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("maskwright: ")
    assert re.search(expected, lines[0])


def test_a_wrong_setting_is_named_without_its_value(run, pictures):
    done = run("predict", pictures / "a.png", "--point", "1,1,1", MASKWRIGHT_THREADS="hunter2", MASKWRIGHT_USERNAME="u")
    assert done.returncode == 2
    assert "MASKWRIGHT_THREADS" in done.stderr
    assert "hunter2" not in done.stderr


@pytest.mark.slow
def test_preannotate_writes_coco(run, pictures, square, tmp_path):
    out = tmp_path / "coco.json"
    done = run("preannotate", "--images", pictures, "--labels", "square", "--model", "classical", "--out", out,
               "--format", "coco")  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads(out.read_text())
    assert [image["file_name"] for image in document["images"]] == ["a.png", "sub/b.jpg"]
    assert [category["name"] for category in document["categories"]] == ["square"]
    for image in document["images"]:
        masks = [
            coco_mask.decode(a["segmentation"]) > 0 for a in document["annotations"] if a["image_id"] == image["id"]
        ]
        assert max(iou(mask, square) for mask in masks) > 0.9


@pytest.mark.slow
def test_preannotate_writes_what_label_studio_imports(run, pictures, square, tmp_path):
    from label_studio_sdk.converter.brush import decode_rle

    out = tmp_path / "tasks.json"
    done = run("preannotate", "--images", pictures, "--labels", "square", "--out", out, "--format", "label-studio")
    assert done.returncode == 0, done.stderr
    tasks = json.loads(out.read_text())
    assert [task["data"]["image"] for task in tasks] == ["a.png", "sub/b.jpg"]
    for task in tasks:
        (prediction,) = task["predictions"]
        assert 0 <= prediction["score"] <= 1
        assert prediction["model_version"]
        masks = [decode_rle(r["value"]["rle"]).reshape(120, 160, 4)[..., 3] > 0 for r in prediction["result"]]
        assert max(iou(mask, square) for mask in masks) > 0.9


@pytest.mark.slow
def test_preannotate_goes_on_past_a_broken_image_and_then_fails(run, pictures, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "good.png").write_bytes((pictures / "a.png").read_bytes())
    (folder / "bad.png").write_bytes((pictures / "a.png").read_bytes()[:200])
    out = tmp_path / "coco.json"
    done = run("preannotate", "--images", folder, "--labels", "square", "--out", out)
    assert done.returncode == 1
    assert "bad.png" in done.stderr
    assert [image["file_name"] for image in json.loads(out.read_text())["images"]] == ["good.png"]


def test_precompute_prints_the_budget_and_skips_what_is_there(run, pictures):
    first = run("precompute", "--images", pictures, "--model", "classical")
    assert first.returncode == 0, first.stderr
    assert "MB on disk" in first.stdout
    second = run("precompute", "--images", pictures, "--model", "classical")
    assert "0 encoded, 2 were there already" in second.stdout
    refused = run("precompute", "--images", pictures, MASKWRIGHT_DISK_CACHE_BYTES="1000")
    assert refused.returncode == 2
    assert "MASKWRIGHT_DISK_CACHE_BYTES" in refused.stderr


@pytest.mark.slow
def test_doctor_reports_every_check_with_a_remedy_and_fails_only_when_something_is_broken(run):
    done = run("doctor", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, report
    assert report["ok"] is True
    names = {check["name"] for check in report["checks"]}
    assert {"python", "torch", "transformers", "device", "cache folder", "disk space", "credentials", "model"} <= names
    assert all(check["status"] == "ok" or check["remedy"] for check in report["checks"])

    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{held.getsockname()[1]}"
        done = run("doctor", "--json", "--model", "sam:/no/such/folder", MASKWRIGHT_HOST="0.0.0.0",
                   MASKWRIGHT_LABEL_STUDIO_URL=nobody, MASKWRIGHT_LABEL_STUDIO_API_KEY="ab" * 20)  # fmt: skip
    failed = {
        check["name"]: check["remedy"] for check in json.loads(done.stdout)["checks"] if check["status"] == "fail"
    }
    assert done.returncode == 1
    assert {"model", "credentials", "label studio"} <= set(failed)
    assert "MASKWRIGHT_LABEL_STUDIO_URL" in failed["label studio"]
    assert "abab" not in done.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_prints_its_address_answers_and_ends_cleanly(environment, tmp_path, number):
    process = subprocess.Popen(
        [COMMAND, "serve", "--port", "0", "--host", "127.0.0.1"], env=environment, cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
        assert found
        deadline = time.monotonic() + 60
        while not httpx.get(f"{found[0]}/health", timeout=10).json()["loaded"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        health = httpx.get(f"{found[0]}/health").json()
        assert health["model"] == "embedded"
        assert health["version"]
        assert "maskwright_stage_seconds" in httpx.get(f"{found[0]}/metrics").text
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors
    finally:
        process.kill()


def test_help_is_quick_and_lists_the_commands(run):
    run("--help")
    began = time.monotonic()
    done = run("--help")
    assert time.monotonic() - began < 10, (
        "far above what it takes, far below what importing torch takes on a busy machine"
    )
    for name in ("serve", "up", "connect", "precompute", "predict", "preannotate", "doctor", "demo"):
        assert re.search(rf"^\W+{name}\b", done.stdout, re.MULTILINE), name
