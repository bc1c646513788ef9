"""The platform object that server and commands work with."""

from __future__ import annotations

from importlib.metadata import entry_points

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from maskwright.assist.preannotate import Preannotation
from maskwright.errors import InvalidInput
from maskwright.labels import LabelSet
from maskwright.masks import Mask
from maskwright.regions import Provenance, Region
from maskwright.settings import Settings
from maskwright_label_studio.config import parse_config
from maskwright_label_studio.platform import PLATFORM
from maskwright_label_studio.results import results_to_regions


def test_it_is_registered_under_its_name():
    (point,) = entry_points(group="maskwright.platforms", name="label-studio")
    assert point.load() is PLATFORM
    assert PLATFORM.name == "label-studio"


def test_predictions_are_written_as_tasks_that_our_template_can_show(ring_and_blob):
    from importlib.resources import files

    labels = LabelSet.of(["object", "кот"])
    found = Preannotation((Region(ring_and_blob, "кот", 0.9, Provenance("preannotation", "v1")),), 0.4, "v1")
    document = PLATFORM.predictions_document(
        [("a/b.png", (240, 320), found), ("c.png", (5, 5), Preannotation((), 0.0, "v1"))], labels
    )
    (first, second) = orjson.loads(orjson.dumps(document))
    assert first["data"] == {"image": "a/b.png"}
    (prediction,) = first["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("v1", 0.4)
    (region,) = results_to_regions(prediction["result"])
    assert (region.mask, region.label) == (ring_and_blob, "кот")
    assert second["predictions"][0]["result"] == []
    config = parse_config((files("maskwright_label_studio.templates") / "smart-brush.xml").read_text())
    output = config.output_for("image", "object")
    item = prediction["result"][0]
    assert (item["from_name"], item["to_name"], item["type"]) == (
        output.control.name,
        output.image_name,
        output.control.type,
    )


def test_every_template_is_a_configuration_that_answers_clicks_boxes_and_phrases():
    from importlib.resources import files

    templates = [entry for entry in files("maskwright_label_studio.templates").iterdir() if entry.name.endswith(".xml")]
    assert templates
    for template in templates:
        config = parse_config(template.read_text())
        config.require_outputs()
        prompts = {control.shape for control in config.controls if control.smart}
        assert prompts == {"keypoint", "rectangle", "textarea"}, template.name


def test_images_of_a_project_need_its_number_and_a_configured_server():
    settings = Settings(_env_file=None)
    with pytest.raises(InvalidInput, match="number"):
        list(PLATFORM.project_images(settings, "../1"))
    with pytest.raises(InvalidInput, match="MASKWRIGHT_LABEL_STUDIO_URL"):
        list(PLATFORM.project_images(settings, "1"))


def test_connect_without_a_configured_server_says_what_to_set(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MASKWRIGHT_LABEL_STUDIO_URL", raising=False)
    result = CliRunner().invoke(PLATFORM.commands(), ["connect", "1"])
    assert isinstance(result.exception, InvalidInput)
    assert "MASKWRIGHT_LABEL_STUDIO_API_KEY" in str(result.exception)


def test_a_mask_of_one_pixel_survives_the_document():
    mask = Mask.from_array(np.eye(1, dtype=bool))
    found = Preannotation((Region(mask, "a", 1.0, Provenance("preannotation")),), 1.0, "v")
    (task,) = PLATFORM.predictions_document([("x", (1, 1), found)], LabelSet.of(["a"]))
    (region,) = results_to_regions(task["predictions"][0]["result"])
    assert region.mask == mask
