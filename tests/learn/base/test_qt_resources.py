import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import InvalidInput
from maskwright.learn.base.qt_resources import QtResources


@pytest.mark.parametrize("compress", [False, True])
def test_files_come_out_as_they_were_put_in(container, compress):
    files = {"a.webp": b"cat" * 50, "ü.txt": b"dog"}
    resources = QtResources(container(files, compress))
    assert resources.names == ("/r/a.webp", "/r/ü.txt")
    assert [resources.read(name) for name in resources.names] == list(files.values())


def test_a_file_is_opened_by_its_path(container, tmp_path):
    (tmp_path / "a.rcc").write_bytes(container({"a": b"1"}))
    assert QtResources.open(tmp_path / "a.rcc").read("/r/a") == b"1"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04" + bytes(40), b"qres" + bytes(4), b"qres" + b"\xff" * 40])
def test_something_else_is_refused_with_a_reason(content):
    with pytest.raises(InvalidInput, match="container"):
        QtResources(content)


def test_an_unknown_name_is_refused(container):
    with pytest.raises(InvalidInput, match="no file"):
        QtResources(container({"a": b"1"})).read("/r/b")


def test_a_folder_that_holds_itself_is_refused(container):
    content = bytearray(container({"a": b"1"}))
    content[20 + 10 : 20 + 14] = bytes(4)  # the first child of the root is the root
    with pytest.raises(InvalidInput, match="itself"):
        QtResources(bytes(content))


@given(at=st.integers(4, 120), value=st.integers(0, 255), cut=st.integers(0, 60))
def test_damage_gives_the_files_or_a_clear_error_but_nothing_else(at, value, cut):
    from struct import pack

    name = pack(">HI", 1, 0) + "a".encode("utf-16-be")
    tree = pack(">IHIIQ", 0, 2, 1, 1, 0) + pack(">IHHHIQ", 0, 1, 0, 0, 0, 0)
    data = pack(">I", 6) + b"\0\0\0\1xx"
    content = pack(">4sIIII", b"qres", 2, 20, 64, 64 + len(data)) + tree + data + name
    damaged = bytearray(content)
    damaged[at % len(damaged)] = value
    try:
        resources = QtResources(bytes(damaged[: len(damaged) - cut]))
        for each in resources.names:
            resources.read(each)
    except InvalidInput:
        pass
