"""``maskwright suggest-labels`` reads a project, proposes, and changes only what is approved."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from maskwright.cli import app
from maskwright.errors import InvalidInput, ModelUnavailable, NotFound
from maskwright.learn.rounds.suggestions import RATES
from maskwright.models.protocols import Detections, Tag
from maskwright.models.stages import Stages
from maskwright.store.corrections import open_store
from maskwright.store.project_notes import ProjectNotes
from maskwright_label_studio.client import LabelStudioClient
from maskwright_label_studio.config import parse_config

from .conftest import TOKEN

CONFIG = """<View><Image name="image" value="$image"/><BrushLabels name="b" toName="image"><Label value="Disc"/>
</BrushLabels></View>"""
RATE = {"count": 1, "of": 2, "share": 0.5, "low": 0.1, "high": 0.9}
CLASSES = [{"label": "Disc", "suggested": RATE, "supported": RATE, "accepted": RATE, "missed": RATE | {"share": None}}]


class Tags:
    name = version = "tags"

    def tags(self, images, *, top=10):
        return [[Tag("disc", 0.9), Tag("dog", 0.8), Tag("Dogs", 0.7), Tag("sky", 0.6)] for _ in images]


class Boxes:
    name = version = "boxes"

    def detect(self, image, phrases):
        return Detections(
            np.array([(60, 50, 160, 150)], np.float32), np.array([0.9], np.float32), np.array([phrases.index("dog")])
        )


@pytest.fixture
def command(label_studio, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MASKWRIGHT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MASKWRIGHT_LABEL_STUDIO_URL", label_studio.url)
    monkeypatch.setenv("MASKWRIGHT_LABEL_STUDIO_API_KEY", TOKEN)
    monkeypatch.setattr(Stages, "tagger", lambda self, uri: Tags())
    monkeypatch.setattr(Stages, "detector", lambda self, uri, *, recall=False: Boxes())
    label_studio.project["label_config"] = CONFIG
    label_studio.tasks = {n: {"id": n, "data": {"image": f"/data/upload/1/{n}.png"}} for n in range(1, 8)}

    def call(*arguments):
        result = CliRunner().invoke(app, ["suggest-labels", *arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.stdout

    return call


def test_classes_are_proposed_and_nothing_is_changed(command, label_studio):
    told = json.loads(command("1", "--sample", "4", "--json"))
    assert (told["images"], told["present"], told["rates"]) == (4, {"Disc": 4}, None)
    assert [one["name"] for one in told["classes"]] == ["dog", "sky"]
    assert told["classes"][0]["examples"][0]["box"] == [60.0, 50.0, 160.0, 150.0]
    said = command("1", "--sample", "4")
    assert "Disc in 4" in said
    assert "nothing was changed" in said
    assert label_studio.project["label_config"] == CONFIG
    assert not [method for method, _, _ in label_studio.requests if method != "GET"]


def test_what_is_approved_is_given_to_the_project_and_nothing_else(command, label_studio):
    with pytest.raises(InvalidInput, match="not proposed: cow; proposed are: dog, sky"):
        command("1", "--apply", "dog", "--apply", "cow")
    assert label_studio.project["label_config"] == CONFIG
    assert "project 1 now has dog" in command("1", "--apply", " dog ")
    assert '<Label value="dog"' in label_studio.project["label_config"]
    assert "sky" not in label_studio.project["label_config"]


def test_a_class_whose_name_holds_a_comma_can_be_approved(command, label_studio, monkeypatch):
    class Commas(Tags):
        def tags(self, images, *, top=10):
            return [[Tag("person, sitting", 0.9), Tag("sky", 0.8)] for _ in images]

    monkeypatch.setattr(Stages, "tagger", lambda self, uri: Commas())
    said = command("1", "--apply", "person, sitting", "--apply", "sky")
    assert "project 1 now has person, sitting, sky" in said
    assert '<Label value="person, sitting"' in label_studio.project["label_config"]


def test_a_box_that_is_no_number_costs_no_proposal(command, monkeypatch):
    class Broken(Boxes):
        def detect(self, image, phrases):
            return replace(super().detect(image, phrases), boxes=np.array([(np.nan, 50, 160, 150)], np.float32))

    monkeypatch.setattr(Stages, "detector", lambda self, uri, *, recall=False: Broken())
    told = json.loads(command("1", "--sample", "4", "--json"))
    assert [one["box"] for one in told["classes"][0]["examples"]] == [None] * len(told["classes"][0]["examples"])


def test_what_people_change_while_images_are_read_stays(command, label_studio, monkeypatch):
    class Meanwhile(Tags):
        def tags(self, images, *, top=10):
            label_studio.project["label_config"] = CONFIG.replace("</View>", '<Header value="new"/></View>')
            return super().tags(images, top=top)

    monkeypatch.setattr(Stages, "tagger", lambda self, uri: Meanwhile())
    command("1", "--apply", "dog")
    assert '<Header value="new"' in label_studio.project["label_config"]
    assert '<Label value="dog"' in label_studio.project["label_config"]


def test_a_proposal_is_written_with_pictures_and_replaces_nothing(command, tmp_path, label_studio):
    command("1", "--write", "labels.xml")
    assert '<Label value="sky"' in (tmp_path / "labels.xml").read_text()
    assert json.loads((tmp_path / "labels.json").read_text())["classes"][0]["name"] == "dog"
    pictures = sorted(path.name for path in (tmp_path / "labels-examples").iterdir())
    assert pictures[:2] == ["dog-1.jpg", "dog-2.jpg"]
    assert label_studio.project["label_config"] == CONFIG
    for file, why in (("labels.xml", "exists"), ("other.json", "XML"), ("nowhere/x.xml", "no folder")):
        with pytest.raises(InvalidInput, match=why):
            command("1", "--write", file)


def test_only_files_that_were_written_are_named(command, monkeypatch):
    monkeypatch.setattr(Tags, "tags", lambda self, images, *, top=10: [[Tag("disc", 0.9)] for _ in images])
    assert "written: labels.xml, labels.json\n" in command("1", "--write", "labels.xml")


def test_a_project_that_is_not_there_is_named(command, monkeypatch):
    def refuse(self, path, **params):
        raise NotFound(f"Label Studio has no {path}")

    monkeypatch.setattr(LabelStudioClient, "get", refuse)
    with pytest.raises(NotFound, match="Label Studio has no project 99, or the key does not see it"):
        command("99")


def test_what_became_of_earlier_suggestions_is_told_without_reading_an_image(command, tmp_path, label_studio):
    assert "no worker has counted" in command("1", "--sample", "0")
    store = open_store(tmp_path / "home")
    row = store.project("label-studio", label_studio.url, 1)
    note = {"images": 2, "looked_at": 1, "skew": 0.1, "classes": CLASSES}
    ProjectNotes(store.database).put(row.id, RATES, note)
    store.close()
    said = command("1", "--sample", "0")
    assert "suggested 50% (10% to 90% of 2)" in said
    assert json.loads(command("1", "--sample", "0", "--json"))["rates"] == note
    assert not [path for _, path, _ in label_studio.requests if path.startswith("/data")]
    with pytest.raises(InvalidInput, match="without a sample"):
        command("1", "--sample", "0", "--apply", "dog")


def test_a_project_may_not_have_other_servers_asked_for_it(command, label_studio):
    label_studio.connections = [{"id": 1, "extra_params": {"language": "openai:m@http://127.0.0.1:9/v1"}}]
    with pytest.raises(InvalidInput, match="servers that the operator has set"):
        command("1", "--sample", "1")


class Describes:
    """Says how things look; unites no words."""

    name = version = "describes"

    def answer(self, messages, schema):
        if "descriptors" not in schema["properties"]:
            raise ModelUnavailable("not asked for that")
        name = "dog" if '"dog"' in messages[0].content.partition("easily taken")[0] else "sky"
        said = {"dog": ["a dog with long ears", "a dog; brown"], "sky": ["a blue sky"]}[name]
        return {"class": name, "descriptors": [{"text": text, "kind": "part"} for text in said]}


def test_proposed_classes_are_described_in_their_hints(command, label_studio, monkeypatch):
    with pytest.raises(InvalidInput, match=r"--describe needs a language model .*none is set"):
        command("1", "--sample", "4", "--describe")
    monkeypatch.setattr(Stages, "language", lambda self, uri: Describes())
    monkeypatch.setenv("MASKWRIGHT_LANGUAGE", "openai:tiny@http://127.0.0.1:9/v1")
    told = json.loads(command("1", "--sample", "4", "--describe", "--apply", "dog", "--json"))
    assert {one["name"]: one["descriptors"] for one in told["classes"]} == {
        "dog": ["a dog with long ears", "a dog; brown"], "sky": ["a blue sky"],
    }  # fmt: skip
    labels = parse_config(label_studio.project["label_config"]).controls[0].labels
    assert [item.descriptors for item in labels] == [(), ("a dog with long ears", "a dog, brown")]
