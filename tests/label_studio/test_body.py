"""Reading requests without the masks in them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import InvalidInput
from maskwright_label_studio import body as subject
from maskwright_label_studio.body import RequestBody, read_body

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(0, 255)
    | st.text(max_size=12)
    | st.sampled_from(['"rle":[', 'a"rle"', "\\"])
)
RUNS = st.lists(st.integers(0, 255), max_size=30)
KEYS = st.sampled_from(["rle", "value", "a", 'x"rle', "rle\\", '"rle":[1]', "\\"])
TREES = st.recursive(
    LEAVES | RUNS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=30
)


def restored(node: Any, read: RequestBody, original: Any) -> Any:
    """The document with arrays put back where the original has a list."""
    if isinstance(node, dict):
        return {
            key: list(read.run_lengths(node))
            if key == "rle" and isinstance(original["rle"], list) and isinstance(value, int)
            else restored(value, read, original[key])
            for key, value in node.items()
        }
    if isinstance(node, list):
        return [restored(value, read, other) for value, other in zip(node, original, strict=True)]
    return node


def flat(node: Any) -> bool:
    """Whether every list under ``rle`` holds integers only, as in all that Label Studio sends."""
    if isinstance(node, dict):
        runs = node.get("rle")
        if isinstance(runs, list) and not all(type(v) is int for v in runs):
            return False
        return all(map(flat, node.values()))
    return all(map(flat, node)) if isinstance(node, list) else True


@given(st.dictionaries(KEYS, TREES, max_size=5).filter(flat))
def test_skipping_masks_loses_nothing_however_strings_look_like_keys(document):
    text = orjson.dumps(document)
    stripped, arrays = subject._without_arrays(text)
    read = RequestBody(orjson.loads(stripped), tuple(arrays))
    assert restored(read.document, read, document) == document


def test_masks_in_large_bodies_are_left_as_text_until_they_are_wanted():
    runs = [1, 2, 3] * 20_000
    read = read_body(orjson.dumps({"a": [{"rle": runs}], "rle": [7], "other": [1, 2]}))
    assert read.document["other"] == [1, 2]
    assert len(read.arrays) == 2
    assert list(read.run_lengths(read.document["a"][0])) == runs
    assert list(read.run_lengths(read.document)) == [7]


def test_small_bodies_are_read_whole():
    read = read_body(b'{"rle": [1, 2]}')
    assert read.document == {"rle": [1, 2]}
    assert list(read.run_lengths(read.document)) == [1, 2]


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"3", b"{", b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000, b'{"rle": [' + b"1," * 40_000]
)
def test_what_is_no_json_object_is_refused(text):
    with pytest.raises(InvalidInput):
        read_body(text)


@pytest.mark.parametrize(
    "value", [{}, {"rle": 0}, {"rle": [256]}, {"rle": [-1]}, {"rle": [1.5]}, {"rle": [True]}, {"rle": "x"}]
)
def test_run_lengths_are_bytes(value):
    with pytest.raises(InvalidInput):
        RequestBody({}).run_lengths(value)


def test_a_skipped_array_that_is_no_list_of_bytes_is_refused_when_it_is_wanted():
    read = read_body(b'{"rle": [1, "x"], "pad": "' + b"x" * 40_000 + b'"}')
    with pytest.raises(InvalidInput):
        read.run_lengths(read.document)
