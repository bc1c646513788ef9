"""Splitting JSON arrays: whatever JSON holds and however it is cut into blocks, and places that one can look up."""

from __future__ import annotations

import io
import json
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.errors import InvalidInput, TooLarge
from maskwright.export import json_array
from maskwright.export.documents import find_fault
from maskwright.export.json_array import read_array, split_array

words = st.text(st.sampled_from('ab"\\[]{},: \n\té🐶\u2028'), max_size=8) | st.text(max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.dictionaries(words, values, max_size=3), max_size=5),
    st.sampled_from([None, 0, 3]),
    st.booleans(),
    st.integers(1, 40),
)
def test_every_array_of_objects_is_split_into_its_elements(elements, indent, ascii_only, block):
    text = json.dumps(elements, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    found = list(split_array(io.BytesIO(text), "tasks.json", block))
    assert [json.loads(one.data) for one in found] == elements
    lines = text.split(b"\n")
    for one in found:
        assert lines[one.place.line - 1][one.place.column - 1 :].startswith(one.data.split(b"\n")[0])
    assert all((a.place.line, a.place.column) < (b.place.line, b.place.column) for a, b in pairwise(found))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("   ", "before its list does"),
        ('{"id": 1}', r"line 1, column 1: expected a list of tasks"),
        ("null", "expected a list of tasks"),
        ("[1]", "line 1, column 2: expected a comma and the next task"),
        ('[{},\n "x"]', "line 2, column 2: expected"),
        ("[{} {}]", "line 1, column 5"),
        ("[{},,{}]", "line 1, column 5"),
        ("[{},]", "line 1, column 5"),
        ("[{}]\nx", "line 2, column 1: nothing may follow"),
        ("[{}] []", "nothing may follow"),
        ("[{}", "ends before its list does"),
        ('[{"a": 1}, {"a":', "ends within the task that begins in line 1, column 12"),
        ("]", "expected a list"),
    ],
)
@pytest.mark.parametrize("block", [1, 3, 1000])
def test_what_is_no_array_of_objects_is_refused_with_the_place(text, message, block):
    with pytest.raises(InvalidInput, match=message):
        list(split_array(io.BytesIO(text.encode()), "tasks.json", block))


def test_a_byte_order_mark_is_no_fault():
    assert [one.data for one in split_array(io.BytesIO(b'\xef\xbb\xbf[{"a": 1}]'), "f")] == [b'{"a": 1}']


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidInput, match=r"cannot read .*none\.json"):
        list(read_array(tmp_path / "none.json"))


def test_a_forgotten_quote_does_not_fill_the_memory_and_is_named_by_its_line(monkeypatch):
    monkeypatch.setattr(json_array, "_FIRST_LOOK", 1 << 12)
    lines = [json.dumps({"id": n, "name": "x" * 50}) for n in range(500)]
    lines[7] = lines[7].replace('"name"', '"name')
    text = ("[\n" + ",\n".join(lines) + "\n]").encode()

    def read() -> None:
        for one in split_array(io.BytesIO(text), "tasks.json", 512):
            fault = find_fault(one)
            if fault is not None:
                raise InvalidInput(f"{fault.place}: {fault.reason}")

    with pytest.raises(InvalidInput, match=r"tasks\.json, line 9, column"):
        read()


def test_an_element_without_end_is_too_large(monkeypatch):
    monkeypatch.setattr(json_array, "LARGEST_ELEMENT", 1 << 12)
    with pytest.raises(TooLarge, match="quote missing"):
        list(split_array(io.BytesIO(b'[{"a":"' + b"x" * 100_000), "tasks.json", 1000))


class _Endless(io.RawIOBase):
    """A million tasks that are never in memory together."""

    def __init__(self, tasks: int) -> None:
        self._left = tasks
        self._begun = False

    def read(self, size: int = -1) -> bytes:
        if not self._begun:
            self._begun = True
            return b'[{"id": 0}'
        if self._left < 0:
            return b""
        count = min(self._left, 1000)
        self._left -= 1000
        return b',{"data": {"text": "0123456789"}}' * count + (b"]" if self._left < 0 else b"")


def test_memory_does_not_grow_with_the_file():
    def peak(tasks: int) -> int:
        tracemalloc.start()
        count = sum(1 for _ in split_array(_Endless(tasks), "tasks.json"))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count >= tasks
        return found

    peak(1000)
    assert peak(60_000) < 1.5 * peak(6_000)
