import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.describers import florence2
from maskwright.models.describers.florence2 import LocatedPhrase, located_phrases
from maskwright.models.protocols import Tag


def box(*bins):
    return tuple((n + 0.5) / 1000 for n in bins)


def test_phrases_and_boxes_are_read():
    text = "</s><s>car<loc_52><loc_334><loc_932><loc_774>door handle<loc_1><loc_2><loc_3><loc_4></s>"
    assert located_phrases(text) == [
        LocatedPhrase("car", (box(52, 334, 932, 774),)),
        LocatedPhrase("door handle", (box(1, 2, 3, 4),)),
    ]


def test_several_boxes_may_follow_one_phrase():
    text = "wheel<loc_1><loc_2><loc_3><loc_4><loc_5><loc_6><loc_7><loc_8>"
    assert located_phrases(text) == [LocatedPhrase("wheel", (box(1, 2, 3, 4), box(5, 6, 7, 8)))]


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("", []),
        ("a red car", []),  # no place: an answer that was cut, or none of this task
        ("car<loc_1><loc_2><loc_3>", []),
        ("car<loc_1><loc_2><loc_3><loc_4>bus<loc_9><loc_9>", ["car"]),
        ("car<loc_1><loc_2><loc_3><loc_4>bus<loc_1><loc_2><loc_3><loc_", ["car"]),
        ("<od>car</od><loc_1><loc_2><loc_3><loc_4>", []),  # the place belongs to no phrase
        ("<od> car <loc_1> <loc_2> <loc_3> <loc_4></od>bus<loc_1><loc_2><loc_3><loc_4>", ["car", "bus"]),
        ("<loc_1><loc_2><loc_3><loc_4>", []),
        ("<poly><loc_1><loc_2></poly>x<loc_1><loc_2><loc_3><loc_4>", ["x"]),
    ],
)
def test_broken_answers_give_what_is_whole(text, phrases):
    assert [found.phrase for found in located_phrases(text)] == phrases


def test_boxes_lie_in_the_image_with_their_corners_in_order():
    assert located_phrases("x<loc_900><loc_99999><loc_10><loc_0>")[0].boxes == (box(10, 0, 900, 999),)


@given(st.text(alphabet="abc <>/_loc0123456789ods", max_size=200))
def test_any_text_is_read_without_a_crash(text):
    for found in located_phrases(text):
        assert found.phrase
        assert all(0 < a <= c < 1 and 0 < b <= d < 1 for a, b, c, d in found.boxes)


@pytest.fixture(scope="session")
def plain(folders):
    """A function of (image, task): the answer of the package's own processor, model and greedy generation."""
    import torch
    import transformers

    folder = folders("florence2")
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    images = transformers.CLIPImageProcessorPil.from_pretrained(folder)
    images.image_seq_length = 5
    processor = transformers.Florence2Processor(images, tokenizer)
    model = transformers.Florence2ForConditionalGeneration.from_pretrained(folder).eval()

    def answer(image, task, tokens):
        inputs = processor(images=torch.from_numpy(image).permute(2, 0, 1), text=task, return_tensors="pt")
        with torch.inference_mode():
            ids = model.generate(
                **{key: inputs[key] for key in ("input_ids", "attention_mask", "pixel_values")},
                max_new_tokens=tokens, do_sample=False, num_beams=1,
            )  # fmt: skip
        return tokenizer.decode(ids[0], skip_special_tokens=False)

    return answer


@pytest.fixture
def made(stages, folders, monkeypatch):
    monkeypatch.setattr(florence2, "NEW_TOKENS", 24)
    return stages.tagger(f"florence2:{folders('florence2')}")


@pytest.mark.parametrize("task", list(florence2.PROMPTS))
def test_answers_are_those_of_the_package(made, plain, picture, task):
    images = [picture(50, 70, seed) for seed in range(3)]
    found = [made._answer(image, task) for image in images]
    assert [text for text, _ in found] == [plain(image, task, 24) for image in images]
    assert found == [made._answer(image, task) for image in images]
    assert all(0 < sure < 1 for _, sure in found)


def test_tags_are_the_phrases_of_both_tasks_and_captions_hold_no_tokens(made, monkeypatch, picture):
    answers = {
        "<OD>": ("</s><s>car<loc_1><loc_2><loc_3><loc_4>road<loc_1><loc_2><loc_3><loc_4></s>", 0.5),
        "<DENSE_REGION_CAPTION>": ("red car<loc_1><loc_2><loc_3><loc_4>road<loc_1><loc_2><loc_3><loc_4></s>", 0.75),
        "<DETAILED_CAPTION>": ("</s><s>A red car on a road.</s><pad>", 0.5),
    }
    monkeypatch.setattr(made, "_answer", lambda image, task: answers[task])
    assert made.tags([picture(8, 8)]) == [[Tag("road", 0.75), Tag("red car", 0.75), Tag("car", 0.5)]]
    assert made.tags([picture(8, 8)], top=1) == [[Tag("road", 0.75)]]
    assert made.captions([picture(8, 8)]) == ["A red car on a road."]


def test_the_whole_way_ends_in_tags_and_captions(made, stages, folders, picture):
    images = [picture(50, 70)]
    assert [type(tags) for tags in made.tags(images)] == [list]
    captioner = stages.captioner(f"florence2:{folders('florence2')}")
    assert captioner.version == made.version
    assert "<" not in captioner.captions(images)[0].replace("<<", "")


def test_an_answer_that_was_cut_is_logged(made, picture, caplog, monkeypatch):
    monkeypatch.setattr(florence2, "NEW_TOKENS", 2)
    monkeypatch.setattr(made._model.generation_config, "forced_eos_token_id", None)
    made.captions([picture(50, 70)])
    assert "the answer was cut after 2 tokens" in caplog.text


def test_an_empty_image_is_refused(made):
    with pytest.raises(InvalidInput, match="an image must be"):
        made.tags([np.zeros((0, 3, 3), dtype=np.uint8)])


def test_a_tokenizer_without_places_is_refused(stages, folders, tmp_path):
    folder = tmp_path / "other"
    shutil.copytree(folders("florence2"), folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"] = [t for t in tokenizer["added_tokens"] if not t["content"].startswith("<loc_")]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("added_tokens_decoder", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnavailable, match="lacks the location tokens"):
        stages.tagger(f"florence2:{folder}")
