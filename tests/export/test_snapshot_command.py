"""``maskwright snapshot``: create, list, show and diff, as a person or a script calls them."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from maskwright import cli_snapshot
from maskwright.errors import InvalidInput, MaskwrightError, NotFound
from maskwright.export.image_memory import ImageMemory
from maskwright.images import ImageLimits
from maskwright.store.corrections import CorrectionsStore, Stored, open_store

SERVER = "http://127.0.0.1:8080"
CONFIG = """<View><Image name="image" value="$image"/><PolygonLabels name="shape" toName="image">
<Label value="car"/><Label value="bus"/><Label value="sky"/></PolygonLabels></View>"""


def document(number: int, label: str, x: float = 10, person: int = 1) -> bytes:
    value = {"points": [[x, 10], [x + 20, 10], [x + 20, 40]], "polygonlabels": [label], "closed": True}
    result = {
        "id": f"r{number}", "type": "polygonlabels", "from_name": "shape", "to_name": "image",
        "original_width": 80, "original_height": 60, "image_rotation": 0, "value": value,
    }  # fmt: skip
    return json.dumps({"id": number, "completed_by": person, "was_cancelled": False, "result": [result]}).encode()


def put(store: CorrectionsStore, project: int, task: int, number: int, label: str, at: str, **more: Any) -> None:
    stored = Stored(number, "submitted", str(more.pop("person", 1)), at, at, document(number, label, **more))
    assert store.put_annotation(project, task, stored)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MASKWRIGHT_HOME", str(tmp_path))
    monkeypatch.delenv("MASKWRIGHT_DATABASE_URL", raising=False)
    opened = open_store(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def project(store):
    row = store.project("label-studio", SERVER, 7, title="Streets", label_config=CONFIG)
    for task in range(1, 9):
        data = {"image": f"/data/upload/7/{(task + 1) // 2}.png", "town": "Ulm" if task < 5 else "Bonn"}
        store.put_task(row.id, task, json.dumps(data).encode(), "2026-01-01T00:00:00Z")
        put(store, row.id, task, 100 + task, "car" if task % 2 else "bus", f"2026-01-0{task}T00:00:00Z")
    return row.id


@pytest.fixture
def call(project):
    app = typer.Typer()
    cli_snapshot.register(app)

    @app.callback()
    def root() -> None: ...

    def run(*arguments: str, fails: type[MaskwrightError] | None = None) -> str:
        found = CliRunner().invoke(app, ["snapshot", *arguments])
        if fails is not None:
            assert isinstance(found.exception, fails), found.output
            return str(found.exception)
        assert found.exception is None, found.exception
        assert found.exit_code == 0
        return found.stdout

    return run


def made(call, name: str, *options: str) -> dict[str, Any]:
    return json.loads(call("create", name, "--project", "7", "--json", *options))


def test_a_snapshot_tells_what_it_holds_and_is_found_again(call):
    first = made(call, "spring", "--rename", "car=Auto", "--exclude", "sky", "--consensus", "majority")
    assert (first["name"], first["project"], first["tasks"], first["corrections"]) == ("spring", 7, 8, 8)
    assert first["label_set"] == ["Auto", "bus"]
    assert first["project_label_set"] == ["car", "bus", "sky"]
    assert first["selection"]["consensus"] == "majority"
    assert len(first["digest"]) == 64
    assert json.loads(call("show", "spring", "--json")) == first
    assert [one["name"] for one in json.loads(call("list", "--json"))] == ["spring"]
    assert json.loads(call("list", "--json", "--project", "8")) == []
    for text in (call("show", "spring"), call("list")):
        assert "spring" in text
        assert first["digest"][:12] in text


def test_the_same_corrections_have_the_same_digest_and_others_another(call, store, project):
    one = made(call, "a")
    assert made(call, "a")["digest"] == one["digest"], "making it again changes nothing"
    assert made(call, "b")["digest"] == one["digest"]
    assert made(call, "c", "--exclude", "sky")["digest"] != one["digest"]
    put(store, project, 1, 101, "bus", "2026-02-01T00:00:00Z")
    assert made(call, "d")["digest"] != one["digest"]
    assert "another name" in call("create", "a", "--project", "7", fails=InvalidInput)


def test_diff_tells_tasks_annotations_classes_and_choices(call, store, project):
    made(call, "old")
    put(store, project, 1, 101, "bus", "2026-02-01T00:00:00Z")
    put(store, project, 2, 200, "bike", "2026-02-01T00:00:00Z", person=2)
    made(call, "new", "--consensus", "all")
    found = json.loads(call("diff", "old", "new", "--json"))
    assert found["changed"] == [1, 2]
    assert found["corrections_changed"] == [[1, 101, False]]
    assert found["corrections_added"] == [[2, 200, False]]
    assert found["labels_added"] == ["bike"], "classes in use count, though the configuration lacks them"
    assert found["selection_changed"] is True
    text = call("diff", "old", "new")
    assert "2 tasks changed: 1, 2" in text
    assert "annotations: 1 new, 0 gone, 1 changed" in text
    assert "they hold the same" in call("diff", "old", "old")


def test_tasks_with_one_value_of_a_field_stay_in_one_part(call, store):
    shown = made(call, "towns", "--split", "train=0.5,val=0.5,seed=3", "--split-by", "field:town")
    assert sum(shown["splits"].values()) == 8
    assert set(shown["splits"].values()) <= {4, 8}
    assert shown["selection"]["split"]["by"] == "field:town"


def png(seed: int) -> bytes:
    """Checks in eight by eight fields: pictures that differ by much."""
    fields = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(np.repeat(np.repeat(fields, 8, axis=0), 8, axis=1)).save(sink, "PNG")
    return sink.getvalue()


def test_near_duplicates_stay_in_one_part_and_images_are_fetched_once(call, store, project, monkeypatch):
    from maskwright_label_studio.platform import LabelStudioPlatform

    asked: list[str] = []

    def fetch(source: str, file_name: str, task: str) -> bytes:
        asked.append(source)
        if source.endswith("/4.png"):
            raise NotFound("it is not there")
        return png(int(source[-5]))

    monkeypatch.setattr(LabelStudioPlatform, "image_fetcher", lambda *_: fetch)
    made(call, "looks", "--split", "train=0.5,val=0.5")
    snapshot_parts = parts_of(store, "looks")
    for first in (1, 3, 5):
        assert snapshot_parts[first] == snapshot_parts[first + 1], "both tasks show the same image"
    assert asked.count("/data/upload/7/1.png") == 1
    made(call, "again", "--split", "train=0.5,val=0.5,seed=1")
    assert asked.count("/data/upload/7/1.png") == 1, "remembered in the store"
    assert asked.count("/data/upload/7/4.png") > 1, "what was missing is asked for again"


def parts_of(store: CorrectionsStore, name: str) -> dict[int, str]:
    from maskwright.store.snapshots import SnapshotStore

    return dict(SnapshotStore(store.database).splits(name))


def test_an_export_of_a_snapshot_is_what_was_chosen_whatever_happened_since(call, store, project, tmp_path):
    from maskwright import cli_export

    made(call, "spring", "--rename", "car=Auto", "--split", "train=0.5,val=0.5", "--split-by", "field:town")
    put(store, project, 1, 101, "sky", "2026-02-01T00:00:00Z")
    app = typer.Typer()
    cli_export.register(app)
    app.callback()(lambda: None)
    found = CliRunner().invoke(app, ["export", "--snapshot", "spring", "--out", str(tmp_path / "out")])
    assert found.exception is None, found.exception
    coco = json.loads((tmp_path / "out" / "annotations.json").read_bytes())
    assert [row["name"] for row in coco["categories"]] == ["Auto", "bus", "sky"]
    assert len(coco["images"]) == len(coco["annotations"]) == 8
    assert {row["category_id"] for row in coco["annotations"]} == {1, 2}
    parts = parts_of(store, "spring")
    card = (tmp_path / "out" / "README.md").read_text()
    for part in set(parts.values()):
        assert f"| {part} | {list(parts.values()).count(part)} |" in card
    assert "snapshot spring" in card
    assert "Classes changed: car → Auto." in card


def test_what_cannot_be_is_refused_with_the_way_out(call, store):
    assert "maskwright sync --project 9" in call("create", "x", "--project", "9", fails=NotFound)
    assert "no class 'lorry'" in call("create", "x", "--project", "7", "--exclude", "lorry", fails=InvalidInput)
    assert "no snapshot 'none'" in call("show", "none", fails=NotFound)
    assert "either" in call(
        "create", "x", "--project", "7", "--annotator", "1", "--consensus", "all", fails=InvalidInput
    )
    assert "field:NAME" in call(
        "create", "x", "--project", "7", "--split", "train=1", "--split-by", "hue", fails=InvalidInput
    )
    store.project("label-studio", "http://other", 7)
    assert "--server" in call("create", "x", "--project", "7", fails=InvalidInput)
    assert json.loads(call("create", "x", "--project", "7", "--server", SERVER + "/", "--json"))["server"] == SERVER


def test_broken_images_are_nobodys_near_duplicates(store, project):
    with ImageMemory(store, project, lambda *_: b"no image", ImageLimits()) as memory, pytest.raises(InvalidInput):
        memory("x.png", "1")
    assert store.image(project, "x.png") is None
