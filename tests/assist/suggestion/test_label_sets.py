"""A sample of images becomes a label set to approve: words united, counted, with images to look at."""

import pytest

from maskwright.assist.suggestion.label_sets import EXAMPLES, Sample, propose_labels
from maskwright.assist.suggestion.values import Reading
from maskwright.errors import ModelUnavailable
from maskwright.labels import LabelClass, LabelSet
from maskwright.models.language.prompt_sets import PromptSet
from maskwright.models.protocols import Tag
from maskwright.models.sentences import SentenceEncoder

EMPTY = LabelSet(())


def sample(image, *words, caption="", **boxes):
    tags = tuple(Tag(word, 0.9 - 0.1 * place) for place, word in enumerate(words))
    return Sample(image, Reading(tags, caption), boxes)


SAMPLES = [
    sample("1", "car", "Dog", dog=(1.0, 2.0, 3.0, 4.0)),
    sample("2", "cars", "automobile", "sky"),
    sample("3", "automobile", "dogs", "teapot"),
    sample("4", "tree", caption="A dog in front of a tree."),
]


def propose(samples=SAMPLES, labels=EMPTY, **options):
    return propose_labels(samples, labels, PromptSet(), **options)


def by_name(proposal):
    return {one.name: one for one in proposal.classes}


def test_words_are_counted_over_images_whatever_their_case_and_number():
    found = by_name(propose())
    assert {name: one.images for name, one in found.items()} == {"dog": 3, "automobile": 2, "car": 2}
    assert {one.image for one in found["dog"].examples} == {"1", "3", "4"}


def test_rare_words_are_left_out_except_of_a_single_image():
    assert "teapot" in by_name(propose(least=1))
    assert set(by_name(propose(SAMPLES[2:3]))) == {"automobile", "dogs", "teapot"}


def test_words_of_one_meaning_are_united_without_a_language_model_and_cats_are_no_dogs():
    samples = [*SAMPLES, sample("5", "cat"), sample("6", "cat")]
    found = by_name(propose(samples, encoder=SentenceEncoder()))
    united = found.get("car") or found["automobile"]
    assert (united.images, len(united.aliases)) == (3, 1)
    assert {"dog", "cat"} <= found.keys()


def test_a_language_model_unites_and_chooses(scripted):
    language = scripted(
        {
            "classes": [
                {"name": "vehicle", "aliases": ["car", "Automobiles", "lorry"], "reason": "on  every\nroad"},
                {"name": "dog", "aliases": [], "reason": ""},
            ]
        }
    )
    proposal = propose(language=language)
    assert language.asked[0]["tags"][0] == "dog (3 pictures)"
    assert [one.name for one in proposal.classes] == ["dog", "vehicle"]
    vehicle = by_name(proposal)["vehicle"]
    assert (vehicle.images, vehicle.aliases, vehicle.reason) == (3, ("car", "Automobiles", "lorry"), "on every road")


def test_what_no_image_shows_and_what_is_there_already_is_dropped(scripted):
    names = ["unicorn", "Cars", "background", "dog", "dogs", "", 3]
    answer = {"classes": [*({"name": name, "aliases": ["road"], "reason": "x"} for name in names), None]}
    proposal = propose(labels=LabelSet.of(["car"]), language=scripted(answer), least=1)
    assert [one.name for one in proposal.classes] == ["dog"]
    assert proposal.present == {"car": 2}


def test_two_classes_do_not_share_a_word(scripted):
    classes = [{"name": name, "aliases": ["dog"], "reason": ""} for name in ("animal", "pet")]
    assert [one.name for one in propose(language=scripted({"classes": classes})).classes] == ["animal"]


@pytest.mark.parametrize("answer", [ModelUnavailable("the server is down"), {}, {"classes": "dog"}])
def test_a_model_that_does_not_help_costs_nothing_but_its_help(scripted, answer):
    proposal = propose(language=scripted(answer))
    if isinstance(answer, Exception):
        assert proposal.problems == ("words were united without a language model: the server is down",)
        assert "dog" in by_name(proposal)
    else:
        assert proposal.classes == ()


def test_examples_are_few_and_those_with_a_box_come_first():
    samples = [sample(str(i), "dog") for i in range(20)]
    samples.append(Sample("last", Reading((Tag("dog", 0.1),)), {"dog": (0.0, 0.0, 5.0, 5.0)}))
    (dog,) = propose(samples).classes
    assert len(dog.examples) == EXAMPLES
    assert (dog.examples[0].image, dog.examples[0].box) == ("last", (0.0, 0.0, 5.0, 5.0))
    assert dog.to_json()["examples"][0] == {"image": "last", "box": [0.0, 0.0, 5.0, 5.0]}


def test_approval_extends_the_label_set(scripted):
    classes = [{"name": "vehicle", "aliases": ["car"], "reason": ""}, {"name": "dog", "aliases": [], "reason": ""}]
    labels = LabelSet.of(["tree"])
    proposal = propose(labels=labels, language=scripted({"classes": classes}))
    assert proposal.extend(labels, ["vehicle", "unheard of"]).classes == (
        LabelClass("tree"), LabelClass("vehicle", ("vehicle", "car")),
    )  # fmt: skip


def test_nothing_seen_is_said():
    assert propose([sample("1")]).problems == ("no describer gave any tags; choose a tagger, or a larger sample",)
    assert propose([]).classes == ()


def test_names_and_aliases_can_be_written_as_xml(scripted):
    said = {"classes": [{"name": "dog\x00", "aliases": ["hound\x08"], "reason": "barks\x1b"}]}
    proposal = propose_labels([sample("1", "dog")], EMPTY, PromptSet(), language=scripted(said))
    (dog,) = proposal.classes
    assert (dog.name, dog.aliases, dog.reason) == ("dog", ("hound",), "barks")
