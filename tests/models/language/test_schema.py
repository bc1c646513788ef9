"""The object is found wherever a model put it; what cannot be used is refused in one sentence."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.models.language.schema import InvalidAnswer, find_fault, read_answer

LABELS = {
    "type": "object",
    "properties": {"labels": {"type": "array", "items": {"type": "string", "enum": ["dog", "person"]}}},
    "required": ["labels"],
    "additionalProperties": False,
}
ANY = {"type": "object"}


@pytest.mark.parametrize(
    "text",
    [
        '{"labels": ["dog"]}',
        'Sure! Here it is:\n```json\n{"labels": ["dog"]}\n```\nAnything else?',
        '<think>maybe {"labels": ["cat"]}?</think>{"labels": ["dog"]}',
        'First I thought {"labels": ["cat"]}, then {"labels": ["dog"]}.',
        'A set {dog}, so {"labels": ["dog"]}',
        '\ufeff  {"labels":["dog"]}  ',
    ],
)
def test_the_object_is_found_in_prose_fences_and_thoughts(text):
    assert read_answer(text, LABELS) == {"labels": ["dog"]}


@pytest.mark.timeout(5)
def test_thoughts_without_end_cost_no_time():
    marks = "<think>" * 30_000
    assert read_answer(marks + '{"labels": ["dog"]}', LABELS) == {"labels": ["dog"]}
    assert read_answer(f'{marks}</think>{{"labels": ["dog"]}}', LABELS) == {"labels": ["dog"]}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "holds no JSON object"),
        ("dog, person", "holds no JSON object"),
        ('{"labels": ["dog"', "holds no JSON object"),
        ('["dog"]', "holds no JSON object"),
        ('{"labels": [NaN]}', "holds no JSON object"),
        ('{"labels": [1e999]}', "holds no JSON object"),
        (r'{"labels": ["\ud800"]}', "holds no JSON object"),
        ('{"labels": ["unicorn"]}', r'at labels\[0\]: "unicorn" is not one of the values allowed'),
        ('{"labels": "dog"}', "at labels: 'dog' is not of type 'array'"),
        ('{"tags": []}', "labels"),
        ('{"a":' * 5000, "holds no JSON object"),
        ("{" * 200_000, "holds no JSON object"),
        ('{"labels": [' + "1" * 6000 + "]}", "holds no JSON object"),
        ("x" * 300_000, "longer than"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(text, fault):
    with pytest.raises(InvalidAnswer, match=fault) as caught:
        read_answer(text, LABELS)
    assert len(str(caught.value)) < 400


def test_the_sentence_names_the_path_and_stays_short():
    fault = find_fault({"labels": ["dog", "x" * 5000]}, LABELS)
    assert fault.startswith("at labels[1]: ")
    assert len(fault) < 300


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text())))
def test_every_object_survives_being_wrapped_in_prose(value):
    try:
        text = json.dumps(value)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    assert read_answer(f"Here:\n```json\n{text}\n```", ANY) == value


@given(st.text(alphabet='{}[]":,\\ab1 \n'))
def test_no_text_makes_the_reader_fall(text):
    with contextlib.suppress(InvalidAnswer):
        assert isinstance(read_answer(text, ANY), dict)
