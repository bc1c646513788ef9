"""The weights that travel with the package."""

import dataclasses
import hashlib
import json
import shutil

import numpy as np
import pytest

from maskwright.errors import ModelUnavailable
from maskwright.models import checkpoints, families
from maskwright.models.checkpoints import PACKAGED_WEIGHTS
from maskwright.models.embedded import weights
from maskwright.models.embedded.inputs import WORKING_SIDE
from maskwright.models.embedded.network import WIDTHS
from maskwright.models.families import FAMILIES
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


def test_the_variants_are_different_models_in_one_process(registry):
    one, other = registry.segmenter("embedded"), registry.segmenter("embedded-no-nuclei")
    assert one is not other
    assert registry.load_count == 2
    assert registry.describe("embedded-no-nuclei").version == other.version != one.version


@pytest.mark.parametrize(("constant", "changed"), [("encode_revision", {1, 2}), ("decode_revision", {1})])
def test_versions_follow_the_code_that_makes_the_answers(constant, changed, settings):
    row = FAMILIES["embedded"]
    other = dataclasses.replace(row, **{constant: f"{getattr(row, constant)}+"})
    before = ModelRegistry(settings).describe("embedded")
    after = ModelRegistry(settings, families={**FAMILIES, "embedded": other}).describe("embedded")
    assert (before.version != after.version) == (1 in changed)
    assert (before.embedding_version != after.embedding_version) == (2 in changed)


def test_the_tables_figures_are_those_of_the_network():
    assert (families._EMBEDDED_SIDE, dict(families._EMBEDDED_WIDTHS)) == (WORKING_SIDE, WIDTHS)


@pytest.mark.parametrize("kind", ["noise", "dots"])
def test_no_picture_takes_more_than_is_budgeted_for(kind, registry):
    image = np.random.default_rng(0).integers(0, 255, (512, 512, 3)).astype(np.uint8)
    if kind == "dots":
        image = np.full((512, 512, 3), 30, dtype=np.uint8)
        image[::5, ::5] = 220
    # Dots keep the classical engine busy for long, and the embedded one builds on it: once is enough.
    for name in ("embedded",) if kind == "dots" else ("embedded", "classical"):
        segmenter = registry.segmenter(name)
        assert segmenter.encode([image])[0].nbytes <= segmenter.embedding_nbytes


def test_a_card_says_what_was_learnt_from_and_what_came_of_it(variant):
    path, card = PACKAGED_WEIGHTS / f"{variant}.safetensors", weights.card(variant)
    content = path.read_bytes()
    assert len(content) <= MOST_BYTES
    assert hashlib.sha256(content).hexdigest() == card["sha256"]
    assert {"data", "recipe", "steps", "minutes", "start", "code"} <= card.keys()
    assert {"nuclei", "bsds", "camvid"} <= card["held_out"].keys()
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
