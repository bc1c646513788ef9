"""Models that read pictures, one for each form of processor, on a machine without torchvision too."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from maskwright.errors import ModelUnavailable
from maskwright.models.language.asking import with_schema_told
from maskwright.models.language.prompt_sets import PromptSet
from maskwright.models.language.schema import find_fault
from maskwright.models.protocols import Message
from maskwright.models.stages import Stages
from maskwright.settings import Settings

from .. import tiny_readers

SAVE = {
    "qwen3-vl": tiny_readers.save_tiny_qwen3_vl,
    "internvl": tiny_readers.save_tiny_internvl,
    "smolvlm": tiny_readers.save_tiny_smolvlm,
    "paligemma": tiny_readers.save_tiny_paligemma,
}
CAUSAL = ["qwen3-vl", "internvl", "smolvlm"]
"""Those that read a question from left to right, so that what is written later changes nothing before."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: save(tmp_path_factory.mktemp("readers") / f"tiny-{name}") for name, save in SAVE.items()}


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    return Stages(Settings(home=home, device="cpu", cpu_threads=1, offline=True, stage_models=8, _env_file=None))


@pytest.fixture
def numbers_in_words(monkeypatch):
    """SmolVLM's processor wants the package num2words, which it asks about films alone."""
    monkeypatch.setattr("transformers.models.smolvlm.processing_smolvlm.num2words", str)


def png(seed=0, side=56):
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.usefixtures("numbers_in_words")
@pytest.mark.parametrize("name", list(SAVE))
def test_it_answers_about_pictures_under_the_schema(stages, folders, name):
    model = stages.language(f"hf:{folders[name]}").model
    model._max_tokens = 20
    question = PromptSet().question("presence", label="dog", images=[png(), png(1)])
    ids = model._inputs(question.messages)["input_ids"]
    assert int((ids == model._network.config.image_token_id).sum()) == 2 * tiny_readers.TOKENS[name]
    assert find_fault(model.answer(question.messages, question.schema), question.schema) is None
    plain = PromptSet().question("presence", label="dog")
    assert find_fault(model.answer(plain.messages, plain.schema), plain.schema) is None


@pytest.mark.usefixtures("numbers_in_words")
@pytest.mark.parametrize("name", CAUSAL)
def test_a_free_choice_is_what_the_plain_network_finds_likelier_at_that_picture(stages, folders, name):
    from transformers import AutoModelForImageTextToText

    model = stages.language(f"hf:{folders[name]}").model
    network = AutoModelForImageTextToText.from_pretrained(folders[name]).eval()
    letters = list("abcdefghij")
    schema = {
        "type": "object", "properties": {"a": {"type": "string", "enum": letters}}, "required": ["a"],
        "additionalProperties": False,
    }  # fmt: skip
    written = torch.tensor([model._tokenizer.encode('{"a":"', add_special_tokens=False)])
    numbers = model._tokenizer.convert_tokens_to_ids(letters)
    seen = []
    for seed in range(3):
        messages = [Message("user", "which?", images=(png(seed),))]
        inputs = dict(model._inputs(with_schema_told(messages, schema)))
        for key, more in (("input_ids", written), ("attention_mask", 1), ("mm_token_type_ids", 0)):
            if key in inputs:
                tail = more if torch.is_tensor(more) else torch.full_like(written, more)
                inputs[key] = torch.cat([inputs[key], tail], dim=1)
        with torch.inference_mode():
            logits = network(**inputs).logits[0, -1, numbers]
        assert model.answer(messages, schema)["a"] == letters[int(logits.argmax())]
        seen.append(logits)
    assert not torch.allclose(seen[0], seen[1], atol=1e-4), "the picture counts"


def test_a_package_that_is_missing_is_named(folders, settings, monkeypatch):
    monkeypatch.setattr("transformers.models.smolvlm.processing_smolvlm.num2words", None)
    with pytest.raises(ModelUnavailable, match=r"a package that it needs is missing here: .*pip install num2words"):
        Stages(settings).language(f"hf:{folders['smolvlm']}")
