"""A project of the real Label Studio is exported over its API as its JSON export is, images included."""

from __future__ import annotations

import io
import json
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from maskwright import cli_export, cli_snapshot
from maskwright.masks import Mask
from maskwright_label_studio import sync_commands
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


def regions(position: int) -> list[dict[str, Any]]:
    found = []
    for label, left in (("Cat", 5), ("Dog", 30)):
        mask = Mask.from_ellipse(left + 15, 25, 12, 10 + position, 20, SIZE)
        found.append({
            "id": secrets.token_urlsafe(6), "type": "brushlabels", "from_name": "mask", "to_name": "image",
            "original_width": SIZE[1], "original_height": SIZE[0], "image_rotation": 0,
            "value": {"format": "rle", "rle": encode_brush(mask).tolist(), "brushlabels": [label]},
        })  # fmt: skip
    return found


def run(*arguments: object) -> str:
    app = typer.Typer()
    cli_export.register(app)
    cli_snapshot.register(app)
    sync_commands.register(app)
    done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def configured(label_studio, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("MASKWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MASKWRIGHT_LABEL_STUDIO_URL", label_studio.url)
    monkeypatch.setenv("MASKWRIGHT_LABEL_STUDIO_API_KEY", label_studio.token)


@pytest.fixture
def drawn(api, make_project):
    """A project of four pictures: two annotations on the first, one on the others but the last, which has a draft."""
    project = make_project({f"picture{n}.png": picture(n) for n in range(4)}, CONFIG)
    for position, task in enumerate([*project.tasks[:3], project.tasks[0]]):
        body = {"result": regions(position)}
        api.post(f"/api/tasks/{task['id']}/annotations/", json=body).raise_for_status()
    body = {"result": regions(1)[:1], "lead_time": 1}
    api.post(f"/api/tasks/{project.tasks[3]['id']}/drafts", json=body).raise_for_status()
    return project


@pytest.mark.usefixtures("configured")
def test_a_live_project_and_its_json_export_give_the_same_dataset(api, drawn, tmp_path: Path):
    (tmp_path / "config.xml").write_text(CONFIG)
    answer = api.get(f"/api/projects/{drawn.id}/export", params={"exportType": "JSON"})
    (tmp_path / "tasks.json").write_bytes(answer.content)
    run("export", "--project", drawn.id, "--image-files", "--out", tmp_path / "live")
    run("export", "--from", tmp_path / "tasks.json", "--label-config", tmp_path / "config.xml", "--out",
        tmp_path / "file")  # fmt: skip
    live, file = ((tmp_path / name / "annotations.json").read_bytes() for name in ("live", "file"))
    assert live == file
    document = json.loads(live)
    assert [c["name"] for c in document["categories"]] == ["Dog", "Unused", "Cat"]
    assert len(document["annotations"]) == 6
    for number, image in enumerate(document["images"]):
        assert (tmp_path / "live" / "images" / image["file_name"]).read_bytes() == picture(number)


@pytest.mark.usefixtures("configured")
def test_what_is_synchronised_into_postgresql_exports_as_the_live_project_does(
    drawn, postgres_url, tmp_path: Path, monkeypatch
):
    monkeypatch.setenv("MASKWRIGHT_DATABASE_URL", postgres_url)
    assert "4 new, 0 changed, 0 deleted, 0 unchanged, 1 drafts, in 4 tasks" in run("sync", "--project", drawn.id)
    assert "0 new, 0 changed, 0 deleted, 4 unchanged" in run("sync", "--project", drawn.id)
    run("snapshot", "create", "now", "--project", drawn.id, "--drafts", "--split", "train=0.5,val=0.5")
    choice = "--include-drafts", "--split", "train=0.5,val=0.5"
    run("export", "--snapshot", "now", "--image-files", "--out", tmp_path / "frozen")
    run("export", "--project", drawn.id, "--image-files", *choice, "--out", tmp_path / "live")
    frozen, live = (
        {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
        for folder in (tmp_path / "frozen", tmp_path / "live")
    )
    assert frozen.keys() == live.keys()
    beside = {Path("README.md"), Path("dataset.json")}  # they name their source
    assert {path for path in live if frozen[path] != live[path]} <= beside
    assert len([path for path in live if path.parts[0] == "images"]) == 4
    assert not (tmp_path / "home" / "corrections.sqlite3").exists()
