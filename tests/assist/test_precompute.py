"""A whole project ahead of time: resumable, stoppable, honest about the disk, one bad image costs one image."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from maskwright.assist.encoding import EmbeddingService, embedding_key
from maskwright.assist.precompute import ImageSource, click_windows, disk_budget, precompute
from maskwright.assist.prompt_frame import window_for
from maskwright.errors import InvalidInput
from maskwright.prompts import Prompt
from maskwright.store.embeddings import EmbeddingStore

TILE = 256


@pytest.fixture
def open_service(tmp_path):
    made: list[EmbeddingService] = []

    def make(limit: int = 1 << 24, **options) -> EmbeddingService:
        made.append(EmbeddingService(memory_bytes=1 << 20, store=EmbeddingStore(tmp_path / "cache", limit), **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def project(picture):
    def of(count: int, size=(40, 60)) -> list[ImageSource]:
        return [ImageSource(f"{n}.png", lambda n=n: picture(n, (1, 1, 5, 5), size=size)) for n in range(count)]

    return of


def test_every_image_of_a_project_ends_on_the_disk_and_a_click_needs_no_encode(open_service, counting, project):
    service = open_service()
    seen = []
    report = precompute(service, counting, project(12), 12, tile_size=TILE, progress=seen.append)
    assert (report.progress.done, report.progress.encoded, report.progress.failed, report.stopped) == (12, 12, 0, "")
    assert [state.done for state in seen] == list(range(1, 13))
    assert seen[-1].eta_s == 0
    assert seen[5].images_per_second > 0
    service.close()
    again = open_service()
    for source in project(12):
        again.get(counting, source.load())
    assert sorted(counting.encoded) == list(range(12))


def test_started_again_it_encodes_only_what_is_missing(open_service, counting, project):
    precompute(open_service(), counting, project(5), 5, tile_size=TILE)
    report = precompute(open_service(), counting, project(8), 8, tile_size=TILE)
    assert (report.progress.encoded, report.progress.skipped) == (3, 5)
    assert sorted(counting.encoded) == list(range(8))


def test_a_damaged_file_is_found_when_it_is_read_and_encoded_then(open_service, counting, project, tmp_path):
    service = open_service()
    precompute(service, counting, project(1), 1, tile_size=TILE)
    next((tmp_path / "cache").glob("*.safetensors")).write_bytes(b"broken")
    service.get(counting, project(1)[0].load())
    assert counting.encoded == [0, 0]


def test_it_can_be_cancelled_and_taken_up_again(open_service, counting, project):
    service = open_service()
    stop = threading.Event()

    def progress(state) -> None:
        if state.done >= 3:
            stop.set()

    report = precompute(service, counting, project(50), 50, tile_size=TILE, cancelled=stop.is_set, progress=progress)
    assert report.stopped == "cancelled"
    assert 3 <= report.progress.done < 10
    rest = precompute(service, counting, project(50), 50, tile_size=TILE)
    assert rest.progress.done == 50
    assert sorted(counting.encoded) == list(range(50))


def test_cancelling_does_not_wait_for_the_line(open_service, counting, project):
    service = open_service()
    counting.open.clear()
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            precompute, service, counting, project(5), 5, tile_size=TILE, workers=3, cancelled=stop.is_set
        )
        assert counting.entered.acquire(timeout=10)
        stop.set()
        assert running.result(10).stopped == "cancelled"
        counting.open.set()


def test_bad_images_are_named_and_the_rest_is_done(open_service, counting, project):
    def broken():
        raise InvalidInput("not an image")

    def crash():
        raise KeyError("inner detail")

    sources = project(6)
    sources[2] = ImageSource("bad.png", broken)
    sources[4] = ImageSource("worse.png", crash)
    counting.poison = {5}
    report = precompute(open_service(), counting, sources, 6, tile_size=TILE, workers=1)
    assert (report.progress.done, report.progress.encoded, report.progress.failed) == (6, 3, 3)
    assert report.failures == (
        ("bad.png", "not an image"),
        ("worse.png", "internal error (KeyError)"),
        ("5.png", "internal error (ValueError)"),
    )


def test_clicks_are_answered_before_the_rest_of_the_project(open_service, counting, project, picture):
    service = open_service(batch_size=1)
    counting.open.clear()
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(precompute, service, counting, project(20), 20, tile_size=TILE, workers=4)
        assert counting.entered.acquire(timeout=10)
        while service.state()["waiting_background"] < 3:
            time.sleep(0.002)
        clicked = pool.submit(service.get, counting, picture(99))
        while service.state()["waiting_interactive"] < 1:
            time.sleep(0.002)
        counting.open.set()
        clicked.result(10)
        assert running.result(20).progress.encoded == 20
    assert counting.encoded[1] == 99


def test_a_full_line_makes_it_wait_not_fail(open_service, counting, project):
    service = open_service(queue_size=1, batch_size=1)
    report = precompute(service, counting, project(6), 6, tile_size=TILE, workers=4)
    assert (report.progress.encoded, report.progress.failed) == (6, 0)


def test_the_budget_is_known_before_it_starts(open_service, counting):
    small = disk_budget(open_service(1 << 20), counting.embedding_nbytes, 10)
    assert small.images == 10
    assert small.needed_bytes == 10 * small.bytes_per_image
    assert small.bytes_per_image >= counting.embedding_nbytes
    assert small.limit_bytes == 1 << 20
    assert small.free_bytes > 0
    assert small.fits
    assert not disk_budget(open_service(1 << 19), counting.embedding_nbytes, 10).fits
    assert counting.batches == []


def test_without_a_disk_cache_it_is_refused_with_the_setting_to_change(counting, project):
    service = EmbeddingService(memory_bytes=1 << 20)
    for refused in (
        lambda: disk_budget(service, 1, 1),
        lambda: precompute(service, counting, project(1), 1, tile_size=TILE),
    ):
        with pytest.raises(InvalidInput, match="MASKWRIGHT_DISK_CACHE_BYTES"):
            refused()
    service.close()


def test_it_stops_when_the_cache_can_hold_no_more_instead_of_pushing_out_its_own_work(open_service, counting, project):
    service = open_service(4 * (counting.embedding_nbytes + 4096))
    report = precompute(service, counting, project(500), 500, tile_size=TILE, workers=1)
    assert "MASKWRIGHT_DISK_CACHE_BYTES" in report.stopped
    assert 3 < report.progress.done < 500
    assert all(service.is_stored(embedding_key(counting, project(500)[n].load())) for n in range(report.progress.done))


def test_it_stops_when_the_disk_refuses(open_service, counting, project, monkeypatch):
    service = open_service()
    monkeypatch.setattr(EmbeddingStore, "put", lambda *_: False)
    report = precompute(service, counting, project(50), 50, tile_size=TILE, workers=1)
    assert "refuses" in report.stopped
    assert report.progress.done < 10


def test_a_fault_of_the_callers_callback_ends_it(open_service, counting, project):
    def progress(state) -> None:
        raise RuntimeError("the bar broke")

    with pytest.raises(RuntimeError, match="the bar broke"):
        precompute(open_service(), counting, project(50), 50, tile_size=TILE, progress=progress)
    assert len(counting.encoded) < 10


def test_of_a_large_image_every_window_that_a_click_may_need_is_there(open_service, counting, project):
    size = (700, 900)
    service = open_service()
    precompute(service, counting, project(1, size), 1, tile_size=TILE)
    image = project(1, size)[0].load()
    rng = np.random.default_rng(1)
    for x, y in rng.uniform(0, 1, (300, 2)) * [900, 700]:
        window = window_for(Prompt.from_points([(x, y, 1)]), size, TILE)
        assert service.is_stored(embedding_key(counting, image, window))
    assert window in click_windows(size, TILE)
    assert len(click_windows(size, TILE)) == len(set(click_windows(size, TILE)))
