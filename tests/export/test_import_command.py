from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path

import numpy as np
import orjson
import pytest
import typer
from PIL import Image
from pycocotools import mask as coco_mask
from typer.testing import CliRunner

from maskwright import cli_import
from maskwright.errors import InvalidInput, MaskwrightError
from maskwright_label_studio.importer import Importer
from maskwright_label_studio.reader import LabelStudioReader
from maskwright_label_studio.results import results_to_regions

NUCLEI = Path(__file__).parents[3] / "shared" / "data" / "nuclei"
SQUARE = [3, 2, 11, 2, 11, 8, 3, 8]


def rle(mask: np.ndarray) -> dict:
    found = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": found["size"], "counts": found["counts"].decode()}


def masks(count: int) -> list[np.ndarray]:
    return [np.random.default_rng(n).random((12, 16)) < 0.3 for n in range(count)]


@pytest.fixture
def folder(tmp_path) -> Path:
    images = tmp_path / "images"
    (images / "sub dir").mkdir(parents=True)
    Image.new("RGB", (16, 12)).save(images / "sub dir" / "a.png")
    Image.new("RGB", (16, 12)).save(images / "b.png")
    return tmp_path


@pytest.fixture
def coco(folder) -> dict:
    return {
        "annotations": [
            {"id": n, "image_id": 1 + n % 2, "category_id": (9, 4)[n % 3 == 0], "iscrowd": 0, "segmentation": rle(mask)}
            for n, mask in enumerate(masks(6))
        ],
        "images": [
            {"id": 2, "file_name": "b.png", "height": 12, "width": 16},
            {"id": 1, "file_name": "sub dir/a.png", "height": 12, "width": 16},
        ],
        "categories": [{"id": 9, "name": "dog"}, {"id": 4, "name": "cat"}],
    }


def run(*arguments: object) -> str:
    app = typer.Typer()
    app.callback()(lambda: None)
    cli_import.register(app)
    done = CliRunner().invoke(app, ["import", *map(str, arguments)])
    if done.exception is not None:
        raise done.exception
    return done.output


@pytest.fixture
def convert(folder):
    def run_it(content: dict, *options: object) -> tuple[str, list[dict]]:
        source, out = folder / "instances.json", folder / "tasks.json"
        source.write_text(json.dumps(content))
        told = run("--from", source, "--images", folder / "images", "--out", out, *options)
        return told, json.loads(out.read_text())

    return run_it


def test_every_image_becomes_a_task_and_every_mask_a_region_without_a_pixel_changed(convert, coco):
    told, tasks = convert(coco)
    assert "2 tasks with 6 regions (predictions) written to" in told
    assert [task["data"]["image"] for task in tasks] == [
        "/data/local-files/?d=b.png", "/data/local-files/?d=sub%20dir/a.png",
    ]  # fmt: skip
    for task, owner in zip(tasks, (1, 0), strict=True):
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == "import"
        found = results_to_regions(prediction["result"])
        wanted = [(n, mask) for n, mask in enumerate(masks(6)) if n % 2 == owner]
        assert [f.label for f in found] == [("dog", "cat")[n % 3 == 0] for n, _ in wanted]
        assert all(np.array_equal(f.mask.to_array(), mask) for f, (_, mask) in zip(found, wanted, strict=True))


@pytest.mark.parametrize("control", ["brush", "bitmask"])
def test_coco_to_tasks_to_regions_and_back_is_the_same_coco(convert, coco, control):
    coco["annotations"][3]["iscrowd"] = 1
    _, tasks = convert(coco, "--as", "annotations", "--control", control)
    back = []
    for task in tasks:
        (annotation,) = LabelStudioReader()(orjson.dumps(task)).annotations
        assert not annotation.problems
        back += [(r.key, r.label, r.mask.to_coco(), int(r.is_crowd)) for r in annotation.regions[0]]
    names = {9: "dog", 4: "cat"}
    assert sorted(back) == sorted(
        (f"coco-{a['id']}", names[a["category_id"]], a["segmentation"], a["iscrowd"]) for a in coco["annotations"]
    )


def test_a_configuration_to_create_the_project_from_is_written_beside(convert, coco, folder):
    convert(coco, "--label-config-out", folder / "config.xml")
    text = (folder / "config.xml").read_text()
    assert '<Label value="dog" background="#d55e00" category="9"' in text
    assert text.index('"dog"') < text.index('"cat"')


def test_boxes_are_imported_as_boxes_and_nothing_else(convert, coco):
    coco["annotations"] = [{"id": 1, "image_id": 1, "category_id": 4, "bbox": [1.5, 2.25, 4, 6], "segmentation": []}]
    with pytest.raises(InvalidInput, match="annotation 1 has a box and no segmentation; give --control rectangle"):
        convert(coco)
    _, tasks = convert(coco, "--control", "rectangle")
    (item,) = tasks[1]["predictions"][0]["result"]
    assert item["value"] == {
        "x": 9.375, "y": 18.75, "width": 25.0, "height": 50.0, "rotation": 0, "rectanglelabels": ["cat"],
    }  # fmt: skip


def test_images_that_are_not_there_and_annotations_without_pixels_are_told_with_their_number(convert, coco):
    coco["images"] += [{"id": 30 + n, "file_name": f"absent {n}.png", "height": 9, "width": 9} for n in range(7)]
    coco["annotations"][0]["segmentation"] = [[1.1, 1.1, 1.2, 1.1, 1.2, 1.2]]
    told, tasks = convert(coco)
    assert "7 of 9 images are not in" in told
    assert "absent 4.png and 2 more" in told
    assert "annotation 0 hold no pixel" in told
    assert len(tasks) == 9


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--out", "{0}/t.json", "--project", "1"], "either --out FILE or --project"),
        ([], "either --out FILE or --project"),
        (["--out", "{0}/no/t.json"], "cannot write .*there is no folder"),
        (["--out", "{0}"], "is a folder"),
        (["--out", "{0}/t.json", "--images", "{0}/none"], "there is no folder"),
        (["--out", "{0}/t.json", "--platform", "other"], "name the platform .*label-studio"),
        (["--project", "one"], "not the number"),
    ],
)
def test_a_wrong_option_is_told(folder, coco, arguments, expected):
    (folder / "instances.json").write_text(json.dumps(coco))
    given = [text.format(folder) for text in arguments]
    images = [] if "--images" in given else ["--images", folder / "images"]
    with pytest.raises(InvalidInput, match=expected):
        run("--from", folder / "instances.json", *images, *given)
    assert sorted(p.name for p in folder.iterdir()) == ["images", "instances.json"]


def test_images_may_lie_elsewhere(folder, coco):
    source, out = folder / "instances.json", folder / "tasks.json"
    source.write_text(json.dumps(coco))
    with pytest.raises(InvalidInput, match="--images DIR"):
        run("--from", source, "--out", out)
    run("--from", source, "--out", out, "--image-url-prefix", "https://host/set/")
    assert json.loads(out.read_text())[1]["data"]["image"] == "https://host/set/sub%20dir/a.png"
    coco["images"][0]["file_name"] = "../b.png"
    source.write_text(json.dumps(coco))
    with pytest.raises(InvalidInput, match=r"image 2: .*without '..'"):
        run("--from", source, "--out", out, "--image-url-prefix", "https://host/set/")


def test_a_file_that_turns_out_wrong_near_its_end_leaves_the_old_tasks_and_nothing_else(convert, coco, folder):
    convert(coco)
    before = (folder / "tasks.json").read_bytes()
    coco["annotations"][5]["segmentation"] = {"size": [12, 16], "counts": "~"}
    with pytest.raises(MaskwrightError, match=r"instances\.json, line 1: annotation 5: counts"):
        convert(coco)
    assert (folder / "tasks.json").read_bytes() == before
    assert sorted(p.name for p in folder.iterdir()) == ["images", "instances.json", "tasks.json"]


def test_a_disk_that_is_full_is_named_and_nothing_half_written_is_left(convert, coco, folder):
    coco["images"] = [{"id": n, "file_name": f"{n}.png", "height": 12, "width": 16} for n in range(2000)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    (folder / "instances.json").write_text(json.dumps(coco))
    try:
        # What the file system answers at a limit of file size passes the same way as a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        with pytest.raises(InvalidInput, match=r"cannot write .*File too large"):
            run("--from", folder / "instances.json", "--images", folder / "images", "--out", folder / "tasks.json")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert sorted(p.name for p in folder.iterdir()) == ["images", "instances.json"]


def test_nothing_is_sent_to_a_project_while_anything_may_be_wrong_with_the_file(folder, coco, monkeypatch):
    sent: list[bytes] = []
    ready = Importer.open

    def opened(settings, categories, *, project, **options):
        return ready(settings, categories, **options)

    monkeypatch.setattr(Importer, "open", opened)
    monkeypatch.setattr(Importer, "send", lambda _self, tasks, _sent: sent.extend(tasks))
    source = folder / "instances.json"
    source.write_text(json.dumps(coco))
    told = run("--from", source, "--images", folder / "images", "--project", "7")
    assert "sent to project 7" in told
    assert [orjson.loads(task)["data"]["image"][-5:] for task in sent] == ["b.png", "a.png"]
    sent.clear()
    coco["annotations"][5]["segmentation"] = {"size": [12, 16], "counts": "~"}
    source.write_text(json.dumps(coco))
    with pytest.raises(MaskwrightError, match="annotation 5"):
        run("--from", source, "--images", folder / "images", "--project", "7")
    assert not sent


@pytest.mark.skipif(not NUCLEI.is_dir(), reason="the shared data set of nuclei is not there")
@pytest.mark.parametrize("images", [NUCLEI, NUCLEI / "images"], ids=["above", "itself"])
def test_a_real_data_set_comes_in_whole(tmp_path, images):
    content = json.loads((NUCLEI / "instances.json").read_text())
    chosen = {image["id"] for image in content["images"][:12]}
    content["images"] = [image for image in content["images"] if image["id"] in chosen]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in chosen]
    (tmp_path / "instances.json").write_text(json.dumps(content))
    told = run("--from", tmp_path / "instances.json", "--images", images, "--out", tmp_path / "tasks.json")
    assert "not in" not in told
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    found = [r for task in tasks for r in results_to_regions(task["predictions"][0]["result"])]
    assert sorted(r.mask.to_coco()["counts"] for r in found) == sorted(
        a["segmentation"]["counts"] for a in content["annotations"]
    )
    assert os.fspath(tasks[0]["data"]["image"]).endswith(Path(content["images"][0]["file_name"]).name)
