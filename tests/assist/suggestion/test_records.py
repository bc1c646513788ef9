"""Evidence travels with a prediction and comes back as it was; what was damaged on the way is named."""

import json

import pytest

from maskwright.assist.suggestion.records import read_suggestions, suggestions_to_json
from maskwright.assist.suggestion.values import Source, Suggestion
from maskwright.errors import InvalidInput

SUGGESTIONS = (
    Suggestion("dog", "confirmed", 0.75, (Source("tag", "puppy", 0.9), Source("caption", "a <b>dog</b>"))),
    Suggestion("木", "rejected", 0.0, (Source("language", "qwen", 0.3),), implied=True, is_known=False),
    Suggestion("cat", "plausible", 1.0, ()),
)


def test_what_is_written_is_read():
    assert read_suggestions(json.loads(json.dumps(suggestions_to_json(SUGGESTIONS)))) == SUGGESTIONS


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": 3}, "label is a text"), ({"status": "sure"}, "status is one of confirmed"),
        ({"confidence": 2}, "confidence"), ({"confidence": True}, "confidence"), ({"confidence": float("nan")}, "conf"),
        ({"sources": None}, "sources"), ({"sources": [3]}, "objects"), ({"sources": [{"kind": []}]}, "kind is one of"),
    ],
)  # fmt: skip
def test_damage_is_named(change, words):
    damaged = suggestions_to_json(SUGGESTIONS)
    damaged[1] |= change
    with pytest.raises(InvalidInput, match=f"suggestion 2: .*{words}"):
        read_suggestions(damaged)


@pytest.mark.parametrize("document", [None, {}, "dog", [None], [[]] * 2000])
def test_what_is_no_list_of_suggestions_is_refused(document):
    with pytest.raises(InvalidInput):
        read_suggestions(document)
