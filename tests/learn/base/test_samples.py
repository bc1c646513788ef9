import hashlib
from pathlib import Path

import numpy as np
import pytest

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.learn.base import photographs
from maskwright.learn.base.corpus import PACKAGES, Corpus
from maskwright.learn.base.samples import NAMES, open_sources
from maskwright.learn.base.sampling import LARGEST_SHARE, MOST_MASKS, SMALLEST_SHARE, SMALLEST_SIDE, frame, kept


@pytest.fixture
def sources(free_pictures, nuclei_folder, monkeypatch):
    root, packed = free_pictures
    monkeypatch.setattr(Corpus, "require", lambda self, names: None)
    return lambda: open_sources(nuclei_folder, NAMES, 256, root, packed)


@pytest.mark.parametrize("name", NAMES)
def test_every_sample_keeps_the_rules(sources, name):
    source = sources()[name]
    for seed in range(12):
        sample = source.sample(np.random.default_rng(seed))
        assert sample.source == source.name == name
        assert sample.image.dtype == np.uint8
        assert sample.image.shape[2] == 3
        assert max(sample.image.shape[:2]) == 256
        assert min(sample.image.shape[:2]) >= (SMALLEST_SIDE if name != "drawn" else 100)
        assert 1 <= len(sample.masks) <= MOST_MASKS
        for mask in sample.masks:
            assert mask.shape == sample.image.shape[:2]
            assert mask.dtype == np.bool_
            assert SMALLEST_SHARE <= mask.mean() <= LARGEST_SHARE


@pytest.mark.parametrize("name", NAMES)
def test_the_same_state_gives_the_same_bytes_whatever_was_drawn_before(sources, name):
    fresh, used = sources()[name], sources()[name]
    for seed in range(5):
        used.sample(np.random.default_rng(100 + seed))
    a, b = (source.sample(np.random.default_rng(7)) for source in (fresh, used))
    assert a.image.tobytes() == b.image.tobytes()
    assert [m.tobytes() for m in a.masks] == [m.tobytes() for m in b.masks]
    assert fresh.sample(np.random.default_rng(8)).image.tobytes() != a.image.tobytes()


def test_the_mask_of_a_nucleus_lies_on_the_nucleus(sources):
    source = sources()["nuclei"]
    for seed in range(10):
        sample = source.sample(np.random.default_rng(seed))
        grey = sample.image.astype(float).mean(axis=2)
        inside = np.logical_or.reduce(sample.masks)
        assert abs(grey[inside].mean() - grey[~inside].mean()) > 8


def test_the_mask_of_a_photographed_thing_lies_on_it(sources):
    source, hits = sources()["photographs"], []
    for seed in range(10):
        sample = source.sample(np.random.default_rng(seed))
        spread = [sample.image[where].std(axis=0).mean() for where in (sample.masks[0], ~sample.masks[0])]
        hits.append(spread[0] < spread[1])
    assert all(hits), "the ball is of one colour, its background is noise"


def test_missing_packages_are_named_with_how_to_install_them(tmp_path, free_pictures):
    with pytest.raises(ModelUnavailable, match=r"apt-get install .*gcompris-qt-data") as caught:
        open_sources(None, ["photographs"], root=tmp_path / "nowhere", packed=free_pictures[1])
    assert str(tmp_path) not in str(caught.value)
    with pytest.raises(ModelUnavailable, match="tuxpaint-stamps-default openclipart-png"):
        Corpus(tmp_path / "nowhere").require(["tuxpaint-stamps-default", "openclipart-png"])


def test_a_missing_photograph_is_named_before_anything_is_learnt(free_pictures, monkeypatch):
    monkeypatch.setattr(Corpus, "require", lambda self, names: None)
    root, packed = free_pictures[0], free_pictures[1]
    (root / "usr/share/backgrounds/mate/nature/b.png").unlink()
    with pytest.raises(ModelUnavailable, match=r"1 of 2 are missing, mate-backgrounds:.*b\.png"):
        photographs.Photographs(Corpus(root), packed)
    assert len(photographs.Photographs(Corpus(root), packed, partial=True)) == 1


def test_unknown_sources_and_missing_data_are_refused(tmp_path):
    with pytest.raises(InvalidInput, match="'coco' is not one of nuclei"):
        open_sources(None, ["coco"])
    with pytest.raises(InvalidInput, match="name the folder"):
        open_sources(None, ["nuclei"])
    with pytest.raises(InvalidInput, match=r"instances\.json is not in"):
        open_sources(tmp_path, ["nuclei"])
    with pytest.raises(InvalidInput, match="side: 64"):
        open_sources(tmp_path, [], side=64)


def test_a_photograph_of_another_content_is_not_used(free_pictures):
    corpus, key = Corpus(free_pictures[0]), "mate-backgrounds:/usr/share/backgrounds/mate/nature/b.png"
    content = (free_pictures[0] / "usr/share/backgrounds/mate/nature/b.png").read_bytes()
    assert corpus.photograph(key, hashlib.sha256(content).hexdigest()) == content
    assert corpus.photograph(key, "0" * 64) is None


@pytest.mark.parametrize("key", ["other:/a.png", "mate-backgrounds:/../../etc/passwd", "mate-backgrounds:", "x"])
def test_a_key_that_leaves_its_package_is_refused(key):
    with pytest.raises(InvalidInput, match="PACKAGE:FILE"):
        Corpus(Path("/nowhere")).photograph(key, "0" * 64)


def test_every_package_states_its_licence():
    assert all(package.licence and package.used and name == package.name for name, package in PACKAGES.items())


def test_damaged_annotations_are_named(tmp_path, free_pictures):
    (tmp_path / "bad.gz").write_bytes(b"no")
    with pytest.raises(InvalidInput, match=r"bad\.gz: cannot be read"):
        photographs.Photographs(Corpus(free_pictures[0]), tmp_path / "bad.gz")


def test_the_shipped_annotations_are_readable_and_in_bounds():
    import gzip
    import json

    from maskwright.masks import Mask

    listed = json.loads(gzip.decompress(photographs.PACKED.read_bytes()))["photographs"]
    assert len({(item["source"], item["sha256"]) for item in listed}) == len(listed)
    for item in listed:
        assert item["source"].partition(":")[0] in PACKAGES
        for region in item["regions"]:
            assert 0 < Mask.from_coco(region).area <= region["size"][0] * region["size"][1]


def test_too_small_and_too_large_masks_are_left_out():
    masks = [np.zeros((200, 200), dtype=bool) for _ in range(3)]
    masks[0][:2, :2], masks[1][:50, :50], masks[2][:] = True, True, True
    assert [m.sum() for m in kept(masks, np.random.default_rng(0))] == [2500]
    assert len(kept([masks[1]] * 40, np.random.default_rng(0))) == MOST_MASKS


def test_frames_have_the_side_that_was_asked_for():
    for seed in range(30):
        height, width = frame(np.random.default_rng(seed), 512)
        assert max(height, width) == 512
        assert min(height, width) >= 0.6 * 512 - 1
