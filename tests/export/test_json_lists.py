from __future__ import annotations

import contextlib
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.errors import InvalidInput, MaskwrightError, TooLarge
from maskwright.export import json_lists
from maskwright.export.json_lists import DEEPEST, parse_element, read_lists

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


def read(text: bytes, *names: str) -> list[tuple[str, object]]:
    elements = list(read_lists(io.BytesIO(text), names or ("a",), "file.json"))
    for element in elements:
        assert text[element.offset : element.offset + len(element.text)] == element.text
    return [(element.list_name, parse_element(element.text)) for element in elements]


@settings(deadline=None)
@given(
    st.dictionaries(st.text(max_size=6), VALUES, max_size=4),
    st.lists(VALUES, max_size=6),
    st.lists(VALUES, max_size=6),
    st.sampled_from([None, 1, "\t"]), st.booleans(), st.integers(1, 40),
)  # fmt: skip
def test_whatever_is_written_comes_back_in_order_however_it_is_cut_into_chunks(rest, first, second, indent, raw, chunk):
    document = {
        **{key: value for key, value in rest.items() if key not in "ab"},
        "a": first,
        "between": [1],
        "b": second,
    }
    text = json.dumps(document, indent=indent, ensure_ascii=not raw).encode("utf-8", "surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_lists, "CHUNK_BYTES", chunk)
        try:
            found = read(text, "a", "b")
        except MaskwrightError:
            assert raw, "only raw lone surrogates, which are no UTF-8, are refused"
            return
    assert found == [("a", value) for value in first] + [("b", value) for value in second]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text('[]{}",:\\a1 \n', max_size=40).map(lambda text: b'{"a":[' + text.encode()))
def test_no_bytes_can_do_more_than_be_refused(text):
    with contextlib.suppress(MaskwrightError):
        read(text)


@settings(max_examples=150, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=5), st.data())
def test_a_file_that_is_cut_off_is_never_taken_for_a_whole_one(values, data):
    text = json.dumps({"a": values}).encode()
    cut = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(InvalidInput, match="is it whole"):
        read(text[:cut])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", "is it whole"),
        (b"[]", "must begin with {"),
        (b'{"a":[1\n,\n,2]}', r"line 3, byte 10: .*place 1.* a value is missing"),
        (b'{"a":[1 2]}', r"a comma or \] is missing after \"a\", place 0"),
        (b'{"a":[1,]}', "nothing follows a comma"),
        (b'{"a":[]}}', "the file goes on"),
        (b'{"a":[],"a":[]}', '"a" is there twice'),
        (b'{"a":{}}', '"a" must be a list'),
        (b'{"b":[]}', 'no list "a"'),
        (b'{"a" []}', "a colon is missing"),
        (b"{a:[]}", "the name of a member is missing"),
        (b'{"a":[{"k":1}\n,{"k":', r'line 2, .* ends inside "a", place 1'),
        (b'{"a":[' + b"[" * 100_000, f"nested more than {DEEPEST} brackets"),
        (b'{"x":' + b"[" * 30 + b"]" * 30 + b',"a":[]}', "nested more than"),
    ],
)
def test_the_message_names_the_place(text, expected):
    with pytest.raises(InvalidInput, match=rf"^file\.json.*{expected}"):
        read(text)


def test_an_endless_element_is_refused_before_it_fills_the_memory(monkeypatch):
    monkeypatch.setattr(json_lists, "LONGEST_ELEMENT", 1000)
    monkeypatch.setattr(json_lists, "CHUNK_BYTES", 100)
    with pytest.raises(TooLarge, match="longer than 1000 bytes"):
        read(b'{"a":["' + b"x" * 100_000)


def test_a_byte_order_mark_and_what_python_writes_for_nan_are_read():
    assert read(b'\xef\xbb\xbf {"a":[]} \n') == []
    ((_, value),) = read(b'{"a":[{"bbox":[NaN,-Infinity]}]}')
    assert str(value) == "{'bbox': [nan, -inf]}"
    with pytest.raises(InvalidInput, match="not JSON"):
        parse_element(b'{"a":[1}')
