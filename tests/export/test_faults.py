"""When something is wrong, the error names cause and place, nothing half-written shows, and the rest is kept."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from maskwright.errors import InvalidInput, MaskwrightError
from maskwright.export import chunks
from maskwright.export.engine import run_export
from maskwright.export.json_array import read_array

NOBODY = 65534


def many_tasks(folder: Path, count: int) -> list[str]:
    """Lines of a file with a small task in each; line n + 1 of the file holds task n."""
    return [
        json.dumps({"id": n, "project": 1, "data": {"image": f"/data/upload/1/{n}.png"}, "annotations": []})
        for n in range(1, count + 1)
    ]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"project"', '"project', r"line 17342, column \d+: "),
        ('"},', '",', r"line 17343, column 1: .* in the task that begins in line 17342"),
        (': {"image"', ': ?{"image"', r"line 17342, column \d+: unexpected character"),
        ('"data": {', '"date": {', r"line 17342, column 1: .*no 'data'"),
        ("/data/upload", "/data\x01upload", r"line 17342, column \d+: .*control character"),
    ],
)
def test_the_line_of_a_large_file_that_is_wrong_is_named(tmp_path, files, old, new, told):
    lines = many_tasks(tmp_path, 20_000)
    assert old in lines[17_340]
    lines[17_340] = lines[17_340].replace(old, new, 1)
    source = tmp_path / "tasks.json"
    source.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    with pytest.raises(InvalidInput, match=r"^tasks\.json, " + told):
        run_export(read_array(source), files.plan(), tmp_path / "out", workers=2)
    assert files.tree(tmp_path / "out") == {}


def test_a_file_that_was_cut_off_is_told_as_such(tmp_path, files):
    source = tmp_path / "tasks.json"
    text = "[\n" + ",\n".join(many_tasks(tmp_path, 100)) + "\n]\n"
    source.write_text(text[: len(text) // 2])
    with pytest.raises(
        InvalidInput, match=r"tasks\.json: the file ends within the task that begins in line \d+, column 1;"
    ):
        run_export(read_array(source), files.plan(), tmp_path / "out")
    assert files.tree(tmp_path / "out") == {}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_named_and_the_export_goes_on_when_there_is_room(tmp_path, files, monkeypatch, workers):
    monkeypatch.setattr(chunks, "CHUNK_TASKS", 8)
    source = files.write(tmp_path, files.tasks(120))
    run_export(read_array(source), files.plan(), tmp_path / "whole")
    out = tmp_path / "out"
    with (
        _full_disk(16_000),
        pytest.raises(MaskwrightError, match=r"cannot write to .*out: File too large; nothing was published"),
    ):
        run_export(read_array(source), files.plan(), out, workers=workers, patience_s=0)
    assert files.tree(out) == {}
    assert run_export(read_array(source), files.plan(), out).resumed_tasks > 0
    assert files.tree(out) == files.tree(tmp_path / "whole")


@contextmanager
def _full_disk(most_bytes: int) -> Iterator[None]:
    """No file may grow beyond a size: the journal reaches it in the middle of the work. Workers inherit it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_small_file_system_that_fills_up_is_named(tmp_path, files):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        found = files.tasks(600)
        source = files.write(tmp_path, found)
        with pytest.raises(MaskwrightError, match=r"cannot write to .*: No space left on device"):
            run_export(read_array(source), files.plan(), disk / "out")
        assert files.tree(disk) == {}
        subprocess.run(["mount", "-o", "remount,size=16m", str(disk)], check=True)
        assert run_export(read_array(source), files.plan(), disk / "out").resumed_tasks > 0
        run_export(read_array(source), files.plan(), tmp_path / "whole")
        assert files.tree(disk / "out") == files.tree(tmp_path / "whole")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_folder_that_may_not_be_written_to_is_named(files):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = files.write(folder, files.tasks(2))
        folder.chmod(0o555)
        try:
            with _as_nobody(), pytest.raises(InvalidInput, match=f"cannot write to {folder}/out: Permission denied"):
                run_export(read_array(source), files.plan(), folder / "out")
        finally:
            folder.chmod(0o755)
        assert not (folder / "out").exists()


@contextmanager
def _as_nobody() -> Iterator[None]:
    """Permissions do not bind root."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def test_a_file_where_the_folder_should_be_is_named(tmp_path, files):
    (tmp_path / "out").write_text("x")
    with pytest.raises(InvalidInput, match=r"cannot write to .*out"):
        run_export(read_array(files.write(tmp_path, files.tasks(2))), files.plan(), tmp_path / "out")


def test_a_worker_that_is_killed_is_told(tmp_path, files, monkeypatch):
    import signal
    import threading

    monkeypatch.setattr(chunks, "CHUNK_TASKS", 2)
    source = files.write(tmp_path, files.tasks(40))

    def kill_workers() -> None:
        me = os.getpid()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if int(fields[1]) == me and b"spawn_main" in command:
                os.kill(int(entry.name), signal.SIGKILL)

    def documents():
        for number, document in enumerate(read_array(source)):
            if number == 20:
                thread = threading.Thread(target=kill_workers)
                thread.start()
                thread.join()
            yield document

    with pytest.raises(MaskwrightError, match="a worker process was killed"):
        run_export(documents(), files.plan(), tmp_path / "out", workers=2, patience_s=0)
    run_export(read_array(source), files.plan(), tmp_path / "out")
    run_export(read_array(source), files.plan(), tmp_path / "whole")
    assert files.tree(tmp_path / "out") == files.tree(tmp_path / "whole")
