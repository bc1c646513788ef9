"""What a local Label Studio and backend are started with; the real ones run in tests/e2e."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from maskwright.errors import InvalidInput
from maskwright.images import load_image
from maskwright.labels import LabelClass, LabelSet
from maskwright_label_studio.config import REMARKS, parse_config
from maskwright_label_studio.local import LocalLabelStudio, Login, find_executable
from maskwright_label_studio.local_backend import LocalBackend
from maskwright_label_studio.samples import SAMPLE_LABELS, SAMPLES, sample_images
from maskwright_label_studio.templates import render_template, template_names
from maskwright_label_studio.workbench import Workbench, _is_upload_of


@pytest.fixture
def program(tmp_path) -> Path:
    path = tmp_path / "bin" / "label-studio"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_secrets_are_random_kept_and_readable_by_the_owner_only(tmp_path):
    first = Login.load_or_create(tmp_path / "login.json")
    assert stat.S_IMODE((tmp_path / "login.json").stat().st_mode) == 0o600
    assert Login.load_or_create(tmp_path / "login.json") == first
    assert Login.load_or_create(tmp_path / "other.json").token != first.token
    assert len(first.token) == 40
    int(first.token, 16)


def test_damaged_secrets_are_one_clear_sentence(tmp_path):
    (tmp_path / "login.json").write_text("{")
    with pytest.raises(InvalidInput, match="damaged"):
        Login.load_or_create(tmp_path / "login.json")


def test_label_studio_inherits_nothing_that_it_could_mistake_and_calls_nobody(tmp_path, program, monkeypatch):
    for name in ("HOST", "PORT", "DEBUG", "USERNAME", "LOG_LEVEL", "HTTP_PROXY", "PYTHONPATH", "LABEL_STUDIO_HOST"):
        monkeypatch.setenv(name, "mistaken")
    environment = LocalLabelStudio(tmp_path / "data", executable=program)._environment(1234)
    assert "mistaken" not in environment.values()
    assert environment["LABEL_STUDIO_ML_BLOCK_LOCAL_IP"] == "false"
    assert environment["LABEL_STUDIO_SSRF_PROTECTION_ENABLED"] == "false"
    assert environment["LABEL_STUDIO_COLLECT_ANALYTICS"] == "false"
    assert environment["LABEL_STUDIO_LATEST_VERSION_CHECK"] == "false"
    assert environment["SENTRY_DSN"] == ""
    assert environment["HOME"].startswith(str(tmp_path)), "it writes a user id below its home"
    assert environment["LABEL_STUDIO_BASE_DATA_DIR"] == str(tmp_path / "data")


def test_a_prepared_folder_is_copied_once_with_its_secrets(tmp_path, program):
    prepared = LocalLabelStudio(tmp_path / "prepared", executable=program)
    (prepared.data_dir / "label_studio.sqlite3").write_text("database")
    (prepared.data_dir / "server.json").write_text("{}")
    copy = LocalLabelStudio(tmp_path / "copy", executable=program, prepared=prepared.data_dir)
    assert copy.token == prepared.token
    assert (copy.data_dir / "label_studio.sqlite3").exists()
    assert not (copy.data_dir / "server.json").exists(), "what runs belongs to the original"


def test_a_missing_program_is_named(tmp_path):
    with pytest.raises(InvalidInput, match="no Label Studio program"):
        find_executable(tmp_path / "nowhere")


def test_without_label_studio_the_way_to_get_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("maskwright_label_studio.local.find_executable", lambda given: None)
    with pytest.raises(InvalidInput, match="make install"):
        LocalLabelStudio(tmp_path / "data")


@pytest.mark.parametrize("name", template_names())
def test_every_template_answers_clicks_and_boxes_with_every_label(name):
    labels = LabelSet((LabelClass("Katze 🐈 & <Hund>", ("cat", "tabby")), LabelClass('"quoted"')))
    config = parse_config(render_template(name, labels))
    config.require_outputs()
    assert config.labels_on("image").names == labels.names
    assert config.labels_on("image").classes[0].aliases == ("cat", "tabby")
    for label in labels.names:
        output = config.output_for("image", label)
        assert not output.control.smart, "the mask's own tool must not send prompts"
    smart = {control.shape for control in config.controls if control.smart}
    assert smart == {"keypoint", "rectangle", "textarea"}
    assert 'model_index="1"' in render_template(name, labels), "else Label Studio's COCO export fails"


@pytest.mark.parametrize("name", template_names())
def test_why_classes_were_suggested_has_a_place_only_where_it_is_told(name):
    told = parse_config(render_template(name, SAMPLE_LABELS, remarks=True)).control(REMARKS)
    assert told is not None
    assert (told.shape, told.smart) == ("textarea", False), "what is read there is no question"
    assert parse_config(render_template(name, SAMPLE_LABELS)).control(REMARKS) is None


def test_the_three_kinds_of_masks_have_a_template():
    assert set(template_names()) == {"smart-brush", "smart-polygon", "smart-bitmask"}
    with pytest.raises(InvalidInput, match="smart-brush"):
        render_template("no-such", SAMPLE_LABELS)


def test_sample_pictures_are_there_with_their_licence_and_prompts_that_fit():
    found = {path.name: path for path in sample_images()}
    assert set(found) == set(SAMPLES)
    for name, sample in SAMPLES.items():
        height, width = load_image(found[name]).size
        x1, y1, x2, y2 = sample.box
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        assert x1 < sample.click[0] < x2
        assert y1 < sample.click[1] < y2
        assert sample.label in SAMPLE_LABELS
        assert sample.licence


@pytest.mark.parametrize(
    ("stored", "name", "same"),
    [
        ("/data/upload/1/0672a312-rocket.jpg", "rocket.jpg", True),
        ("/data/upload/1/0672a312-my_pic_1.png", "my pic (1).png", True),
        ("/data/upload/1/0672a312-rocket.jpg", "ocket.jpg", False),
        ("/data/upload/1/0672a312-a-rocket.jpg", "rocket.jpg", False),
        ("https://example.org/rocket.jpg", "rocket.jpg", False),
    ],
)
def test_uploads_are_recognised_by_name(stored, name, same):
    assert _is_upload_of(stored, Path(name)) is same


def test_nobody_waits_for_predictions_of_tasks_that_people_are_done_with(tmp_path, program):
    bench = Workbench(tmp_path / "home", executable=program)
    bench.client = SimpleNamespace(
        project=lambda number: {"model_version": "learnt"},
        tasks=lambda project: [{"id": 1, "is_labeled": True}, {"id": 2, "is_labeled": False}],
        predictions=lambda project: [{"task": 1, "model_version": "before"}, {"task": 2, "model_version": "learnt"}],
    )
    assert bench.preannotate(1) == 2


@pytest.mark.slow
def test_a_local_backend_is_guarded_found_again_and_ended(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("MASKWRIGHT_")]:
        monkeypatch.delenv(name)
    settings = {"MASKWRIGHT_HOME": str(tmp_path / "home"), "MASKWRIGHT_MODEL": "classical"}
    with LocalBackend(tmp_path / "data", settings=settings, port=0) as backend:
        assert httpx.get(f"{backend.url}/health").status_code == 401
        assert httpx.get(f"{backend.url}/health", auth=(backend.username, backend.password)).status_code == 200
        with LocalBackend(tmp_path / "data", settings=settings, port=0) as again:
            assert again.url == backend.url
            assert again.password == backend.password
        assert backend.is_running
        assert stat.S_IMODE((tmp_path / "data" / "backend-login.json").stat().st_mode) == 0o600
        assert json.loads((tmp_path / "data" / "backend.json").read_text())["port"]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{backend.url}/health")
