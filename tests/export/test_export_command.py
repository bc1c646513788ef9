"""``maskwright export`` as a user runs it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from maskwright import cli_export
from maskwright.cli_export_sources import TaskSource
from maskwright.errors import InvalidInput
from maskwright.export.json_array import read_array
from maskwright.masks import Mask
from maskwright_label_studio.reader import LabelStudioReader


@pytest.fixture
def export(monkeypatch, tmp_path):
    """Runs the command with a home of its own; returns its result, or raises what it raises."""
    monkeypatch.setenv("MASKWRIGHT_HOME", str(tmp_path / "home"))
    app = typer.Typer()
    cli_export.register(app)

    def run(*arguments: object):
        return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)

    return run


def document(folder: Path) -> dict:
    return json.loads((folder / "annotations.json").read_text())


def test_a_dataset_comes_with_card_contact_sheet_and_record(export, tmp_path, files):
    source, out = files.write(tmp_path, files.tasks(5)), tmp_path / "out"
    done = export("--from", source, "--format", "coco", "--segmentation", "polygon", "--out", out)
    assert done.exit_code == 0
    assert "5 images with 10 regions of 2 classes" in done.output
    assert sorted(files.tree(out)) == ["README.md", "annotations.json", "contact-sheet.png", "dataset.json"]
    assert isinstance(document(out)["annotations"][0]["segmentation"], list)
    assert [c["name"] for c in document(out)["categories"]] == ["cat", "dog"]
    assert "annotations.json" in (out / "README.md").read_text()


def test_the_same_export_twice_is_the_same(export, tmp_path, files):
    source = files.write(tmp_path, files.tasks(5))
    export("--from", source, "--out", tmp_path / "one")
    before = files.tree(tmp_path / "one")
    export("--from", source, "--out", tmp_path / "two", "--workers", 1)
    export("--from", source, "--out", tmp_path / "one")
    assert files.tree(tmp_path / "one") == files.tree(tmp_path / "two") == before


def test_category_ids_stay_when_classes_come_and_go(export, tmp_path, files):
    box = Mask.from_box((2, 2, 9, 9), files.SIZE)
    out = tmp_path / "out"

    def ids(*labels):
        found = [files.task(n, files.brush(box, label)) for n, label in enumerate(labels, start=1)]
        export("--from", files.write(tmp_path, found), "--out", out)
        return {c["name"]: c["id"] for c in document(out)["categories"]}

    assert ids("dog", "horse") == {"dog": 1, "horse": 2}
    assert ids("ant", "horse") == {"horse": 2, "ant": 3}
    assert ids("ant", "cow", "dog") == {"dog": 1, "ant": 3, "cow": 4}


def test_the_labelling_configuration_gives_the_order_of_classes(export, tmp_path, files):
    config = tmp_path / "config.xml"
    config.write_text(
        '<View><Image name="image" value="$image"/><BrushLabels name="mask" toName="image"><Label value="dog"/>'
        '<Label value="bird"/><Label value="cat"/></BrushLabels></View>'
    )
    out = tmp_path / "out"
    export("--from", files.write(tmp_path, files.tasks(2)), "--label-config", config, "--out", out)
    assert [(c["name"], c["id"]) for c in document(out)["categories"]] == [("dog", 1), ("bird", 2), ("cat", 3)]


@pytest.mark.parametrize(
    "content",
    [
        '{"categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]}',
        '[{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]',
        '{"dog": 7, "cat": 3}',
    ],
)
def test_a_file_of_categories_is_followed(export, tmp_path, files, content):
    (tmp_path / "categories").write_text(content)
    out = tmp_path / "out"
    export("--from", files.write(tmp_path, files.tasks(2)), "--categories", tmp_path / "categories", "--out", out)
    assert [(c["name"], c["id"]) for c in document(out)["categories"]] == [("cat", 3), ("dog", 7)]


def test_names_alone_are_numbered_in_their_order(export, tmp_path, files):
    (tmp_path / "names.txt").write_text("bird\n\ndog\ncat\n")
    out = tmp_path / "out"
    export("--from", files.write(tmp_path, files.tasks(2)), "--categories", tmp_path / "names.txt", "--out", out)
    assert [(c["name"], c["id"]) for c in document(out)["categories"]] == [("bird", 1), ("dog", 2), ("cat", 3)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "0 categories"),
        ('{"dog": 0}', "ids are whole numbers from 1"),
        ('{"dog": 1, "cat": 1}', "gives the id 1 twice"),
        ("dog\ndog", "'dog' twice"),
        ("[1]", "no name of a category"),
        ("{", "line 1"),
    ],
)
def test_a_malformed_file_of_categories_is_refused(export, tmp_path, files, content, message):
    (tmp_path / "names").write_text(content)
    with pytest.raises(InvalidInput, match=message):
        export(
            "--from", files.write(tmp_path, files.tasks(1)), "--categories", tmp_path / "names", "--out", tmp_path / "o"
        )


def test_classes_are_renamed_merged_and_left_out(export, tmp_path, files):
    source = files.write(tmp_path, files.tasks(2))
    export("--from", source, "--rename", "cat=chat", "--exclude", "dog", "--out", tmp_path / "a")
    assert [c["name"] for c in document(tmp_path / "a")["categories"]] == ["chat"]
    assert len(document(tmp_path / "a")["annotations"]) == 2
    export("--from", source, "--merge", "cat,dog=pet", "--out", tmp_path / "b")
    assert [c["name"] for c in document(tmp_path / "b")["categories"]] == ["pet"]
    with pytest.raises(InvalidInput, match="no class 'cow'"):
        export("--from", source, "--exclude", "cow", "--out", tmp_path / "c")


def test_several_annotators_follow_the_consensus(export, tmp_path, files):
    one, two = (Mask.from_box((2, 2, 9 + n, 9), files.SIZE) for n in (0, 1))
    task = files.task(1, files.brush(one), person=1)
    task["annotations"].append({**files.task(1, files.brush(two), person=2)["annotations"][0], "id": 99,
                                "updated_at": "2026-02-01T00:00:00Z"})  # fmt: skip
    source = files.write(tmp_path, [task])

    def areas(consensus):
        export("--from", source, "--consensus", consensus, "--out", tmp_path / consensus.replace(":", "-"))
        return [a["area"] for a in document(tmp_path / consensus.replace(":", "-"))["annotations"]]

    assert areas("latest") == [two.area]
    assert sorted(areas("all")) == [one.area, two.area]
    assert areas("annotator:1") == [one.area]


def test_images_that_nobody_drew_on_get_their_size_from_the_file_or_are_told(export, tmp_path, files):
    source = files.write(tmp_path, [files.task(1, name="0a1b2c3d-empty.png"), *files.tasks(3)[1:]])
    done = export("--from", source, "--out", tmp_path / "a")
    assert [i["id"] for i in document(tmp_path / "a")["images"]] == [2, 3]
    assert "1 images left out" in done.output
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (30, 20)).save(tmp_path / "pictures" / "empty.png")
    export("--from", source, "--images", tmp_path / "pictures", "--out", tmp_path / "b")
    first = document(tmp_path / "b")["images"][0]
    assert (first["id"], first["height"], first["width"]) == (1, 20, 30)


def test_image_files_go_along_on_request_and_lie_where_the_file_says(export, tmp_path, files):
    (tmp_path / "pictures").mkdir()
    sink = io.BytesIO()
    Image.new("RGB", (60, 40), (9, 9, 9)).save(sink, "PNG")
    for number in (1, 2):
        (tmp_path / "pictures" / f"{number:08x}-picture.png").write_bytes(sink.getvalue())
    source = files.write(tmp_path, files.tasks(3))
    done = export("--from", source, "--images", tmp_path / "pictures", "--image-files", "--out", tmp_path / "out")
    assert "the files of 1 images could not be had; the first: task 3, " in done.output
    assert done.output.count("task 3") == 1
    assert "the folder of images has no file '00000003-picture.png'" in " ".join(done.output.split())
    assert "the folder of images has no file" in (tmp_path / "out" / "README.md").read_text()
    for image in document(tmp_path / "out")["images"][:2]:
        assert (tmp_path / "out" / "images" / image["file_name"]).read_bytes() == sink.getvalue()
    with pytest.raises(InvalidInput, match="--images DIR"):
        export("--from", source, "--image-files", "--out", tmp_path / "other")


def test_a_split_gives_a_file_per_part(export, tmp_path, files):
    source, out = files.write(tmp_path, files.tasks(40)), tmp_path / "out"
    export("--from", source, "--split", "train=0.5,val=0.5", "--split-by", "task", "--out", out)
    parts = [len(json.loads((out / f"annotations_{name}.json").read_text())["images"]) for name in ("train", "val")]
    assert sum(parts) == len(document(out)["images"]) == 40
    assert min(parts) > 5
    with pytest.raises(InvalidInput, match="by content needs the images"):
        export("--from", source, "--split", "train=0.5,val=0.5", "--out", tmp_path / "other")


@pytest.mark.parametrize("form", ["coco", "panoptic", "stuff", "yolo", "voc", "png", "parquet", "text", "label-studio"])
def test_every_format_is_written_whole_and_the_same_again(export, tmp_path, files, form):
    source = files.write(tmp_path, files.tasks(4))
    done = export("--from", source, "--format", form, "--out", tmp_path / "one")
    assert done.exit_code == 0
    record = json.loads((tmp_path / "one" / "dataset.json").read_text())
    assert (tmp_path / "one" / record["index"]).is_file()
    export("--from", source, "--format", form, "--out", tmp_path / "two")
    assert files.tree(tmp_path / "one") == files.tree(tmp_path / "two")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "o"], "one of --from"),
        (["--from", "none.json", "--out", "o"], "there is no file none.json"),
        (["--from", "none.json", "--project", "1", "--out", "o"], "one of --from"),
        (["--from", "none.json", "--format", "bmp", "--out", "o"], "no format 'bmp'; there are: coco"),
        (["--project", "1", "--out", "o"], "MASKWRIGHT_LABEL_STUDIO_URL"),
        (["--from", "none.json", "--rename", "a", "--out", "o"], "OLD=NEW"),
        (["--snapshot", "spring", "--out", "o"], "spring"),
    ],
)
def test_what_is_asked_wrongly_is_told(export, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match=message):
        export(*arguments)


def test_a_file_of_something_else_is_told_by_what_it_is(export, tmp_path):
    (tmp_path / "coco.json").write_text('{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(InvalidInput, match=r"coco\.json, line 1, column 1: expected a list of tasks"):
        export("--from", tmp_path / "coco.json", "--out", tmp_path / "out")


def test_the_command_ends_with_two_and_one_line_on_bad_input(tmp_path, files):
    (tmp_path / "tasks.json").write_text('[\n{"id": 1,\n"data": }\n]')
    program = (
        "from maskwright import cli, cli_export\n"
        "if not any(c.callback is cli_export.export for c in cli.app.registered_commands):\n"
        "    cli_export.register(cli.app)\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "export", "--from", "tasks.json", "--out", "out"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("maskwright: tasks.json, line 3, column 9: ")
    assert done.stderr.count("\n") == 1


def test_a_snapshot_is_exported_as_it_was_frozen_under_its_own_choices(export, tmp_path, files):
    from maskwright.export.label_mapping import LabelMapping
    from maskwright.export.selection import Selection
    from maskwright.store.corrections import open_store
    from maskwright.store.records import Stored, TaskState
    from maskwright.store.snapshots import SnapshotStore

    found = files.tasks(6)
    store = open_store(tmp_path / "home")
    project = store.project("label-studio", "http://somewhere", 1)

    def state(task):
        [annotation] = task["annotations"]
        kept = Stored(annotation["id"], "submitted", "1", annotation["created_at"], annotation["updated_at"],
                      json.dumps(annotation).encode())  # fmt: skip
        return TaskState(task["id"], json.dumps(task["data"]).encode(), annotations=(kept,))

    store.put_tasks(project.id, [state(task) for task in found])
    selection = Selection(mapping=LabelMapping.parse(rename=["cat=chat"]))
    parts = {task["id"]: "val" if task["id"] > 4 else "train" for task in found}
    SnapshotStore(store.database).create(
        "spring", project.id, label_set=["dog", "cat"], selection=json.loads(selection.to_json()), splits=parts
    )
    store.put_tasks(project.id, [state(files.task(7, files.brush(Mask.full(files.SIZE), "dog")))])
    store.close()
    export("--snapshot", "spring", "--out", tmp_path / "out")
    written = document(tmp_path / "out")
    assert [(c["name"], c["id"]) for c in written["categories"]] == [("dog", 1), ("chat", 2)]
    assert [i["id"] for i in written["images"]] == [1, 2, 3, 4, 5, 6]
    validation = json.loads((tmp_path / "out" / "annotations_val.json").read_text())
    assert [i["id"] for i in validation["images"]] == [5, 6]
    export("--from", files.write(tmp_path, found), "--out", tmp_path / "file")
    same = {a["id"]: a["segmentation"] for a in document(tmp_path / "file")["annotations"]}
    assert {a["id"]: a["segmentation"] for a in written["annotations"]} == same
    # A class that came later gets the next number of the project's register, in whatever folder.
    export("--snapshot", "spring", "--rename", "cat=chien", "--out", tmp_path / "other")
    assert {c["name"]: c["id"] for c in document(tmp_path / "other")["categories"]} == {"dog": 1, "chien": 3}


class TestProjectClasses:
    """Classes and ids of a project that is not read beforehand, or whose register gives the ids."""

    @pytest.fixture
    def source(self, tmp_path, files):
        def make(found, *, config=(), register=None):
            path = files.write(tmp_path, found)
            return TaskSource(
                "a project", lambda: read_array(path), LabelStudioReader(), tuple(config),
                registered=None if register is None else lambda names: {name: register[name] for name in names},
                can_repeat=False,
            )  # fmt: skip

        return make

    @pytest.fixture
    def project(self, monkeypatch, export, tmp_path):
        def run(source, *arguments):
            monkeypatch.setattr(cli_export, "_source", lambda *_: nullcontext(source))
            export("--project", 1, "--out", tmp_path / "out", *arguments)
            return {c["name"]: c["id"] for c in document(tmp_path / "out")["categories"]}

        return run

    def test_a_class_that_the_configuration_lacks_can_be_left_out(self, source, project, files):
        found = files.tasks(3)
        found.append(files.task(9, files.brush(Mask.full(files.SIZE), "ghost")))
        taken = source(found, config=["cat", "dog"])
        with pytest.raises(InvalidInput, match="--exclude"):
            project(taken)
        assert project(taken, "--exclude", "ghost") == {"cat": 1, "dog": 2}
        assert project(taken, "--rename", "ghost=spirit") == {"cat": 1, "dog": 2, "spirit": 3}

    def test_the_register_is_asked_though_the_folder_has_ids(self, source, project, files):
        cat, dog = (files.task(n, files.brush(Mask.full(files.SIZE), name)) for n, name in ((1, "cat"), (2, "dog")))
        register = {"cat": 1, "bird": 2, "dog": 3}
        assert project(source([cat], config=["cat"], register=register)) == {"cat": 1}
        assert project(source([cat, dog], config=["cat", "dog"], register=register)) == {"cat": 1, "dog": 3}

    def test_a_folder_whose_ids_contradict_the_register_is_told(self, source, project, files):
        cat, dog = (files.task(n, files.brush(Mask.full(files.SIZE), name)) for n, name in ((1, "cat"), (2, "dog")))
        project(source([cat], config=["cat"], register={"cat": 1}))
        with pytest.raises(InvalidInput, match=r"gives the id 1 to the class 'dog', but .* gave it to 'cat'"):
            project(source([cat, dog], config=["cat", "dog"], register={"cat": 2, "dog": 1}))


def test_a_class_to_leave_out_that_is_nowhere_is_told_also_where_categories_are_given(export, tmp_path, files):
    (tmp_path / "names.txt").write_text("dog\ncat\n")
    done = export(
        "--from", files.write(tmp_path, files.tasks(2)), "--categories", tmp_path / "names.txt", "--exclude", "cta",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert "no task has a class 'cta'" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tolerance", "inf"], "--tolerance is inf"),
        (["--stuff", "cat"], "--stuff goes with --format panoptic, not with coco"),
        (["--format", "panoptic", "--stuff", "sky"], "'sky', which is no class"),
    ],
)
def test_options_that_mean_nothing_are_refused(export, tmp_path, files, arguments, message):
    with pytest.raises(InvalidInput, match=message):
        export("--from", files.write(tmp_path, files.tasks(2)), "--out", tmp_path / "out", *arguments)


def test_panoptic_knows_stuff(export, tmp_path, files):
    out = tmp_path / "out"
    export("--from", files.write(tmp_path, files.tasks(2)), "--format", "panoptic", "--stuff", "dog", "--out", out)
    written = json.loads((out / "panoptic.json").read_text())
    assert {c["name"]: c["isthing"] for c in written["categories"]} == {"cat": 1, "dog": 0}
    assert json.loads((out / "dataset.json").read_text())["settings"]["stuff"] == ["dog"]
