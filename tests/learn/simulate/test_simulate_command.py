"""``maskwright simulate`` from the command line to the corrections in the store, over the real server."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from maskwright.cli import main
from maskwright.learn.rounds.corrections import corrections_of
from maskwright.masks import Mask
from maskwright.store.corrections import open_store
from maskwright.store.rounds import RoundStore
from maskwright_label_studio.reader import LabelStudioReader

PICTURES, OBJECTS = 6, 3


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Six pictures of discs on a noisy ground, some hard to see, and their COCO file."""
    folder = tmp_path_factory.mktemp("drawn")
    rng = np.random.default_rng(0)
    images, annotations = [], []
    (folder / "sub dir").mkdir()
    for number in range(1, PICTURES + 1):
        picture = rng.integers(40, 70, (96, 128, 3)).astype(np.uint8)
        for place in range(OBJECTS):
            inside = np.zeros((96, 128), np.uint8)
            centre = 22 + 42 * place + int(rng.integers(-4, 5)), int(rng.integers(24, 72))
            cv2.circle(inside, centre, int(rng.integers(8, 16)), 1, -1)
            picture[inside > 0] += rng.integers(20, 50, (int(inside.sum()), 3)).astype(np.uint8)
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": 5, "iscrowd": 0,
                 "segmentation": Mask.from_array(inside > 0).to_coco()}
            )  # fmt: skip
        name = f"sub dir/{number}.png"
        cv2.imwrite(str(folder / name), picture)
        images.append({"id": number, "file_name": name, "width": 128, "height": 96})
    document = {"images": images, "annotations": annotations, "categories": [{"id": 5, "name": "disc & more"}]}
    (folder / "truth.json").write_text(json.dumps(document))
    return folder


@pytest.fixture
def simulated(drawn, capsys, monkeypatch, tmp_path):
    """Runs the command; gives the document that it prints."""
    monkeypatch.chdir(tmp_path)
    # A person's own settings must not lead anywhere else, and nothing of theirs may be written to.
    monkeypatch.setenv("MASKWRIGHT_HOME", str(tmp_path / "own"))
    monkeypatch.setenv("MASKWRIGHT_LABEL_STUDIO_URL", "http://label-studio.invalid")
    monkeypatch.setenv("MASKWRIGHT_CPU_THREADS", "1")

    def run(*options):
        arguments = ("--coco", drawn / "truth.json", "--images", drawn, "--model", "embedded-no-nuclei", "--seed", "3")
        with pytest.raises(SystemExit) as ended:
            main(["simulate", *map(str, arguments), "--json", *map(str, options)])
        assert ended.value.code == 0
        return json.loads(capsys.readouterr().out)

    yield run
    assert not (tmp_path / "own").exists()


@pytest.mark.slow
def test_a_project_is_played_from_zero_through_the_doors_of_the_server(simulated, tmp_path):
    options = ("--rounds", 2, "--batch", 2, "--acquisition", "hybrid", "--holdout", 0.3, "--train-seconds", 1)
    work = tmp_path / "work"
    found = simulated(*options, "--work", work, "--promote", "always")
    before, first, second = found["rounds"]
    assert (found["pool_images"], found["test_images"], found["acquisition"], found["seed"]) == (4, 2, "hybrid", 3)
    assert [one["images_labelled"] for one in found["rounds"]] == [0, 2, 4]
    assert before["verdict"] == ""
    assert first["verdict"] == second["verdict"] == "not enough data"
    assert first["taken"], "always: what there was not enough data to judge is served"
    assert len({one["model_version"] for one in found["rounds"]}) == 3, "every promotion is a new version"
    assert {*first["tasks"]}.isdisjoint(second["tasks"])
    for one in found["rounds"]:
        assert 1 <= one["clicks_per_object"] <= 20
        assert 0 <= one["iou_1"] <= 1
        assert 0 <= one["iou_box"] <= 1
        assert one["test_objects"] == 2 * OBJECTS
    labour = first["annotator"]
    assert labour["objects"] == 2 * OBJECTS
    assert labour["requests"] == labour["images"] + labour["clicks"]

    store = open_store(work / "home")
    (row,) = store.projects()
    reader = LabelStudioReader(row.label_config)
    assert [one.trigger for one in RoundStore(store.database).list()] == ["asked for"] * 2, "START_TRAINING did it"
    corrections = [one for text in store.task_documents(row.id) for one in corrections_of(reader(text))[0]]
    proposed = {version for text in store.task_documents(row.id) for version in versions(reader(text))}
    store.close()
    assert [one.task for one in corrections] == ["1", "2", "3", "4"]
    assert proposed == {before["model_version"], first["model_version"]}
    for one in corrections:
        assert one.lead_time
        assert one.size == (96, 128)
        assert {item.label for item in one.objects} == {"disc & more"}
    deleted = sum(one["annotator"]["deleted"] for one in (first, second))
    assert (
        sum(len(one.outcomes) for one in corrections)
        == deleted + first["annotator"]["accepted"] + second["annotator"]["accepted"]
    ), "the store has what was proposed beside what was left"

    again = simulated(*options, "--work", work, "--promote", "always")
    assert again == found, "what was played is told again, not played again"


def versions(task):
    return [one.model_version for one in task.predictions if one.model_version == task.annotations[0].model_version]


@pytest.mark.slow
def test_equal_seeds_play_alike_and_little_data_promotes_nothing(simulated):
    options = ("--rounds", 1, "--batch", 2, "--acquisition", "random", "--holdout", 0.5, "--train-seconds", 0.5)
    plays = [simulated(*options) for _ in range(2)]
    for one in (record for play in plays for record in play["rounds"]):
        del one["seconds"], one["seconds_of"], one["annotator"]["model_seconds"]
    assert plays[0] == plays[1]
    before, after = plays[0]["rounds"]
    assert (after["verdict"], after["taken"]) == ("not enough data", False)
    assert "label more images" in after["reason"]
    assert after["model_version"] == before["model_version"]
    assert after["clicks_per_object"] == before["clicks_per_object"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--holdout", "1.5"), "fraction"),
        (("--holdout", "0.99"), "none to learn from"),
        (("--acquisition", "magic"), "hybrid"),
    ],
)
def test_what_cannot_be_played_is_refused_in_one_line(drawn, capsys, options, message):
    arguments = ["--coco", str(drawn / "truth.json"), "--images", str(drawn), "--model", "embedded-no-nuclei"]
    with pytest.raises(SystemExit) as ended:
        main(["simulate", *arguments, *options])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_an_image_that_is_missing_is_named(drawn, capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        main(["simulate", "--coco", str(drawn / "truth.json"), "--images", str(tmp_path)])
    assert ended.value.code == 2
    assert "sub dir/1.png" in capsys.readouterr().err
