"""Exports give the same bytes however they are run, and go on where they stopped."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from PIL import Image

from maskwright.errors import Busy, InvalidInput, MaskwrightError, NotFound
from maskwright.export import chunks, engine
from maskwright.export.companions import Companions
from maskwright.export.dataset_record import RECORD
from maskwright.export.engine import run_export
from maskwright.export.image_sources import FolderImages
from maskwright.export.journal import FOLDER, Workplace
from maskwright.export.json_array import read_array
from maskwright.images import ImageLimits
from maskwright.masks import Mask

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_TASKS", 4)


@pytest.fixture
def source(tmp_path, files):
    return files.write(tmp_path, files.tasks(30))


def test_one_process_and_several_write_the_same_bytes(source, tmp_path, files):
    one = run_export(read_array(source), files.plan(), tmp_path / "one")
    several = run_export(read_array(source), files.plan(), tmp_path / "several", workers=2, patience_s=0)
    assert files.tree(tmp_path / "one") == files.tree(tmp_path / "several")
    assert one.tally == several.tally
    assert (one.tally.tasks, one.tally.images, one.tally.regions, one.index) == (30, 30, 60, "annotations.json")
    assert not (tmp_path / "one" / FOLDER).exists()


def test_an_export_that_fails_half_way_shows_nothing_and_goes_on(source, tmp_path, files):
    whole = run_export(read_array(source), files.plan(), tmp_path / "whole")

    def breaking():
        for number, document in enumerate(read_array(source)):
            if number == 18:
                raise MaskwrightError("the network is gone")
            yield document

    out = tmp_path / "out"
    with pytest.raises(MaskwrightError, match="network"):
        run_export(breaking(), files.plan(), out)
    assert files.tree(out) == {}
    report = run_export(read_array(source), files.plan(), out)
    assert report.resumed_tasks >= 12
    assert report.tally == whole.tally
    assert files.tree(out) == files.tree(tmp_path / "whole")


def test_an_interrupted_export_is_not_taken_up_under_other_options(source, tmp_path, files):
    out = tmp_path / "out"
    with Workplace(out) as place:
        run = engine._Run(files.plan(segmentation="polygon"), place, None)
        place.begin(files.plan(segmentation="polygon").fingerprint(), resume=True)
        run.render(read_array(source), 1, 0)
    assert run_export(read_array(source), files.plan(), out).resumed_tasks == 0
    run_export(read_array(source), files.plan(), tmp_path / "fresh")
    assert files.tree(out) == files.tree(tmp_path / "fresh")


def test_tasks_that_changed_meanwhile_are_done_again(tmp_path, files):
    found = files.tasks(12)
    source, out = files.write(tmp_path, found), tmp_path / "out"
    with Workplace(out) as place:
        place.begin(files.plan().fingerprint(), resume=True)
        engine._Run(files.plan(), place, None).render(read_array(source), 1, 0)
    found[5]["annotations"][0]["result"] = [files.brush(Mask.full(files.SIZE), "dog", "new")]
    source = files.write(tmp_path, found)
    assert run_export(read_array(source), files.plan(), out).resumed_tasks == 8
    run_export(read_array(source), files.plan(), tmp_path / "fresh")
    assert files.tree(out) == files.tree(tmp_path / "fresh")


def test_a_damaged_shard_is_made_again(source, tmp_path, files):
    out = tmp_path / "out"
    with Workplace(out) as place:
        place.begin(files.plan().fingerprint(), resume=True)
        engine._Run(files.plan(), place, None).render(read_array(source), 1, 0)
    shard = sorted((out / FOLDER / "shards").iterdir())[1]
    shard.write_bytes(shard.read_bytes()[:-3])
    assert run_export(read_array(source), files.plan(), out).resumed_tasks == 26
    run_export(read_array(source), files.plan(), tmp_path / "fresh")
    assert files.tree(out) == files.tree(tmp_path / "fresh")


def test_a_move_that_was_interrupted_is_completed_by_the_next_export(source, tmp_path, monkeypatch, files):
    out = tmp_path / "out"
    before = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if target.name == "annotations.json" and target.parent == out:
            raise OSError(5, "Input/output error")
        return before(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(MaskwrightError, match="Input/output error"):
        run_export(read_array(source), files.plan(), out)
    assert "annotations.json" not in files.tree(out)
    monkeypatch.setattr(Path, "replace", before)
    run_export(read_array(source), files.plan(), out)
    run_export(read_array(source), files.plan(), tmp_path / "fresh")
    assert files.tree(out) == files.tree(tmp_path / "fresh")


@pytest.mark.timeout(120)
def test_a_killed_export_goes_on_to_the_same_bytes_and_leaves_no_process(tmp_path, files):
    source = files.write(tmp_path, files.tasks(400))
    run_export(read_array(source), files.plan(), tmp_path / "whole")
    out = tmp_path / "out"
    program = (
        "import sys, time; from pathlib import Path\n"
        f"sys.path.insert(0, {str(HERE)!r})\n"
        "def slow():\n"
        "    for document in read_array(Path(sys.argv[1])):\n"
        "        time.sleep(0.01); yield document\n"
        "if __name__ == '__main__':\n"
        "    from maskwright.export import chunks, engine; from maskwright.export.json_array import read_array\n"
        "    from conftest import plan\n"
        "    chunks.CHUNK_TASKS = 4\n"
        "    engine.run_export(slow(), plan(), Path(sys.argv[2]), workers=2, patience_s=0)\n"
    )
    script = tmp_path / "program.py"
    script.write_text(program)
    export = subprocess.Popen([sys.executable, str(script), str(source), str(out)], start_new_session=True)
    journal = out / FOLDER / "journal.jsonl"
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 5):
        assert time.monotonic() < deadline
        assert export.poll() is None
        time.sleep(0.02)
    export.kill()
    export.wait()
    assert files.tree(out) == {}
    while _alive_in_session(export.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive_in_session(export.pid)
    assert run_export(read_array(source), files.plan(), out).resumed_tasks >= 16
    assert files.tree(out) == files.tree(tmp_path / "whole")


def _alive_in_session(session: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(entry.name))
    return found


@pytest.mark.timeout(120)
def test_ctrl_c_ends_workers_and_says_nothing_of_them(tmp_path, files):
    source = files.write(tmp_path, files.tasks(600))
    program = (
        "import sys, time; from pathlib import Path\n"
        f"sys.path.insert(0, {str(HERE)!r})\n"
        "def slow():\n"
        "    for document in read_array(Path(sys.argv[1])):\n"
        "        time.sleep(0.01); yield document\n"
        "if __name__ == '__main__':\n"
        "    from maskwright.export import chunks, engine; from maskwright.export.json_array import read_array\n"
        "    from maskwright.cli_export_report import stopped_by_signals\n"
        "    from conftest import plan; import typer\n"
        "    chunks.CHUNK_TASKS = 4\n"
        "    try:\n"
        "        with stopped_by_signals():\n"
        "            engine.run_export(slow(), plan(), Path(sys.argv[2]), workers=2, patience_s=0)\n"
        "    except typer.Exit as end: sys.exit(end.exit_code)\n"
    )
    script = tmp_path / "program.py"
    script.write_text(program)
    out = tmp_path / "out"
    export = subprocess.Popen(
        [sys.executable, str(script), str(source), str(out)], start_new_session=True, stderr=subprocess.PIPE, text=True
    )  # fmt: skip
    journal = out / FOLDER / "journal.jsonl"
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 5):
        assert time.monotonic() < deadline
        assert export.poll() is None
        time.sleep(0.02)
    os.killpg(export.pid, signal.SIGINT)
    _, errors = export.communicate(timeout=30)
    assert export.returncode == 130
    assert errors.strip() == "maskwright: stopped; run the same command again to go on"
    while _alive_in_session(export.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive_in_session(export.pid)


def test_two_exports_into_one_folder_do_not_mix(tmp_path, files):
    with Workplace(tmp_path / "out"), pytest.raises(Busy, match="another export"), Workplace(tmp_path / "out"):
        pass


def test_files_that_no_export_wrote_stay_unless_told_otherwise(source, tmp_path, files):
    out = tmp_path / "out"
    out.mkdir()
    (out / "annotations.json").write_text("precious")
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InvalidInput, match=r"annotations\.json.*--overwrite"):
        run_export(read_array(source), files.plan(), out)
    assert files.tree(out) == {"annotations.json": b"precious", "notes.txt": b"mine"}
    run_export(read_array(source), files.plan(), out, overwrite=True)
    assert files.tree(out)["notes.txt"] == b"mine"
    assert files.tree(out)["annotations.json"] != b"precious"


def test_a_dataset_that_was_changed_by_hand_is_not_replaced(source, tmp_path, files):
    out = tmp_path / "out"
    run_export(read_array(source), files.plan(), out)
    run_export(read_array(source), files.plan(), out)  # unchanged: may be replaced
    (out / "annotations.json").write_text("edited")
    with pytest.raises(InvalidInput, match="changed since"):
        run_export(read_array(source), files.plan(), out)


def test_files_of_the_export_before_do_not_stay_behind(source, tmp_path, files):
    out = tmp_path / "out"
    run_export(read_array(source), files.plan("png"), out)
    few = files.write(tmp_path, files.tasks(2), "few.json")
    run_export(read_array(few), files.plan("png"), out)
    run_export(read_array(few), files.plan("png"), tmp_path / "fresh")
    assert files.tree(out) == files.tree(tmp_path / "fresh")


def test_the_record_lists_every_file_with_its_checksum(source, tmp_path, files):
    import hashlib

    out = tmp_path / "out"
    run_export(read_array(source), files.plan(), out)
    record = json.loads((out / RECORD).read_text())
    assert {row["path"] for row in record["files"]} == set(files.tree(out)) - {RECORD}
    for row in record["files"]:
        assert hashlib.sha256((out / row["path"]).read_bytes()).hexdigest() == row["sha256"]
    assert record["categories"] == files.LABELS


def test_a_class_that_the_dataset_lacks_is_refused_with_the_first_place(tmp_path, files):
    found = [files.task(n, files.brush(Mask.full(files.SIZE), "cow" if n >= 3 else "cat")) for n in range(1, 12)]
    source = files.write(tmp_path, found)
    for workers in (1, 2):
        with pytest.raises(InvalidInput, match=r"tasks\.json, line 4, column 1: task 3 has a region of class 'cow'"):
            run_export(read_array(source), files.plan(), tmp_path / "out", workers=workers, patience_s=0)


def test_progress_tells_tasks_and_bytes(source, tmp_path, files):
    told: list[tuple[int, int]] = []
    run_export(read_array(source), files.plan(), tmp_path / "out", progress=lambda *state: told.append(state))
    assert [tasks for tasks, _ in told] == [4, 8, 12, 16, 20, 24, 28, 30]
    assert told[-1][1] <= source.stat().st_size < told[-1][1] + 100


def test_different_images_of_one_name_are_told_apart(tmp_path, files):
    found = files.tasks(9)
    for number, source in ((2, "s3://one/a.png"), (5, "s3://two/a.png"), (8, "s3://one/a.png")):
        found[number]["data"]["image"] = source
    path = files.write(tmp_path, found)
    run_export(lambda: read_array(path), files.plan(), tmp_path / "out", workers=2, patience_s=0)
    names = [i["file_name"] for i in json.loads((tmp_path / "out" / "annotations.json").read_text())["images"]]
    assert (names[2], names[8]) == ("a.png", "a.png")  # the same file
    assert names[5].startswith("a-")
    assert len(names) == 9


@pytest.mark.parametrize("form", ["png", "voc", "yolo", "panoptic", "stuff"])
def test_two_tasks_that_show_one_image_do_not_write_over_each_other(tmp_path, files, form):
    found = files.tasks(9)
    found[7]["data"] = found[1]["data"]
    found[4]["data"] = {"image": found[1]["data"]["image"].replace(".png", ".jpg")}
    path = files.write(tmp_path, found)
    report = run_export(lambda: read_array(path), files.plan(form), tmp_path / "out")
    run_export(lambda: read_array(path), files.plan(form), tmp_path / "again", workers=2, patience_s=0)
    assert files.tree(tmp_path / "out") == files.tree(tmp_path / "again")
    separate = files.write(tmp_path, files.tasks(9), "separate.json")
    assert report.files == run_export(read_array(separate), files.plan(form), tmp_path / "separate").files


@dataclass(frozen=True)
class CloudImages:
    """A picture for every cloud address that comes with its task, as Label Studio resolves them."""

    content: bytes

    def __call__(self, source: str, file_name: str, task: str) -> bytes:
        if source == f"s3://bucket/{task}.png" and task != "3":
            return self.content
        raise NotFound(f"the cloud object of task {task} is missing")


def test_images_under_cloud_addresses_are_fetched_for_their_task_and_missing_ones_told_with_the_reason(tmp_path, files):
    found = files.tasks(9)
    for number, one in enumerate(found, start=1):
        one["data"]["image"] = f"s3://bucket/{number}.png"
    path = files.write(tmp_path, found)
    sink = io.BytesIO()
    Image.new("RGB", files.SIZE[::-1], (9, 9, 9)).save(sink, "PNG")
    plan = replace(files.plan("yolo", image_files=True), images=CloudImages(sink.getvalue()))
    report = run_export(read_array(path), plan, tmp_path / "out")
    assert report.tally.missing_images == 1
    assert report.tally.first_missing == "task 3, 's3://bucket/3.png': the cloud object of task 3 is missing"
    assert len([name for name in files.tree(tmp_path / "out") if name.endswith(".png")]) == 8


def test_a_contact_sheet_that_lacks_images_says_so_though_the_format_needs_none(tmp_path, files):
    path = files.write(tmp_path, files.tasks(5))
    plan = files.plan()
    beside = Companions("coco", plan.dataset, plan.selection, "tests", ImageLimits())
    run_export(read_array(path), replace(plan, images=CloudImages(b""), companions=beside), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "the contact sheet shows 5 of 5 images without their files; the first: task " in card


@pytest.mark.parametrize("form", ["coco", "png", "yolo", "voc", "panoptic", "parquet", "text"])
def test_a_task_that_comes_twice_is_refused_in_every_format(tmp_path, files, form):
    found = files.tasks(9)
    path = files.write(tmp_path, [*found, found[2]])
    with pytest.raises(InvalidInput, match=r"two images have the key 1/3/0 .*does the input hold a task twice"):
        run_export(lambda: read_array(path), files.plan(form), tmp_path / "out")
    assert files.tree(tmp_path / "out") == {}


@pytest.mark.parametrize("stop_at", range(1, 9))
def test_names_told_apart_are_the_same_wherever_the_export_was_interrupted(tmp_path, files, monkeypatch, stop_at):
    found = files.tasks(12)
    found[1]["data"] = found[2]["data"]  # one image, twice written: told apart in the strict pass
    # One image with the same regions: not told apart but for the pair above.
    found[10]["data"], found[10]["annotations"] = found[6]["data"], found[6]["annotations"]
    found[5]["data"] = {"image": "s3://one/same.png"}
    found[9]["data"] = {"image": "s3://two/same.png"}
    path = files.write(tmp_path, found)
    run_export(lambda: read_array(path), files.plan("png"), tmp_path / "whole")

    out, noted, note = tmp_path / "out", [], Workplace.note

    def failing(self, *arguments):
        note(self, *arguments)
        noted.append(arguments)
        if len(noted) == stop_at:
            raise MaskwrightError("the power is gone")

    monkeypatch.setattr(Workplace, "note", failing)
    try:
        run_export(lambda: read_array(path), files.plan("png"), out)
    except MaskwrightError:
        assert files.tree(out) == {}
    else:
        assert len(noted) < stop_at
    monkeypatch.setattr(Workplace, "note", note)
    run_export(lambda: read_array(path), files.plan("png"), out)
    assert files.tree(out) == files.tree(tmp_path / "whole")


def test_only_chunks_with_images_of_one_name_are_rendered_twice(tmp_path, files, monkeypatch):
    found = files.tasks(20)
    found[1]["data"], found[2]["data"] = {"image": "s3://one/a.png"}, {"image": "s3://two/a.png"}
    path = files.write(tmp_path, found)
    noted, note = [], Workplace.note

    def counting(self, chunk, *rest):
        noted.append(chunk)
        note(self, chunk, *rest)

    monkeypatch.setattr(Workplace, "note", counting)
    run_export(lambda: read_array(path), files.plan(), tmp_path / "out")
    assert noted == [0, 1, 2, 3, 4, 0]


def test_a_file_that_two_images_would_get_by_its_bare_name_goes_to_neither(tmp_path, files):
    found = files.tasks(9)
    for number, source in ((1, "s3://k/a/x.png"), (6, "s3://k/b/x.png"), (7, "s3://k/b/y.png"), (8, "s3://k/c/z.png")):
        found[number]["data"]["image"] = source
    path, folder = files.write(tmp_path, found), tmp_path / "images"
    (folder / "c").mkdir(parents=True)
    for name in ("x.png", "y.png", "c/z.png"):
        Image.new("RGB", files.SIZE[::-1], (9, 9, len(name))).save(folder / name)
    plan = replace(files.plan("yolo", image_files=True), images=FolderImages(folder))
    report = run_export(lambda: read_array(path), plan, tmp_path / "out")
    copied = [name for name in files.tree(tmp_path / "out") if name.endswith(".png")]
    assert sorted(name.rpartition("/")[2] for name in copied) == ["y.png", "z.png"]
    told = [report.tally.first_missing, *report.tally.problems]
    assert sum("images of several addresses are called so" in sentence for sentence in told) == 2
    [bare] = [sentence for sentence in told if "bare names" in sentence]
    assert bare.startswith("1 images were not in the folder")
    assert "'s3://k/b/y.png' as 'y.png'" in bare
    run_export(lambda: read_array(path), plan, tmp_path / "again", workers=2, patience_s=0)
    assert files.tree(tmp_path / "out") == files.tree(tmp_path / "again")
