"""A phrase alone finds what it names, or says that nothing of the kind is there."""

import pytest

from maskwright.assist.assistant import Assistant
from maskwright.errors import InvalidInput
from maskwright.images import load_image
from maskwright.labels import LabelClass, LabelSet
from maskwright.prompts import Prompt
from maskwright.settings import Settings
from maskwright_label_studio.samples import sample_images


@pytest.fixture(scope="module")
def pictures():
    return {path.stem: load_image(path) for path in sample_images()}


@pytest.fixture
def assistant(tmp_path):
    made = Assistant(Settings(_env_file=None, home=tmp_path, disk_cache_bytes=0))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("name", "phrase", "point"), [("coffee", "a cup of espresso", (300, 120)), ("rocket", "rocket", (322, 250))]
)
def test_a_phrase_finds_what_it_names(assistant, pictures, name, phrase, point):
    answer = assistant.answer(pictures[name], Prompt(phrase=phrase))
    assert answer.mask.contains(*point)
    assert answer.mask.area < 0.5 * pictures[name].size[0] * pictures[name].size[1]
    assert 0 < answer.score <= 1


def test_a_phrase_for_what_is_not_there_finds_nothing(assistant, pictures):
    answer = assistant.answer(pictures["coins"], Prompt(phrase="elephant"))
    assert answer.mask.is_empty
    assert answer.score == 0


def test_other_words_of_the_chosen_class_help_a_phrase(assistant, pictures):
    labels = LabelSet((LabelClass("crockery", ("espresso", "coffee mug")),))
    answer = assistant.answer(pictures["coffee"], Prompt(phrase="crockery"), labels=labels, label="crockery")
    assert answer.mask.contains(300, 120)


def test_a_phrase_on_an_image_beyond_the_tile_size_is_explained(tmp_path, pictures):
    small = Assistant(Settings(_env_file=None, home=tmp_path, disk_cache_bytes=0, tile_size=256, tile_halo=16))
    with pytest.raises(InvalidInput, match="add a click or a box"):
        small.answer(pictures["coffee"], Prompt(phrase="cup"))
    small.close()
