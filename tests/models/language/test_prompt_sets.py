"""Questions of the package and of projects: complete, versioned, and closed to what a picture says."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from maskwright.errors import InvalidInput
from maskwright.models.language.prompt_sets import PromptSet, domains, read_data, templates

FILLED = {
    "labels": ["person", "dog"], "tags": ["man"], "caption": "a man", "phrase": "puppy", "label": "dog",
    "siblings": ["wolf"],
}  # fmt: skip


@pytest.mark.parametrize("domain", ["general", "driving", "medical", "remote sensing", "microscopy", "retail"])
@pytest.mark.parametrize("name", list(templates()))
def test_every_question_is_complete_in_every_domain(domain, name):
    question = PromptSet(domain).question(name, **FILLED)
    system, user = question.messages
    assert (system.role, user.role) == ("system", "user")
    assert domains()[domain] in system.content
    assert "{" not in system.content + user.content
    Draft202012Validator.check_schema(question.schema)
    assert "{labels}" not in json.dumps(question.schema)


def strict(schema):
    """Whether servers take a schema with ``strict``: all properties required, no others allowed."""
    if schema.get("type") == "object":
        assert schema["additionalProperties"] is False
        assert set(schema["required"]) == set(schema["properties"])
        return all(strict(part) for part in schema["properties"].values())
    return strict(schema["items"]) if schema.get("type") == "array" else True


@pytest.mark.parametrize("name", list(templates()))
def test_schemas_are_strict(name):
    assert strict(PromptSet().question(name, **FILLED).schema)


def test_the_answers_may_only_be_labels():
    before = PromptSet().question("pre-refinement", **FILLED).schema
    after = PromptSet().question("post-refinement", **FILLED).schema
    assert before["properties"]["labels"]["items"]["properties"]["name"]["enum"] == ["person", "dog"]
    assert after["properties"]["label"]["enum"] == ["person", "dog", None]
    with pytest.raises(InvalidInput, match="there are none"):
        PromptSet().question("pre-refinement", tags=["man"])


def writable(data):
    try:
        return bool(json.dumps(data, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        return False


@given(tags=st.lists(st.text()), caption=st.text(), phrase=st.text())
def test_what_a_picture_says_can_be_read_back_and_never_leaves_its_marks(tags, caption, phrase):
    for name, data in (("pre-refinement", {"tags": tags, "caption": caption}), ("post-refinement", {"phrase": phrase})):
        question = PromptSet().question(name, labels=["dog"], **data)
        plain = PromptSet().question(name, labels=["dog"])
        assert question.messages[0] == plain.messages[0], "the system's message does not depend on the picture"
        assert question.messages[1].content.count("<") == plain.messages[1].content.count("<")
        json.dumps(question.messages[1].content).encode()
        if writable(data):
            assert read_data(question.messages) == data


def test_a_caption_that_names_placeholders_fills_nothing_in():
    question = PromptSet().question("pre-refinement", labels=["dog"], caption="{labels} {domain} {oops}")
    assert read_data(question.messages)["caption"] == "{labels} {domain} {oops}"


def test_versions_follow_the_words_and_not_what_is_filled_in():
    plain = PromptSet()
    own = PromptSet(overrides={"caption": {"user": "What is it?"}})
    assert plain.question("caption").version == PromptSet().question("caption", label="x").version
    assert own.question("caption").version != plain.question("caption").version
    assert own.question("tags").version == plain.question("tags").version
    assert len({plain.version, own.version, PromptSet("retail").version}) == 3


def test_a_project_may_use_its_own_words():
    own = PromptSet(overrides={"domain": "Pictures of welds.", "presence": {"user": "Any {label} here?"}})
    question = own.question("presence", label="crack")
    assert "Pictures of welds." in question.messages[0].content
    assert question.messages[1].content == 'Any "crack" here?'


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"captoin": {}}, "unknown prompt 'captoin'; there are caption,"),
        ({"caption": "text"}, "caption: write an object with 'system', 'user' or both"),
        ({"caption": {"schema": {}}}, "caption: write an object with"),
        ({"caption": {"user": 3}}, r"caption\.user: write a text"),
        ({"caption": {"user": "  "}}, r"caption\.user: write a text"),
        ({"caption": {"user": "x" * 20_001}}, "20001 characters; at most 20000"),
        ({"caption": {"user": "{picture}"}}, r"unknown placeholder \{picture\}; allowed: \{caption\}"),
        ({"pre-refinement": {"system": "{labels} {caption}"}}, "read off the picture and may stand in 'user' only"),
        ({"pre-refinement": {"user": "{tags}"}}, r"pre-refinement: it lacks \{caption\}"),
        ({"domain": "{labels}"}, r"domain: unknown placeholder \{labels\}; allowed: none"),
        ({"domain": ["x"]}, "domain: write a text"),
    ],
)
def test_words_that_cannot_be_used_are_refused_with_their_place(overrides, words):
    with pytest.raises(InvalidInput, match=words):
        PromptSet(overrides=overrides)


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(InvalidInput, match="unknown domain 'cooking' of prompts; known: general, driving"):
        PromptSet("cooking")
    with pytest.raises(InvalidInput, match="no prompt 'joke'; there are caption"):
        PromptSet().question("joke")
