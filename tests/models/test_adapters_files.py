"""Files of adapters: whole or not there, and nothing in them trusted unchecked."""

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.adapters import files
from maskwright.models.adapters.config import AdapterConfig
from maskwright.models.adapters.files import AdapterCard, read_adapter, read_summary, write_adapter
from maskwright.models.adapters.shelf import AdapterShelf

BASE = "sam;file:0123"
CARD = AdapterCard(BASE, AdapterConfig("lora", rank=2), "sam-1a2b", "0" * 32, "digest", {"iou": 0.5, "by": {"box": 1}})
LAYER = "vision_encoder.layers.0.attn.qkv.q"
TENSORS = {f"{LAYER}.down": torch.randn(2, 8), f"{LAYER}.up": torch.randn(8, 2)}
DECODER = {"mask_decoder.iou_token.weight": torch.ones(1, 4)}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "home" / "adapters"


@pytest.fixture
def written(folder):
    return write_adapter(folder, TENSORS, CARD)


def plant(folder, content):
    """A file under the id that its content has, as a careful stranger would make it."""
    identifier = hashlib.sha256(content).hexdigest()[:32]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{identifier}.safetensors").write_bytes(content)
    return identifier


def planted(folder, tensors, **changes):
    said = {"format": 1, "base": BASE, "base_version": "", "config": CARD.config.to_json(), "parent": None}
    said |= {"snapshot": "", "metrics": {}} | changes
    return plant(folder, save(tensors, {"maskwright_adapter": json.dumps(said)}))


def test_what_is_read_is_what_was_written(folder, written):
    summary, tensors = read_adapter(folder, written, base=BASE)
    assert (summary.id, summary.card) == (written, CARD)
    assert summary == read_summary(folder, written)
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert len(tensors) == len(TENSORS)


def test_equal_adapters_are_one_file_and_others_have_other_ids(folder, written):
    again = write_adapter(folder, dict(reversed(TENSORS.items())), CARD)
    other = write_adapter(folder, TENSORS, replace(CARD, parent=None))
    assert again == written != other
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{i}.safetensors" for i in (written, other))


def test_a_write_that_fails_leaves_nothing(folder, monkeypatch):
    def fail(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(InvalidInput, match="No space left"):
        write_adapter(folder, TENSORS, CARD)
    assert list(folder.iterdir()) == []


@given(cut=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_a_file_cut_anywhere_is_refused_by_name(cut, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    identifier = write_adapter(folder, TENSORS, CARD)
    path = folder / f"{identifier}.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: cut % len(content)])
    with pytest.raises(ModelUnavailable, match=f"adapter {identifier} is cut short"):
        read_adapter(folder, identifier)


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(max_examples=40, deadline=None)
def test_a_file_altered_anywhere_is_refused_by_name(at, bit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    identifier = write_adapter(folder, TENSORS, CARD)
    path = folder / f"{identifier}.safetensors"
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 1 << bit
    path.write_bytes(content)
    for read in (read_adapter, read_summary):
        with pytest.raises(ModelUnavailable, match=f"adapter {identifier} is (damaged or was altered|cut short)"):
            read(folder, identifier)


def test_an_adapter_of_another_base_is_refused_and_that_base_is_named(folder, written):
    with pytest.raises(ModelUnavailable, match=rf"adapter {written} was trained on another base model \(sam-1a2b\)"):
        read_adapter(folder, written, base="sam;file:9999")


def test_a_file_larger_than_any_adapter_is_refused_without_being_read_whole(folder, monkeypatch):
    monkeypatch.setattr(files, "MOST_BYTES", 1000)
    identifier = plant(folder, b"\0" * 5000)
    with pytest.raises(ModelUnavailable, match=f"adapter {identifier} is larger than any adapter"):
        read_adapter(folder, identifier)
    with pytest.raises(InvalidInput, match="takes at most"):
        write_adapter(folder, {f"{LAYER}.down": torch.ones(2, 999), f"{LAYER}.up": torch.ones(8, 2)}, CARD)


def test_an_adapter_that_is_not_there_is_named(folder):
    with pytest.raises(ModelUnavailable, match=f"adapter {'a' * 32} is not among this server's adapters"):
        read_adapter(folder, "a" * 32)


@pytest.mark.parametrize("identifier", ["..", "../../etc/passwd", "cells", "A" * 32, "a" * 31, "", "a" * 32 + "\n"])
def test_an_id_that_is_none_never_becomes_a_path(identifier, folder):
    with pytest.raises(ModelUnavailable, match="32 hex digits"):
        read_adapter(folder, identifier)
    with pytest.raises(ModelUnavailable, match="32 hex digits"):
        AdapterShelf(folder).summary(identifier)


@pytest.mark.parametrize(
    ("tensors", "changes", "said"),
    [
        (TENSORS, {"format": 2}, "is of format 2, and this version reads 1"),
        (DECODER, {}, "holds less than an adapter of kind 'lora'"),
        (TENSORS | DECODER, {}, "mask_decoder.iou_token.weight is no part of an adapter of kind 'lora'"),
        (TENSORS, {"config": {"kind": "decoder"}}, "holds less than an adapter of kind 'decoder'"),
        (TENSORS | DECODER, {"config": {"kind": "decoder"}}, "qkv.q.down is no part of an adapter of kind 'decoder'"),
        ({"vision_encoder.pos_embed": torch.ones(2)}, {"config": {"kind": "decoder"}}, "no part of a mask decoder"),
        ({"mask_decoder.conv_s0.bias": torch.ones(2)}, {"config": {"kind": "decoder"}}, "no part of a mask decoder"),
        (TENSORS, {"config": {"kind": "huge"}}, "kind is 'huge'"),
        (TENSORS, {"config": {"kind": "lora", "code": "x"}}, "unknown field 'code'"),
        (TENSORS, {"config": {"kind": "lora", "rank": "2"}}, "rank is '2'"),
        (TENSORS, {"config": []}, "config is no object"),
        (TENSORS, {"base": 3}, "has a malformed card"),
        (TENSORS, {"metrics": 3}, "has a malformed card"),
        (TENSORS | {f"{LAYER}.up": torch.full((8, 2), torch.nan)}, {}, "qkv.q.up holds a number that is not finite"),
        (TENSORS | {f"{LAYER}.up": torch.ones(8, 2, dtype=torch.int64)}, {}, "holds no floating-point numbers"),
    ],
)
def test_a_file_whose_content_is_not_what_it_says_is_refused_with_the_reason(tensors, changes, said, folder):
    identifier = planted(folder, tensors, **changes)
    with pytest.raises(ModelUnavailable, match=said) as caught:
        read_adapter(folder, identifier)
    assert identifier in str(caught.value)
    assert str(folder) not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 a zip file",
        (2**63).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (200_000).to_bytes(8, "little") + b"[" * 200_000,
        save(TENSORS),
        save(TENSORS, {"maskwright_adapter": "no json"}),
        save(TENSORS, {"maskwright_adapter": "[1]"}),
    ],
    ids=["nothing", "zip", "endless header", "empty", "list", "deep", "no card", "no json", "no object"],
)
def test_a_file_that_is_no_adapter_is_refused(content, folder):
    identifier = plant(folder, content)
    with pytest.raises(ModelUnavailable, match=f"adapter {identifier} is no adapter of Maskwright"):
        read_adapter(folder, identifier)


def test_a_pickle_is_never_opened(folder, tmp_path):
    import pickle

    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    identifier = plant(folder, pickle.dumps(Bomb()))
    with pytest.raises(ModelUnavailable, match="no adapter of Maskwright"):
        read_adapter(folder, identifier)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("tensors", "card", "said"),
    [
        ({}, CARD, "holds less"),
        (DECODER, CARD, "holds less"),
        ({**TENSORS, f"{LAYER}.up": torch.full((8, 2), torch.inf)}, CARD, "not finite"),
        (TENSORS, replace(CARD, metrics={"loss": float("nan")}), "no JSON values"),
        (TENSORS, replace(CARD, metrics={"loss": object()}), "no JSON values"),
    ],
)
def test_what_could_not_be_read_is_not_written(tensors, card, said, folder):
    with pytest.raises(InvalidInput, match=said):
        write_adapter(folder, tensors, card)
    assert not folder.exists()


def test_a_shelf_reads_a_file_once_until_it_changes(folder, written, monkeypatch):
    read, shelf = [], AdapterShelf(folder)
    monkeypatch.setattr("maskwright.models.adapters.shelf.read_summary", lambda *a: read.append(a) or read_summary(*a))
    assert all(shelf.summary(written, base=BASE) == read_summary(folder, written) for _ in range(5))
    assert len(read) == 1
    with pytest.raises(ModelUnavailable, match="another base"):
        shelf.summary(written, base="other")
    (folder / f"{written}.safetensors").write_bytes(b"altered")
    with pytest.raises(ModelUnavailable, match="cut short"):
        shelf.summary(written)
    assert shelf.ids() == (written,)


def test_writers_of_one_adapter_do_not_disturb_each_other(folder):
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda _: write_adapter(folder, TENSORS, CARD), range(16)))
    assert len(ids) == len(list(folder.iterdir())) == 1
    read_adapter(folder, ids.pop(), base=BASE)


def test_a_writer_killed_half_way_leaves_no_adapter_and_is_cleaned_up_after(folder, written):
    code = (
        "import os, signal, torch; from pathlib import Path\n"
        "from maskwright.models.adapters import files; from maskwright.models.adapters.config import AdapterConfig\n"
        "os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"tensors = {{'{LAYER}.down': torch.ones(2, 8), '{LAYER}.up': torch.ones(8, 2)}}\n"
        f"card = files.AdapterCard('base', AdapterConfig('lora', rank=2))\n"
        f"files.write_adapter(Path({str(folder)!r}), tensors, card)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -9
    shelf = AdapterShelf(folder)
    assert len(list(folder.iterdir())) == 2
    assert shelf.ids() == (written,)
    assert shelf.sweep() == 0
    assert shelf.sweep(older_than_s=0) == 1
    assert [path.stem for path in folder.iterdir()] == [written]


def test_a_summary_imports_no_torch(folder, written):
    code = (
        "import sys; from pathlib import Path; from maskwright.models.adapters.shelf import AdapterShelf\n"
        f"assert AdapterShelf(Path({str(folder)!r})).summary({written!r}).touches_encoder\n"
        "assert not {'torch', 'transformers', 'peft'} & set(sys.modules), 'heavy imports'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
