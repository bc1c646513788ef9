"""What is asked about how classes look, and what is taken of the answers."""

import pytest

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.labels import LabelClass, LabelSet
from maskwright.models.language.answers_cache import AnswersCache, CachedModel
from maskwright.models.language.descriptors import LONGEST, MOST, describe_classes, usable, with_descriptors
from maskwright.models.language.prompt_sets import PromptSet

LABELS = LabelSet((LabelClass("cow", ("cattle",)), LabelClass("grass"), LabelClass("horse")))


class Scripted:
    """Says of each class what a table says."""

    name, version = "scripted", "scripted-1"

    def __init__(self, table):
        self.table, self.asked = table, []

    def answer(self, messages, schema):
        name = next(name for name in self.table if f'for the class "{name}"' in messages[0].content)
        self.asked.append((name, messages))
        if self.table[name] is None:
            raise ModelUnavailable("the server is down")
        return {"class": name, "descriptors": [{"text": text, "kind": "part"} for text in self.table[name]]}


def test_each_class_without_descriptors_is_asked_for_once_in_its_context():
    said = {"cow": ["a cow's spotted hide"], "horse": ["a horse's mane"], "grass": ["thin green blades"]}
    language = Scripted(said)
    known = with_descriptors(LABELS, {"grass": ["a lawn"]})
    found = describe_classes(known, language, PromptSet(), caption="a meadow")
    assert [name for name, _ in language.asked] == ["cow", "horse"]
    assert '["grass", "horse"]' in language.asked[0][1][0].content
    assert '<caption>"a meadow"</caption>' in language.asked[0][1][1].content
    assert found.labels.classes[1].descriptors == ("a lawn",)
    assert found.labels.classes[0].descriptors == ("a cow's spotted hide",)
    assert not found.problems


def test_people_who_look_at_kept_answers_see_which_class_was_described(tmp_path):
    cache = AnswersCache(tmp_path, 10_000)
    describe_classes(LABELS, CachedModel(Scripted({"cow": ["a cow"], "horse": ["a horse"], "grass": ["grass"]}), cache),
                     PromptSet())  # fmt: skip
    assert sorted(one.question.split()[-1] for one in cache.answers()) == ['"cow".', '"grass".', '"horse".']


def test_a_model_that_is_down_leaves_the_class_as_it_was_and_says_why():
    found = describe_classes(LABELS, Scripted({"cow": None, "grass": ["thin blades"], "horse": ["grass"]}), PromptSet())
    assert found.labels.classes[0] == LABELS.classes[0]
    assert found.labels.classes[1].descriptors == ("thin blades",)
    assert found.problems == (
        "no descriptors of 'cow': the server is down",
        "nothing that was said of 'horse' can be used",
    )


def test_a_model_that_is_not_there_is_asked_about_two_classes_and_no_more():
    labels = LabelSet.of(["cow", "grass", "horse", "barn"])
    language = Scripted(dict.fromkeys(labels.names))
    found = describe_classes(labels, language, PromptSet())
    assert [name for name, _ in language.asked] == ["cow", "grass"]
    assert found.problems[-1] == "the language model was not asked about the other 2 classes"
    assert found.labels == labels


def test_what_would_mislead_is_dropped():
    said = {
        "cow": [
            "green grass",
            "cattle on grass",
            "  a wet \n nose ",
            "A wet nose",
            "outdoors",
            "w" * (LONGEST + 1),
            "",
        ],
        "horse": ["Outdoors", "a long mane", "two horses"],
    }
    assert usable(said, LABELS) == {"cow": ("cattle on grass", "a wet nose"), "horse": ("a long mane", "two horses")}
    many = {"cow": [f"kind {number} of it" for number in range(MOST + 3)]}
    assert usable(many, LABELS)["cow"] == tuple(many["cow"][:MOST])


def test_what_is_kept_fits_a_text_encoder_letter_by_letter():
    sentences = 16  # letters and marks of the longest template around it, as tokens at most
    assert LONGEST + sentences <= 77
    assert usable({"cow": ["牛" * 21]}, LABELS)["cow"] == ()


def test_the_nearest_classes_are_named_where_there_are_many():
    class Lengths:
        name, version = "lengths", "lengths-1"

        def embed(self, phrases):
            import numpy as np

            angles = [len(phrase) / 10 for phrase in phrases]
            return np.array([(np.cos(a), np.sin(a)) for a in angles], dtype=np.float32)

    labels = LabelSet.of("x" * n for n in range(1, 10))
    language = Scripted({name: ["y"] for name in labels.names})
    describe_classes(labels, language, PromptSet(), encoder=Lengths())
    assert '["xx", "xxx", "xxxx", "xxxxx", "xxxxxx"]' in language.asked[0][1][0].content


def test_descriptors_of_a_class_that_is_not_there_are_refused():
    with pytest.raises(InvalidInput, match="'dog'"):
        with_descriptors(LABELS, {"dog": ["barks"]})
