"""Every image is encoded once for all who wait, clicks before background work, and nothing waits without a bound."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from maskwright.assist.encode_queue import BATCH_SECONDS, Priority
from maskwright.assist.encoding import EmbeddingService, embedding_key
from maskwright.errors import Busy, Cancelled
from maskwright.store.embeddings import EmbeddingStore


def until(condition, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


@pytest.fixture
def service():
    made: list[EmbeddingService] = []

    def make(**options) -> EmbeddingService:
        made.append(EmbeddingService(**{"memory_bytes": 1 << 20, **options}))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def pool():
    with ThreadPoolExecutor(32) as threads:
        yield threads


def waiting(service, priority=None) -> int:
    state = service.state()
    names = [f"waiting_{p.name.lower()}" for p in Priority if priority in (None, p)]
    return sum(state[name] for name in names)


def test_ten_threads_that_open_one_image_cost_one_encode(service, counting, picture, pool):
    encoding = service()
    counting.open.clear()
    image = picture(5)
    answers = [pool.submit(encoding.get, counting, image) for _ in range(10)]
    until(lambda: next(iter(encoding._flights.values())).waiters == 10)
    counting.open.set()
    embeddings = [answer.result(10) for answer in answers]
    assert counting.encoded == [5]
    assert all(each is embeddings[0] for each in embeddings)
    assert encoding.get(counting, image) is embeddings[0]
    assert encoding.state()["encoded_images"] == 1


def test_images_that_wait_together_share_a_batch_and_each_gets_its_own(service, counting, picture, pool):
    encoding = service(batch_size=4)
    counting.open.clear()
    first = pool.submit(encoding.get, counting, picture(0))
    assert counting.entered.acquire(timeout=10)
    rest = []
    for number in range(1, 7):
        rest.append(pool.submit(encoding.get, counting, picture(number, (number, 1, number + 1, 2))))
        until(lambda number=number: waiting(encoding) == number)
    counting.open.set()
    first.result(10)
    for number, answer in enumerate(rest, start=1):
        assert answer.result(10).arrays["objects"][1, number] == 1
    assert [len(batch) for batch in counting.batches] == [1, 4, 2]


def test_nobody_waits_for_a_batch_to_fill(service, counting, picture):
    started = time.monotonic()
    service(batch_size=64).get(counting, picture(1))
    assert time.monotonic() - started < 1.0


def test_a_slow_encoder_gets_small_batches_so_that_a_click_waits_for_about_a_second(service, counting, picture, pool):
    encoding = service(batch_size=8)
    slow = counting.encode

    def encode(images):
        time.sleep(0.4 * BATCH_SECONDS * len(images))
        return slow(images)

    counting.encode = encode
    answers = [pool.submit(encoding.get, counting, picture(0))]
    until(lambda: encoding.state()["encoded_images"] == 1)
    counting.open.clear()
    answers.append(pool.submit(encoding.get, counting, picture(1)))
    until(lambda: len(counting.batches) == 2)
    answers += [pool.submit(encoding.get, counting, picture(number)) for number in range(2, 6)]
    until(lambda: waiting(encoding) == 4)
    counting.open.set()
    for answer in answers:
        answer.result(20)
    assert [len(batch) for batch in counting.batches] == [1, 1, 2, 2]


def test_one_running_one_queued_ten_more_refused_at_once(service, counting, picture, pool):
    encoding = service(queue_size=1, batch_size=1)
    counting.open.clear()
    running = pool.submit(encoding.get, counting, picture(1, (3, 3, 9, 9)))
    assert counting.entered.acquire(timeout=10)
    queued = pool.submit(encoding.get, counting, picture(2, (5, 5, 8, 8)))
    until(lambda: waiting(encoding) == 1)
    for number in range(3, 13):
        started = time.monotonic()
        with pytest.raises(Busy, match="MASKWRIGHT_QUEUE_SIZE") as refused:
            encoding.get(counting, picture(number))
        assert time.monotonic() - started < 0.1
        assert 1 <= refused.value.retry_after <= 60
    counting.open.set()
    assert running.result(10).arrays["objects"].sum() == 36
    assert queued.result(10).arrays["objects"].sum() == 9
    assert counting.encoded == [1, 2]
    assert encoding.get(counting, picture(3)).original_size == (40, 60)


def test_interactive_work_jumps_the_queue_and_background_work_never_fills_its_line(service, counting, picture, pool):
    encoding = service(queue_size=2, batch_size=1)
    counting.open.clear()
    answers = [pool.submit(encoding.get, counting, picture(0), priority=Priority.BACKGROUND)]
    assert counting.entered.acquire(timeout=10)
    for number in (1, 2):
        answers.append(pool.submit(encoding.get, counting, picture(number), priority=Priority.BACKGROUND))
        until(lambda number=number: waiting(encoding, Priority.BACKGROUND) == number)
    with pytest.raises(Busy):
        encoding.get(counting, picture(3), priority=Priority.BACKGROUND)
    answers.append(pool.submit(encoding.get, counting, picture(4)))
    until(lambda: waiting(encoding, Priority.INTERACTIVE) == 1)
    counting.open.set()
    for answer in answers:
        answer.result(10)
    assert counting.encoded == [0, 4, 1, 2]


def test_a_click_on_an_image_that_waits_in_the_background_moves_it_to_the_front(service, counting, picture, pool):
    encoding = service(batch_size=1)
    counting.open.clear()
    answers = [pool.submit(encoding.get, counting, picture(0), priority=Priority.BACKGROUND)]
    assert counting.entered.acquire(timeout=10)
    for number in (1, 2, 3):
        answers.append(pool.submit(encoding.get, counting, picture(number), priority=Priority.BACKGROUND))
        until(lambda number=number: waiting(encoding, Priority.BACKGROUND) == number)
    answers.append(pool.submit(encoding.get, counting, picture(3)))
    until(lambda: waiting(encoding, Priority.INTERACTIVE) == 1)
    assert waiting(encoding, Priority.BACKGROUND) == 2
    counting.open.set()
    for answer in answers:
        answer.result(10)
    assert counting.encoded == [0, 3, 1, 2]


def test_a_bad_image_costs_one_image_of_its_batch_and_may_be_tried_again(service, counting, picture, pool):
    encoding = service(batch_size=8)
    counting.open.clear()
    counting.poison = {3}
    answers = {0: pool.submit(encoding.get, counting, picture(0))}
    assert counting.entered.acquire(timeout=10)
    for number in (1, 2, 3, 4):
        answers[number] = pool.submit(encoding.get, counting, picture(number))
        until(lambda number=number: waiting(encoding) == number)
    counting.open.set()
    for number, answer in answers.items():
        if number == 3:
            with pytest.raises(ValueError, match="cannot be encoded"):
                answer.result(10)
        else:
            assert answer.result(10).original_size == (40, 60)
    counting.poison = set()
    assert encoding.get(counting, picture(3)).original_size == (40, 60)


def test_two_models_never_share_a_batch(service, make_counting, picture, pool):
    first, second = make_counting("first"), make_counting("second")
    encoding = service()
    first.open.clear()
    answers = [pool.submit(encoding.get, first, picture(0))]
    assert first.entered.acquire(timeout=10)
    for number, segmenter in enumerate([second, first, second], start=1):
        answers.append(pool.submit(encoding.get, segmenter, picture(number)))
        until(lambda number=number: waiting(encoding) == number)
    first.open.set()
    versions = [answer.result(10).model_version for answer in answers]
    assert versions == ["first-1", "second-1", "first-1", "second-1"]
    assert second.batches == [[1, 3]]


def test_who_stops_waiting_takes_the_image_out_of_the_line_unless_someone_else_waits(service, counting, picture, pool):
    encoding = service(batch_size=1)
    counting.open.clear()
    running = pool.submit(encoding.get, counting, picture(0))
    assert counting.entered.acquire(timeout=10)
    stop = threading.Event()
    left = pool.submit(encoding.get, counting, picture(1), cancelled=stop.is_set)
    shared = pool.submit(encoding.get, counting, picture(2), cancelled=stop.is_set)
    until(lambda: waiting(encoding) == 2)
    stays = pool.submit(encoding.get, counting, picture(2))
    until(lambda: sum(flight.waiters for flight in encoding._flights.values()) == 4)
    stop.set()
    for answer in (left, shared):
        with pytest.raises(Cancelled):
            answer.result(10)
    until(lambda: waiting(encoding) == 1)
    counting.open.set()
    running.result(10)
    assert stays.result(10).original_size == (40, 60)
    assert counting.encoded == [0, 2]


def test_memory_stays_within_its_bound(service, counting, picture):
    encoding = service(memory_bytes=5 * 40 * 60)
    for number in range(20):
        encoding.get(counting, picture(number))
        assert encoding.state()["memory_bytes"] <= 5 * 40 * 60
    assert encoding.state()["memory_entries"] == 5


def test_nothing_keeps_an_image_alive_after_its_encode(service, counting, picture):
    encoding = service()
    image = picture(1)
    pixels = weakref.ref(image.pixels)
    encoding.get(counting, image)
    del image
    until(lambda: gc.collect() >= 0 and pixels() is None)


def test_a_window_has_an_embedding_of_its_own_and_the_whole_window_is_the_image(service, counting, picture):
    encoding = service()
    image = picture(1, (10, 5, 20, 15))
    part = encoding.get(counting, image, (10, 5, 20, 15))
    assert part.original_size == (10, 10)
    assert (part.arrays["objects"] == 1).all()
    assert encoding.get(counting, image) is encoding.get(counting, image, (0, 0, 60, 40))
    assert encoding.contains(counting, image)
    assert len(counting.batches) == 2


def test_a_restarted_process_finds_embeddings_on_the_disk(service, counting, picture, tmp_path):
    image = picture(1, (3, 3, 9, 9))
    before = service(store=EmbeddingStore(tmp_path, 1 << 20))
    made = before.get(counting, image)
    before.close()
    after = service(store=EmbeddingStore(tmp_path, 1 << 20))
    assert after.contains(counting, image)
    found = after.get(counting, image)
    assert counting.encoded == [1]
    np.testing.assert_array_equal(found.arrays["objects"], made.arrays["objects"])
    assert (found.original_size, found.input_size, found.model_version) == (
        made.original_size, made.input_size, made.model_version,
    )  # fmt: skip
    assert after.state()["disk_hits"] == 1


def test_a_damaged_file_costs_one_more_encode(service, counting, picture, tmp_path):
    before = service(store=EmbeddingStore(tmp_path, 1 << 20))
    before.get(counting, picture(1))
    before.close()
    path = next(tmp_path.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-1])
    after = service(store=EmbeddingStore(tmp_path, 1 << 20))
    after.get(counting, picture(1))
    assert counting.encoded == [1, 1]


def test_work_that_passes_through_does_not_push_out_what_people_work_on(service, counting, picture, tmp_path):
    encoding = service(memory_bytes=2 * 40 * 60, store=EmbeddingStore(tmp_path, 1 << 20))
    encoding.get(counting, picture(1))
    for number in range(2, 8):
        encoding.get(counting, picture(number), priority=Priority.BACKGROUND, remember=False)
    assert encoding.state()["memory_entries"] == 1
    encoding.flush()
    assert all(encoding.is_stored(embedding_key(counting, picture(number))) for number in range(1, 8))


def test_closing_cancels_what_waits_finishes_what_runs_and_refuses_the_rest(service, counting, picture, pool, tmp_path):
    encoding = service(batch_size=1, store=EmbeddingStore(tmp_path, 1 << 20))
    counting.open.clear()
    running = pool.submit(encoding.get, counting, picture(0))
    assert counting.entered.acquire(timeout=10)
    queued = pool.submit(encoding.get, counting, picture(1))
    until(lambda: waiting(encoding) == 1)
    closing = pool.submit(encoding.close)
    with pytest.raises(Cancelled):
        queued.result(10)
    counting.open.set()
    assert running.result(10).original_size == (40, 60)
    closing.result(10)
    with pytest.raises(Cancelled):
        encoding.get(counting, picture(2))
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    encoding.close()


def test_batches_are_timed(service, counting, picture):
    seen = []
    service(observe=lambda stage, seconds: seen.append((stage, seconds >= 0))).get(counting, picture(1))
    assert seen == [("encode", True)]


def test_many_threads_over_many_images_get_the_right_ones(service, counting, picture, pool):
    encoding = service(memory_bytes=3 * 40 * 60, queue_size=64)

    def ask(turn: int) -> None:
        number = (turn * 13) % 10
        priority = Priority(turn % 2)
        embedding = encoding.get(counting, picture(number, (number, 0, number + 2, 3)), priority=priority)
        assert embedding.arrays["objects"][0, number] == 1
        assert embedding.arrays["objects"].sum() == 6

    for answer in [pool.submit(ask, turn) for turn in range(400)]:
        answer.result(20)
    assert encoding.state()["memory_entries"] <= 3
