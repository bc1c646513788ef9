import numpy as np
import pytest

from maskwright.errors import InvalidInput
from maskwright.models.describers.blip import NEW_TOKENS


@pytest.fixture(scope="session")
def plain(folders):
    """A function of (kind, image): the caption of the package's own processor, model and greedy generation."""
    import torch
    import transformers

    def caption(kind, image):
        folder = folders(kind)
        name = {"blip": "Blip", "blip2": "Blip2"}[kind]
        tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
        images = transformers.BlipImageProcessorPil.from_pretrained(folder)
        processor = getattr(transformers, f"{name}Processor")(images, tokenizer)
        model = getattr(transformers, f"{name}ForConditionalGeneration").from_pretrained(folder).eval()
        inputs = processor(images=torch.from_numpy(image).permute(2, 0, 1), return_tensors="pt")
        with torch.inference_mode():
            ids = model.generate(**inputs, max_new_tokens=NEW_TOKENS)
        return processor.batch_decode(ids, skip_special_tokens=True)[0].strip()

    return caption


@pytest.mark.parametrize("kind", ["blip", "blip2"])
def test_captions_are_those_of_the_package(stages, folders, picture, plain, kind):
    made = stages.captioner(f"{kind}:{folders(kind)}")
    images = [picture(40, 60, seed) for seed in range(4)]
    found = made.captions(images)
    assert found == [plain(kind, image) for image in images]
    assert found == made.captions(images)
    assert len(set(found)) > 1
    assert all(found)
    assert made.version == stages.describe("captioner", f"{kind}:{folders(kind)}").version


@pytest.mark.parametrize("kind", ["blip", "blip2"])
def test_a_caption_that_was_cut_is_logged(stages, folders, picture, caplog, kind):
    made = stages.captioner(f"{kind}:{folders(kind)}")
    made._model.generation_config.eos_token_id = None  # never ends
    kept, made._model.config.text_config.sep_token_id = getattr(made._model.config.text_config, "sep_token_id", 3), None
    inner = getattr(made._model, "language_model", None) or made._model.text_decoder
    ends, inner.generation_config.eos_token_id = inner.generation_config.eos_token_id, None
    try:
        made.captions([picture(40, 60)])
    finally:
        inner.generation_config.eos_token_id = ends
        made._model.config.text_config.sep_token_id = kept
    assert "the answer was cut after 50 tokens" in caplog.text


@pytest.mark.parametrize("kind", ["blip", "blip2"])
def test_an_empty_image_is_refused(stages, folders, kind):
    with pytest.raises(InvalidInput, match="an image must be"):
        stages.captioner(f"{kind}:{folders(kind)}").captions([np.zeros((4, 0, 3), dtype=np.uint8)])
