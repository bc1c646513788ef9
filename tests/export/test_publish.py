"""An export touches nothing outside its folder, whatever an earlier record in it says."""

from __future__ import annotations

import hashlib
import json

import pytest

from maskwright.errors import InvalidInput
from maskwright.export.dataset_record import RECORD, read_record
from maskwright.export.engine import run_export
from maskwright.export.journal import FOLDER
from maskwright.export.json_array import read_array


@pytest.fixture
def exported(tmp_path, files):
    source, out = files.write(tmp_path, files.tasks(2)), tmp_path / "out"
    run_export(read_array(source), files.plan(), out)
    return source, out


def _row(content: bytes, path: str) -> dict:
    return {"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _change(out, **values):
    record = json.loads((out / RECORD).read_text())
    record.update(values)
    (out / RECORD).write_text(json.dumps(record))


@pytest.mark.parametrize("way", ["../victim.txt", "absolute", "link/victim.txt"])
def test_files_outside_the_folder_stay_though_a_record_lists_them(exported, tmp_path, files, way):
    source, out = exported
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (out / "link").symlink_to(elsewhere)
    victim = elsewhere / "victim.txt" if way.startswith("link") else tmp_path / "victim.txt"
    victim.write_bytes(b"mine")
    record = json.loads((out / RECORD).read_text())
    path = str(victim) if way == "absolute" else way
    _change(out, files=[*record["files"], _row(b"mine", path)])
    assert read_record(out) == {}
    with pytest.raises(InvalidInput, match="--overwrite"):
        run_export(read_array(source), files.plan(), out)
    run_export(read_array(source), files.plan(), out, overwrite=True)
    assert victim.read_bytes() == b"mine"


@pytest.mark.parametrize(
    "values",
    [
        {"files": None}, {"files": [5]}, {"files": [{"path": "a"}]}, {"files": [{"path": "a", "size": "1"}]},
        {"category_ids": {"cat": 1, "dog": 1}}, {"category_ids": {"cat": 0}}, {"category_ids": [1]},
    ],
)  # fmt: skip
def test_a_malformed_record_is_not_believed(exported, files, values):
    source, out = exported
    _change(out, **values)
    assert read_record(out) == {}
    with pytest.raises(InvalidInput, match="not written by an export"):
        run_export(read_array(source), files.plan(), out)


def test_a_record_without_files_is_not_believed(exported):
    _, out = exported
    record = json.loads((out / RECORD).read_text())
    del record["files"]
    (out / RECORD).write_text(json.dumps(record))
    assert read_record(out) == {}


def test_an_interrupted_move_that_leads_out_of_the_folder_is_not_completed(tmp_path, files):
    source, out = files.write(tmp_path, files.tasks(2)), tmp_path / "out"
    (out / FOLDER / "dataset").mkdir(parents=True)
    (out / FOLDER / "victim.txt").write_bytes(b"theirs")
    (tmp_path / "victim.txt").write_bytes(b"mine")
    plan = {"written_by": "maskwright export", "index": "x", "files": [_row(b"theirs", "../victim.txt")]}
    (out / FOLDER / "publishing.json").write_text(json.dumps(plan))
    run_export(read_array(source), files.plan(), out)
    assert (tmp_path / "victim.txt").read_bytes() == b"mine"
    assert not (out / "victim.txt").exists()


def test_another_format_leaves_no_empty_folders_but_those_that_were_there(tmp_path, files):
    source, out = files.write(tmp_path, files.tasks(2)), tmp_path / "out"
    (out / "empty" / "of-mine").mkdir(parents=True)
    run_export(read_array(source), files.plan("yolo"), out)
    run_export(read_array(source), files.plan("coco"), out)
    assert {path.name for path in out.rglob("*") if path.is_dir()} == {"empty", "of-mine"}
