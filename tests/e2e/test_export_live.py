"""A project of the real Label Studio is exported over its API as its JSON export is, images included."""

from __future__ import annotations

import io
import json
import secrets
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from maskwright import cli_export
from maskwright.masks import Mask
from maskwright_label_studio.brush import encode_brush

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

SIZE = (60, 90)
CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="mask" toName="image"><Label value="Dog"/>'
    '<Label value="Unused"/><Label value="Cat"/></BrushLabels></View>'
)


def picture(number: int) -> bytes:
    sink = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def export(*arguments: object) -> None:
    app = typer.Typer()
    cli_export.register(app)
    done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output


def test_a_live_project_and_its_json_export_give_the_same_dataset(
    label_studio, api, make_project, tmp_path: Path, monkeypatch
):
    pictures = {f"picture{n}.png": picture(n) for n in range(4)}
    project = make_project(pictures, CONFIG)
    for position, task in enumerate(project.tasks[:3]):
        regions = []
        for label, left in (("Cat", 5), ("Dog", 30)):
            mask = Mask.from_ellipse(left + 15, 25, 12, 10 + position, 20, SIZE)
            regions.append({
                "id": secrets.token_urlsafe(6), "type": "brushlabels", "from_name": "mask", "to_name": "image",
                "original_width": SIZE[1], "original_height": SIZE[0], "image_rotation": 0,
                "value": {"format": "rle", "rle": encode_brush(mask).tolist(), "brushlabels": [label]},
            })  # fmt: skip
        api.post(f"/api/tasks/{task['id']}/annotations/", json={"result": regions}).raise_for_status()
    monkeypatch.setenv("MASKWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MASKWRIGHT_LABEL_STUDIO_URL", label_studio.url)
    monkeypatch.setenv("MASKWRIGHT_LABEL_STUDIO_API_KEY", label_studio.token)
    export("--project", project.id, "--image-files", "--out", tmp_path / "live")
    answer = api.get(f"/api/projects/{project.id}/export", params={"exportType": "JSON"})
    (tmp_path / "tasks.json").write_bytes(answer.content)
    (tmp_path / "config.xml").write_text(CONFIG)
    export("--from", tmp_path / "tasks.json", "--label-config", tmp_path / "config.xml", "--out", tmp_path / "file")
    live, file = (
        (tmp_path / name / "annotations.json").read_bytes() for name in ("live", "file")
    )  # fmt: skip
    assert live == file
    document = json.loads(live)
    assert [c["name"] for c in document["categories"]] == ["Dog", "Unused", "Cat"]
    assert len(document["annotations"]) == 6
    for image, content in zip(document["images"], pictures.values(), strict=False):
        assert (tmp_path / "live" / "images" / image["file_name"]).read_bytes() == content
