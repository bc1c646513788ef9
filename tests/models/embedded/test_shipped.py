"""The weights that travel with the package."""

import hashlib
import json
import shutil

import pytest

from maskwright.errors import ModelUnavailable
from maskwright.models import checkpoints
from maskwright.models.checkpoints import PACKAGED_WEIGHTS
from maskwright.models.embedded import weights
from maskwright.models.registry import ModelRegistry
from maskwright.prompts import Prompt

VARIANTS = ("embedded", "embedded-no-nuclei")
MOST_BYTES = 12 * 2**20


@pytest.fixture(params=VARIANTS)
def variant(request):
    return request.param


def test_the_default_model_is_the_learnt_one_and_needs_no_download(registry):
    assert registry.describe().name == "embedded"
    assert registry.load_count == 0
    assert registry.segmenter().name == "embedded"


def test_a_variant_is_described_as_it_reports_itself(variant, registry):
    described = registry.describe(variant)
    segmenter = registry.segmenter(variant)
    assert (described.name, described.version) == (segmenter.name, segmenter.version)
    assert (described.embedding_version, described.embedding_nbytes) == (
        segmenter.embedding_version, segmenter.embedding_nbytes,
    )  # fmt: skip


def test_the_variants_are_different_models(registry):
    assert registry.describe("embedded").version != registry.describe("embedded-no-nuclei").version


def test_a_card_says_what_was_learnt_from_and_what_came_of_it(variant):
    path, card = PACKAGED_WEIGHTS / f"{variant}.safetensors", weights.card(variant)
    content = path.read_bytes()
    assert len(content) <= MOST_BYTES
    assert hashlib.sha256(content).hexdigest() == card["sha256"]
    assert {"data", "seed", "steps", "workers", "minutes", "held_out", "start"} <= card.keys()
    assert all(source["licence"] for source in card["data"])
    assert ("nuclei" in {source["name"] for source in card["data"]}) == (variant == "embedded")


def test_weights_that_are_not_those_of_the_card_do_not_load(settings, tmp_path, monkeypatch):
    folder = tmp_path / "weights"
    shutil.copytree(PACKAGED_WEIGHTS, folder)
    content = bytearray((folder / "embedded.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "embedded.safetensors").write_bytes(content)
    for module in (checkpoints, weights):
        monkeypatch.setattr(module, "PACKAGED_WEIGHTS", folder)
    with pytest.raises(ModelUnavailable, match="not those of their model card"):
        ModelRegistry(settings).segmenter("embedded")


def test_missing_weights_are_said_to_be_missing(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "PACKAGED_WEIGHTS", tmp_path)
    with pytest.raises(ModelUnavailable, match="install it again"):
        ModelRegistry(settings).describe("embedded")


def test_weights_of_ones_own_are_loaded_from_a_file(registry, tmp_path):
    own = tmp_path / "mine.safetensors"
    shutil.copy(PACKAGED_WEIGHTS / "embedded.safetensors", own)
    assert registry.segmenter(f"embedded:{own}").name == "embedded-mine"


@pytest.mark.parametrize("point", [(45.5, 60.5), (115.5, 55.5)])
def test_one_click_finds_a_clear_object(point, registry, scenery):
    segmenter = registry.segmenter()
    embedding = segmenter.encode([scenery])[0]
    x, y = point
    answer = segmenter.decode(embedding, [Prompt.from_points([(x, y, 1)])], multimask_output=True)
    best = int(answer.predicted_iou[0].argmax())
    mask = segmenter.upsample(embedding, answer.low_res_logits[0, best]).to_array()
    truth = (scenery == scenery[int(y), int(x)]).all(axis=2)
    assert (mask & truth).sum() / (mask | truth).sum() > 0.9
    assert answer.predicted_iou[0, best] > 0.6


def test_the_cards_are_plain_json():
    assert set(json.loads((PACKAGED_WEIGHTS / weights.CARD).read_text())) == set(VARIANTS)
