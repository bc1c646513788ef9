"""RAM++ by a stand-in of the package ``ram`` (see ``ram_stand_in``): the real one is not on PyPI and was not tried."""

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from maskwright.errors import InvalidInput, ModelUnavailable


@pytest.fixture(scope="session")
def ram_stand_in():
    spec = importlib.util.spec_from_file_location("ram_stand_in", Path(__file__).with_name("ram_stand_in.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def installed(ram_stand_in, monkeypatch):
    """A function that puts the stand-in where the package would be."""

    def install(**arguments):
        for name, module in ram_stand_in.package(**arguments).items():
            monkeypatch.setitem(sys.modules, name, module)

    return install


@pytest.fixture
def checkpoint(ram_stand_in, tmp_path):
    """A function of (content, name): the URI of a file that holds it; by default as the release does."""
    import torch

    def save(content=None, name="ram_plus_swin_large_14m.pth"):
        path = tmp_path / name
        torch.save({"model": ram_stand_in.weights()} if content is None else content, path)
        return f"ram:{path}"

    return save


def plain(height, width, *colour):
    return np.broadcast_to(np.array(colour, dtype=np.uint8), (height, width, 3)).copy()


def test_tags_are_those_of_the_package_with_their_probabilities(installed, checkpoint, stages):
    installed()
    uri = checkpoint()
    made = stages.tagger(uri)
    red, dark = made.tags([plain(20, 30, 255, 0, 0), plain(20, 30, 0, 0, 0)])
    assert [tag.word for tag in red] == ["red"]
    assert red[0].confidence == pytest.approx(1 / (1 + np.exp(-(1 - 0.485) / 0.229)), abs=1e-4)
    assert dark == []  # "grey thing" reaches .88, below the threshold of its own
    assert made.version == stages.describe("tagger", uri).version


def test_large_images_are_tagged_in_tiles_and_the_tags_united(installed, checkpoint, stages):
    installed()
    image = plain(700, 1280, 0, 0, 0)
    image[:350, :640] = 255, 0, 0
    image[350:, 640:] = 0, 0, 255
    assert {tag.word for tag in stages.tagger(checkpoint()).tags([image])[0]} == {"red", "blue"}


def test_without_the_package_the_message_says_where_it_comes_from_and_what_to_take_instead(checkpoint, stages):
    with pytest.raises(ModelUnavailable, match=r"'ram' is not installed; .*recognize-anything, not from PyPI.*clip:"):
        stages.tagger(checkpoint())


def test_a_package_that_wants_another_transformers_is_told_from_none(checkpoint, stages, tmp_path, monkeypatch):
    (tmp_path / "ram").mkdir()
    (tmp_path / "ram" / "__init__.py").touch()
    (tmp_path / "ram" / "models.py").write_text("from transformers.modeling_utils import apply_chunking_to_forward")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "ram", raising=False)
    with pytest.raises(ModelUnavailable, match="cannot be imported beside this version of transformers"):
        stages.tagger(checkpoint())
    monkeypatch.delitem(sys.modules, "ram", raising=False)


def test_a_package_of_another_interface_is_refused(installed, checkpoint, stages, ram_stand_in):
    import torch

    installed(make=lambda: torch.nn.Linear(1, 1))
    with pytest.raises(ModelUnavailable, match="another interface"):
        stages.tagger(checkpoint())


def test_a_tokenizer_that_is_not_here_is_named(installed, checkpoint, stages):
    def make():
        raise OSError("no connection")

    installed(make=make)
    with pytest.raises(ModelUnavailable, match="bert-base-uncased, which is not on this machine"):
        stages.tagger(checkpoint())


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(installed, checkpoint, stages, tmp_path):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "attacked"),)

    installed()
    with pytest.raises(ModelUnavailable, match="no checkpoint of tensors alone"):
        stages.tagger(checkpoint({"model": Attack()}))
    assert not (tmp_path / "attacked").exists()


def test_incomplete_weights_are_refused_by_name(installed, checkpoint, stages, ram_stand_in):
    installed()
    state = ram_stand_in.weights()
    del state["fc.weight"]
    with pytest.raises(ModelUnavailable, match=r"incomplete for RAM\+\+ with Swin-L; missing: fc.weight"):
        stages.tagger(checkpoint({"model": state}))


def test_weights_of_another_shape_or_none_are_refused(installed, checkpoint, stages, ram_stand_in):
    import torch

    installed()
    with pytest.raises(ModelUnavailable, match="other shapes"):
        stages.tagger(checkpoint({"model": {**ram_stand_in.weights(), "fc.weight": torch.zeros(2, 2)}}))
    with pytest.raises(ModelUnavailable, match="holds no weights"):
        stages.tagger(checkpoint({"model": {"epoch": 3}}, "empty.pth"))


def test_old_names_and_computed_buffers_of_a_checkpoint_do_no_harm(installed, checkpoint, stages, ram_stand_in):
    import torch

    installed()
    state = {k.replace("tagging_head", "vision_multi"): v for k, v in ram_stand_in.weights().items()}
    state["relative_position_index"] = torch.zeros(7)
    assert stages.tagger(checkpoint({"model": state})).tags([plain(9, 9, 255, 0, 0)])[0][0].word == "red"


def test_an_empty_image_is_refused(installed, checkpoint, stages):
    installed()
    with pytest.raises(InvalidInput):
        stages.tagger(checkpoint()).tags([np.zeros((0, 3, 3), dtype=np.uint8)])
