"""The assistant of one process under many annotators: right masks, one load, one encode, bounded memory."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from maskwright.assist.assistant import Assistant, Priority
from maskwright.assist.preannotate import PreannotationOptions
from maskwright.errors import Busy, Cancelled, InvalidInput, ModelUnavailable
from maskwright.labels import LabelClass, LabelSet
from maskwright.masks import Mask
from maskwright.models.families import ModelDescription
from maskwright.models.registry import ModelRegistry
from maskwright.prompts import Prompt
from maskwright.settings import Settings

A, B = (5, 5, 15, 15), (20, 5, 30, 15)
ON_A, ON_B = (10.0, 10.0), (25.0, 10.0)


class OneModel:
    """The registry's public face over one segmenter."""

    def __init__(self, segmenter, fault: Exception | None = None) -> None:
        self.one, self.fault, self.load_count = segmenter, fault, 0

    def segmenter(self, uri=None):
        if self.fault is not None:
            raise self.fault
        self.load_count = 1
        return self.one

    def describe(self, uri=None):
        return ModelDescription(
            self.one.name, self.one.version + str(uri or ""), self.one.embedding_version, self.one.embedding_nbytes
        )

    def loaded(self):
        return (self.describe(),) if self.load_count else ()


class Classifier:
    """Everything is the first class."""

    name = "first"
    version = "first-1"

    def classify(self, image, masks, phrases):
        table = np.zeros((len(masks), len(phrases)), np.float32)
        table[:, 0] = 1
        return table


@pytest.fixture
def assistant(counting, tmp_path):
    made: list[Assistant] = []

    def make(segmenter=counting, registry=None, **options) -> Assistant:
        settings = Settings(_env_file=None, home=tmp_path / "home", **options)
        made.append(Assistant(settings, registry=registry or OneModel(segmenter), classifier=Classifier()))
        return made[-1]

    yield make
    for each in made:
        each.close()


def click(x: float, y: float) -> Prompt:
    return Prompt.from_points([(x, y, 1)])


def until(condition, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


def test_200_interleaved_clicks_from_8_threads_on_two_images_get_their_own_masks(assistant, counting, picture):
    helper = assistant()
    images = [picture(1, A, B), picture(2, (3, 20, 12, 33), (40, 3, 55, 20))]
    objects = [[A, B], [(3, 20, 12, 33), (40, 3, 55, 20)]]
    jobs = [(which, number) for which in (0, 1) for number in (0, 1)] * 50
    random.Random(3).shuffle(jobs)

    def ask(turn: int) -> None:
        which, number = jobs[turn]
        box = objects[which][number]
        answer = helper.answer(
            images[which], click((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), region_key=f"{which} {turn % 5}"
        )
        assert answer.mask == Mask.from_box(box, (40, 60))

    with ThreadPoolExecutor(8) as pool:
        for result in [pool.submit(ask, turn) for turn in range(200)]:
            result.result(30)
    assert sorted(counting.encoded) == [1, 2]
    assert helper.health()["encoder"]["encoded_images"] == 2


def test_200_interleaved_clicks_on_the_default_engine_load_it_once_and_encode_twice(tmp_path, picture):
    settings = Settings(_env_file=None, home=tmp_path, model="classical", memory_cache_bytes=64 << 20)
    registry = ModelRegistry(settings)
    helper = Assistant(settings, registry=registry, classifier=Classifier())
    boxes = [(8, 8, 30, 30), (50, 40, 85, 70)]
    images = []
    for box in boxes:
        image = picture(1, size=(80, 100))
        pixels = np.full((80, 100, 3), 30, np.uint8)
        pixels[box[1] : box[3], box[0] : box[2]] = (220, 90, 60)
        images.append(type(image)(pixels, f"{box[0]:064d}", f"{box[0]:064d}"))

    def ask(turn: int) -> float:
        box = boxes[turn % 2]
        answer = helper.answer(images[turn % 2], click((box[0] + box[2]) / 2 + turn % 5, (box[1] + box[3]) / 2))
        return answer.mask.iou(Mask.from_box(box, (80, 100)))

    with ThreadPoolExecutor(8) as pool:
        assert min(pool.map(ask, range(200))) > 0.8
    assert registry.load_count == 1
    assert helper.health()["encoder"]["encoded_images"] == 2
    helper.close()


def test_one_running_one_queued_ten_more_refused_with_a_time_to_come_back(assistant, counting, picture):
    helper = assistant(queue_size=1, batch_size=1)
    counting.open.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(helper.answer, picture(1, A), click(*ON_A))
        assert counting.entered.acquire(timeout=10)
        second = pool.submit(helper.answer, picture(2, B), click(*ON_B))
        until(lambda: helper.health()["encoder"]["waiting_interactive"] == 1)
        for number in range(3, 13):
            started = time.monotonic()
            with pytest.raises(Busy) as refused:
                helper.answer(picture(number), click(*ON_A))
            assert time.monotonic() - started < 0.1
            assert refused.value.retry_after >= 1
        counting.open.set()
        assert first.result(10).mask == Mask.from_box(A, (40, 60))
        assert second.result(10).mask == Mask.from_box(B, (40, 60))


def test_an_answer_carries_score_logits_and_the_version_of_the_label_set(assistant, picture):
    helper = assistant()
    labels = LabelSet.of(["cat", "dog"])
    answer = helper.answer(picture(1, A), click(*ON_A), labels=labels, label="cat")
    assert answer.score == pytest.approx(0.9)
    assert answer.low_res_logits.shape == (40, 60)
    assert answer.model_version == helper.model_version(labels)


def test_two_labels_under_one_region_key_keep_their_own_history(assistant, counting, picture):
    helper = assistant()
    image = picture(1, A, B)
    both = Prompt.from_points([(*ON_A, 1), (*ON_B, 1)])
    helper.answer(image, both, region_key="r", label="cat")
    helper.answer(image, both, region_key="r", label="dog")
    assert len(counting.decodes) == 4


def test_the_model_version_changes_with_model_classifier_and_labels_and_loads_nothing(assistant, counting):
    helper = assistant()
    versions = [
        helper.model_version(LabelSet.of(["cat"])),
        helper.model_version(LabelSet.of(["cat", "dog"])),
        helper.model_version(LabelSet.of(["dog", "cat"])),
        helper.model_version(LabelSet((LabelClass("cat", ("tabby",)), LabelClass("dog")))),
        helper.model_version(LabelSet.of(["cat"]), "classical"),
    ]
    assert len(set(versions)) == len(versions)
    assert all(version.startswith("counting-") for version in versions)
    assert versions[0] == helper.model_version(LabelSet.of(["cat"]))
    assert helper.health()["load_count"] == 0


def test_pre_annotation_gives_regions_of_this_version(assistant, picture):
    helper = assistant()
    labels = LabelSet.of(["cat", "dog"])
    options = PreannotationOptions(points_per_side=12, min_area=10, stability_threshold=0.0)
    found = helper.preannotate(picture(1, A, B), labels, options)
    assert {region.mask for region in found.regions} == {Mask.from_box(A, (40, 60)), Mask.from_box(B, (40, 60))}
    assert {region.label for region in found.regions} == {"cat"}
    assert found.model_version == helper.model_version(labels)
    assert 0 <= found.score <= 1
    assert all(region.provenance.model_version == found.model_version for region in found.regions)


def test_pre_annotation_that_is_off_or_has_no_classes_loads_nothing(assistant, counting, picture):
    helper = assistant()
    for labels, options in (
        (LabelSet.of(["cat"]), PreannotationOptions(enabled=False)),
        (LabelSet(()), PreannotationOptions()),
    ):
        assert helper.preannotate(picture(1, A), labels, options).regions == ()
    assert counting.batches == []


def test_a_cancelled_pre_annotation_leaves_the_queue(assistant, counting, picture):
    helper = assistant(batch_size=1)
    counting.open.clear()
    stop = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(helper.answer, picture(1, A), click(*ON_A))
        assert counting.entered.acquire(timeout=10)
        waiting = pool.submit(helper.preannotate, picture(2, A), LabelSet.of(["cat"]), cancelled=stop.is_set)
        until(lambda: helper.health()["encoder"]["waiting_background"] == 1)
        stop.set()
        with pytest.raises(Cancelled):
            waiting.result(10)
        counting.open.set()
        running.result(10)
    assert counting.encoded == [1]


def test_warming_encodes_before_the_first_click(assistant, counting, picture):
    helper = assistant()
    image = picture(1, A)
    assert helper.warm(lambda: image)
    until(lambda: helper.health()["encoder"]["encoded_images"] == 1)
    assert helper.answer(image, click(*ON_A)).mask == Mask.from_box(A, (40, 60))
    assert counting.encoded == [1]


def test_a_click_takes_over_an_image_that_is_being_warmed(assistant, counting, picture):
    helper = assistant(batch_size=1)
    counting.open.clear()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(helper.preannotate, picture(7, A), LabelSet.of(["cat"]))
        assert counting.entered.acquire(timeout=10)
        other = pool.submit(helper.preannotate, picture(8, A), LabelSet.of(["cat"]))
        until(lambda: helper.health()["encoder"]["waiting_background"] == 1)
        helper.warm(lambda: picture(1, A))
        until(lambda: helper.health()["encoder"]["waiting_background"] == 2)
        clicked = pool.submit(helper.answer, picture(1, A), click(*ON_A))
        until(lambda: helper.health()["encoder"]["waiting_interactive"] == 1)
        counting.open.set()
        assert clicked.result(10).mask == Mask.from_box(A, (40, 60))
        first.result(10)
        other.result(10)
    assert counting.encoded == [7, 1, 8]


def test_warming_is_bounded_coalesces_and_survives_images_that_cannot_be_loaded(assistant, counting, picture, caplog):
    helper = assistant(queue_size=2)
    gate = threading.Event()

    def slow():
        assert gate.wait(10)
        return picture(1, A)

    def broken():
        raise InvalidInput("this is no image")

    assert helper.warm(slow, key="one")
    until(lambda: helper.health()["warming"] == 1)
    assert not helper.warm(slow, key="one")
    until(lambda: not helper._warming._pending)
    assert helper.warm(broken, key="two")
    assert helper.warm(lambda: picture(2, A), key="three")
    assert not helper.warm(lambda: picture(3, A), key="four")
    gate.set()
    until(lambda: sorted(counting.encoded) == [1, 2])
    assert "this is no image" in caplog.text


def test_decoded_images_are_shared_and_bounded(assistant, picture):
    helper = assistant(image_cache_bytes=3 * 40 * 60 * 3)
    loads = []

    def load(number):
        loads.append(number)
        time.sleep(0.01)
        return picture(number)

    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(lambda _: helper.image("a", lambda: load(1)), range(8)))
    assert loads == [1]
    assert all(image is images[0] for image in images)
    for number in range(10):
        helper.image(number, lambda number=number: load(number))
        assert helper.health()["images"]["bytes"] <= 3 * 40 * 60 * 3


def test_health_names_why_the_default_model_failed_until_it_works(assistant, counting, picture):
    registry = OneModel(counting, ModelUnavailable("model sam:x: not in the local cache; set MASKWRIGHT_OFFLINE=false"))
    helper = assistant(registry=registry)
    assert "degraded" not in helper.health()
    with pytest.raises(ModelUnavailable):
        helper.answer(picture(1, A), click(*ON_A))
    assert "not in the local cache" in helper.health()["degraded"]
    registry.fault = None
    helper.answer(picture(1, A), click(*ON_A))
    assert "degraded" not in helper.health()
    assert helper.health()["loaded"] == ["counting-v"]


def test_it_works_without_a_disk_cache(assistant, tmp_path, picture):
    helper = assistant(disk_cache_bytes=0)
    helper.answer(picture(1, A), click(*ON_A))
    assert not (tmp_path / "home").exists()


def test_a_restart_finds_the_embeddings_of_the_last_run(assistant, counting, picture):
    first = assistant()
    first.answer(picture(1, A), click(*ON_A))
    first.close()
    second = assistant()
    second.answer(picture(1, A), click(*ON_A))
    assert counting.encoded == [1]


def test_after_closing_it_refuses_and_its_threads_are_gone(assistant, picture):
    before = set(threading.enumerate())
    helper = assistant()
    helper.answer(picture(1, A), click(*ON_A))
    helper.warm(lambda: picture(2, A))
    helper.close()
    helper.close()
    with pytest.raises(Cancelled):
        helper.answer(picture(3, A), click(*ON_A))
    assert not helper.warm(lambda: picture(4, A))
    assert set(threading.enumerate()) <= before


def test_stages_are_timed(counting, tmp_path, picture):
    seen = set()
    helper = Assistant(
        Settings(_env_file=None, home=tmp_path), registry=OneModel(counting), classifier=Classifier(),
        observe=lambda stage, seconds: seen.add(stage),
    )  # fmt: skip
    helper.answer(picture(1, A), click(*ON_A))
    helper.preannotate(picture(1, A), LabelSet.of(["cat"]), priority=Priority.INTERACTIVE)
    helper.close()
    assert seen == {"encode", "mask_decode", "upsample", "answer", "propose", "classify"}


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the process's memory from /proc")
def test_memory_does_not_grow_with_the_number_of_images_and_clicks(assistant, picture):
    """With every cache full, 500 more images and as many regions: nothing may grow with them."""
    helper = assistant(memory_cache_bytes=1 << 20, image_cache_bytes=1 << 20, disk_cache_bytes=1 << 20)
    prompt = Prompt.from_points([(*ON_A, 1), (*ON_B, 1)])

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def work(numbers) -> None:
        for number in numbers:
            shared = helper.image(number, lambda number=number: picture(number % 256, A, B))
            image = type(shared)(shared.pixels, f"{number:064d}", f"{number:064d}")
            helper.answer(image, prompt, region_key=str(number))

    for number in range(1200):
        helper.answer(picture(1, A, B), prompt, region_key=f"region {number}")
    work(range(300))
    helper.embeddings.flush()
    before = resident()
    work(range(300, 800))
    helper.embeddings.flush()
    assert resident() - before < 5 << 20
    assert helper.health()["encoder"]["memory_bytes"] <= 1 << 20
