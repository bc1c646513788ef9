"""Embeddings on disk: whole or not there, checked when read, bounded, shared, and never in the way."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from maskwright.store.embeddings import EmbeddingKey, EmbeddingStore, StoredArrays


def key(image: str = "image", crop: tuple[int, int, int, int] | None = None, version: str = "v1") -> EmbeddingKey:
    return EmbeddingKey(image, crop, version)


def stored(value: int = 1, count: int = 1000) -> StoredArrays:
    return StoredArrays(
        {"a": np.full((count,), value, np.float32), "b": np.arange(6, dtype=np.int16).reshape(2, 3)},
        {"original_size": [3, 4]},
    )


@pytest.fixture
def store(tmp_path):
    opened = EmbeddingStore(tmp_path / "cache", 1 << 20)
    yield opened
    opened.close()


def files(store_or_folder) -> list[Path]:
    folder = store_or_folder if isinstance(store_or_folder, Path) else store_or_folder._folder
    return sorted(folder.glob("*.safetensors"))


def test_what_was_put_comes_back_read_only_with_its_metadata(store):
    assert store.get(key()) is None
    assert store.put(key(), stored())
    found = store.get(key())
    assert found.metadata == {"original_size": [3, 4]}
    for name, array in stored().arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
        assert found.arrays[name].dtype == array.dtype
        assert not found.arrays[name].flags.writeable


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8),
        arrays_of.arrays(
            st.sampled_from([np.float32, np.float16, np.uint8, np.int64, np.bool_]),
            arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
        ),
        max_size=4,
    )
)
def test_any_arrays_come_back_as_they_were(store, given_arrays):
    assert store.put(key(), StoredArrays(given_arrays))
    found = store.get(key())
    assert found.arrays.keys() == given_arrays.keys()
    for name, array in given_arrays.items():
        assert found.arrays[name].dtype == array.dtype
        assert found.arrays[name].tobytes() == array.tobytes()
        assert found.arrays[name].shape == array.shape


def test_strided_arrays_are_stored_by_value(store):
    strided = np.arange(24, dtype=np.float32).reshape(4, 6)[::2, ::3].T
    store.put(key(), StoredArrays({"a": strided}))
    np.testing.assert_array_equal(store.get(key()).arrays["a"], strided)


def test_image_crop_and_version_each_make_another_key(store):
    keys = [key(), key(image="other"), key(crop=(0, 0, 5, 5)), key(crop=(0, 0, 5, 6)), key(version="v2")]
    for number, each in enumerate(keys):
        store.put(each, stored(number))
    assert [int(store.get(each).arrays["a"][0]) for each in keys] == [0, 1, 2, 3, 4]


def test_it_survives_the_process(tmp_path):
    first = EmbeddingStore(tmp_path / "cache", 1 << 20)
    first.put(key(), stored(7))
    first.close()
    second = EmbeddingStore(tmp_path / "cache", 1 << 20)
    assert key() in second
    assert second.get(key()).arrays["a"][0] == 7
    second.close()


def test_the_least_recently_used_goes_when_the_bound_is_reached(tmp_path):
    probe = EmbeddingStore(tmp_path / "probe", 1 << 20)
    probe.put(key("a"), stored())
    one = probe.nbytes
    probe.close()
    small = EmbeddingStore(tmp_path / "cache", int(3.5 * one))
    for name in "abc":
        small.put(key(name), stored())
    assert small.get(key("a")) is not None
    small.put(key("d"), stored())
    assert [name for name in "abcd" if key(name) in small] == ["a", "c", "d"]
    assert small.nbytes == sum(path.stat().st_size for path in files(small)) == 3 * one
    small.close()


def test_an_embedding_beyond_the_bound_is_not_written(tmp_path):
    tiny = EmbeddingStore(tmp_path / "cache", 100)
    assert not tiny.put(key(), stored())
    assert files(tiny) == []
    tiny.close()


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 60, 200, -1])
def test_a_truncated_file_is_a_miss_and_is_deleted(store, keep):
    store.put(key(), stored())
    path = files(store)[0]
    data = path.read_bytes()
    path.write_bytes(data[:keep])
    assert store.get(key()) is None
    assert not path.exists()
    assert len(store) == 0
    assert store.put(key(), stored(3))
    assert store.get(key()).arrays["a"][0] == 3


def test_any_flipped_byte_is_noticed(store):
    store.put(key(), stored(count=20))
    path = files(store)[0]
    data = path.read_bytes()
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x40
        path.write_bytes(bytes(damaged))
        found = store.get(key())
        # Spaces that pad the header may change without any meaning changing.
        assert found is None or (
            found.metadata == stored().metadata and np.array_equal(found.arrays["a"], stored(count=20).arrays["a"])
        )
        assert found is not None or not path.exists()


def test_hostile_headers_are_a_miss(store):
    store.put(key(), stored())
    path = files(store)[0]
    for header in (
        b"[]",
        b"{}",
        b'{"__metadata__":3}',
        b'{"__metadata__":{"key":1,"signature":2,"metadata":"{"}}',
        b"\xff",
    ):
        path.write_bytes(len(header).to_bytes(8, "little") + header)
        assert store.get(key()) is None
    path.write_bytes(b"\xff" * 64)
    assert store.get(key()) is None


def test_a_file_under_another_keys_name_is_not_served(store):
    store.put(key("one"), stored(1))
    store.put(key("two"), stored(2))
    one, two = store._path(key("one")), store._path(key("two"))
    one.write_bytes(two.read_bytes())
    assert store.get(key("one")) is None
    assert store.get(key("two")).arrays["a"][0] == 2


def test_a_process_killed_while_writing_leaves_nothing_visible(tmp_path):
    script = textwrap.dedent(
        """
        import os, sys
        import numpy as np
        from pathlib import Path
        from maskwright.store import embeddings
        store = embeddings.EmbeddingStore(Path(sys.argv[1]), 1 << 30)
        key = embeddings.EmbeddingKey("image", None, "v1")
        os.fsync = lambda descriptor: os.kill(os.getpid(), 9)
        store.put(key, embeddings.StoredArrays({"a": np.zeros(100000, np.float32)}))
        """
    )
    folder = tmp_path / "cache"
    ended = subprocess.run([sys.executable, "-c", script, str(folder)], check=False)
    assert ended.returncode == -9
    assert len(list(folder.glob("*.partial"))) == 1
    after = EmbeddingStore(folder, 1 << 30)
    assert key() not in after
    assert after.get(key()) is None
    assert len(after) == 0
    after.close()
    partial = next(folder.glob("*.partial"))
    os.utime(partial, (1, 1))
    EmbeddingStore(folder, 1 << 30).close()
    assert not partial.exists()


def test_a_full_disk_is_logged_and_costs_only_the_cache(store, monkeypatch, caplog):
    store.put(key("before"), stored(1))

    def full(*_args) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert not store.put(key("after"), stored(2))
    assert store.get(key("after")) is None
    assert store.get(key("before")).arrays["a"][0] == 1
    assert "No space left" in caplog.text
    assert str(store._folder) not in caplog.text
    monkeypatch.undo()
    assert list(store._folder.glob("*.partial")) == []
    assert store.put(key("after"), stored(2))


def test_a_folder_that_cannot_be_made_serves_without_a_cache(tmp_path, caplog):
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    broken = EmbeddingStore(blocker / "cache", 1 << 20)
    assert not broken.put(key(), stored())
    assert broken.get(key()) is None
    assert key() not in broken
    assert (len(broken), broken.nbytes) == (0, 0)
    broken.discard(key())
    broken.close()


@pytest.mark.parametrize("damage", ["garbage", "gone", "old"])
def test_the_index_is_derived_from_the_files_when_it_is_damaged_or_gone(tmp_path, damage):
    folder = tmp_path / "cache"
    first = EmbeddingStore(folder, 1 << 20)
    for name in "abc":
        first.put(key(name), stored())
    total = first.nbytes
    first.close()
    if damage == "garbage":
        (folder / "index.sqlite3").write_bytes(b"this is not a database" * 300)
    elif damage == "gone":
        for path in folder.glob("index.sqlite3*"):
            path.unlink()
    else:
        with sqlite3.connect(folder / "index.sqlite3") as database:
            database.execute("DELETE FROM files WHERE rowid = 1")
            database.execute("INSERT INTO files VALUES ('00', 5, 5)")
    second = EmbeddingStore(folder, 1 << 20)
    assert (len(second), second.nbytes) == (3, total)
    assert second.get(key("a")) is not None
    second.close()


def test_a_file_deleted_by_someone_else_is_a_miss_and_leaves_the_index(store):
    store.put(key(), stored())
    files(store)[0].unlink()
    assert store.get(key()) is None
    assert len(store) == 0


def test_nothing_is_pickled(store):
    store.put(key(), stored())
    data = files(store)[0].read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert set(header) == {"__metadata__", "a", "b"}
    with pytest.raises(TypeError):
        store.put(key(), StoredArrays({"a": np.array([object()])}))


def test_threads_share_it(store):
    def work(number: int) -> None:
        for turn in range(5):
            name = f"{(number + turn) % 6}"
            found = store.get(key(name))
            if found is None:
                store.put(key(name), stored(int(name)))
            else:
                assert found.arrays["a"][0] == int(name)

    with ThreadPoolExecutor(8) as pool:
        for result in [pool.submit(work, number) for number in range(8)]:
            result.result()
    assert len(store) == 6


def test_two_processes_share_it_within_one_bound(tmp_path):
    script = textwrap.dedent(
        """
        import sys
        import numpy as np
        from pathlib import Path
        from maskwright.store.embeddings import EmbeddingKey, EmbeddingStore, StoredArrays
        store = EmbeddingStore(Path(sys.argv[1]), 400_000)
        seed = int(sys.argv[2])
        for turn in range(120):
            number = (turn * 7 + seed) % 24
            key = EmbeddingKey(str(number), None, "v1")
            found = store.get(key)
            if found is None:
                store.put(key, StoredArrays({"a": np.full(8000, number, np.float32)}))
            else:
                assert found.arrays["a"][0] == number and found.arrays["a"].shape == (8000,)
        store.close()
        """
    )
    folder = tmp_path / "cache"
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(folder), str(seed)], stderr=subprocess.PIPE)
        for seed in (0, 11)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
        assert errors == b""
    after = EmbeddingStore(folder, 400_000)
    assert 1 <= len(after) <= 12
    assert after.nbytes == sum(path.stat().st_size for path in files(folder)) <= 400_000
    after.close()


def test_a_reader_never_sees_half_of_a_rewrite(store):
    """One thread rewrites a key over and over while another reads: every read is whole."""
    store.put(key(), stored(0, 50_000))
    stop = threading.Event()

    def rewrite() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            store.put(key(), stored(turn, 50_000))

    thread = threading.Thread(target=rewrite)
    thread.start()
    try:
        for _ in range(30):
            values = store.get(key()).arrays["a"]
            assert (values == values[0]).all()
    finally:
        stop.set()
        thread.join()
