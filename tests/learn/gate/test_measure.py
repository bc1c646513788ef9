"""Held-out objects are asked for as a person would, once per image, and what was measured can be resumed."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from maskwright.errors import Cancelled, InvalidInput
from maskwright.learn.gate.asking import PROMPT_TYPES, Asking, HeldOutImage, HeldOutObject
from maskwright.learn.gate.measure import measure
from maskwright.learn.gate.records import Measurement, ObjectRecord
from maskwright.learn.interactive import evaluate_image
from maskwright.masks import Mask
from maskwright.models.protocols import Candidates, ImageEmbedding
from maskwright.models.registry import ModelRegistry
from maskwright.settings import Settings

SIZE = (64, 80)


def disc(y, x, radius, size=SIZE):
    ys, xs = np.mgrid[: size[0], : size[1]]
    return (ys - y) ** 2 + (xs - x) ** 2 < radius**2


def picture(number, size=SIZE):
    """An image with three discs, two of them hardly told from the ground."""
    rng = np.random.default_rng(number)
    pixels = rng.integers(80, 120, (*size, 3)).astype(np.uint8)
    places = [(18, 20, 11), (20, 58, 9), (46, 40, 12)]
    masks = [disc(y + number % 3, x, r) for y, x, r in places]
    for shade, mask in zip((60, 12, 8), masks, strict=True):
        pixels[mask] += np.uint8(shade)
    objects = tuple(HeldOutObject(f"o{n}", "ab"[n % 2], Mask.from_array(m)) for n, m in enumerate(masks))
    return HeldOutImage(f"image{number}", lambda: pixels, objects)


@pytest.fixture(scope="module")
def classical():
    return ModelRegistry(Settings(device="cpu", offline=True, _env_file=None)).segmenter("classical")


class Told:
    """Answers every prompt with the cells of a grid that hold positive clicks, or the box; counts its calls."""

    name = version = embedding_version = "told"
    embedding_nbytes = 0

    def __init__(self):
        self.encoded, self.passes = 0, []

    def encode(self, images):
        self.encoded += len(images)
        return [ImageEmbedding({}, i.shape[:2], i.shape[:2], self.version) for i in images]

    def decode(self, embedding, prompts, *, multimask_output=False):
        self.passes.append(len(prompts))
        assert all(prompt.is_ambiguous for prompt in prompts) == multimask_output
        kinds = 3 if multimask_output else 1
        masks = np.stack([self.mask(prompt, embedding.original_size) for prompt in prompts])
        logits = np.repeat(np.where(masks, 4.0, -4.0)[:, None], kinds, 1).astype(np.float32)
        return Candidates(logits, np.full((len(prompts), kinds), 0.5, np.float32))

    def mask(self, prompt, size):
        found = np.zeros(size, bool)
        if prompt.box is not None:
            x0, y0, x1, y1 = (round(v) for v in prompt.box)
            found[y0:y1, x0:x1] = True
        for x, y in prompt.point_coords[prompt.point_labels == 1].astype(int) // 8 * 8:
            found[y : y + 8, x : x + 8] = True
        return found

    def upsample(self, embedding, low_res_logits):
        return Mask.from_array(low_res_logits > 0)


def test_all_objects_of_an_image_are_answered_in_one_pass_after_one_encoding():
    told = Told()
    found = measure(told, [picture(0), picture(1)])
    assert told.encoded == 2
    assert max(told.passes) == 3
    assert len(told.passes) <= 2 * 21
    assert [(one.image, one.object) for one in found.records] == [
        (f"image{i}", f"o{n}") for i in (0, 1) for n in range(3)
    ]
    assert found.seconds_per_object > 0


def test_answers_are_those_that_an_annotator_gets_one_object_at_a_time(classical):
    image = picture(4)
    found = measure(classical, [image], Asking(jitter=0))
    alone, _ = evaluate_image(classical, image.pixels(), [one.mask for one in image.objects])
    for record, outcome in zip(found.records, alone, strict=True):
        assert record.iou["box"] == pytest.approx(outcome.box.iou)
        assert [record.iou[k] for k in PROMPT_TYPES[1:]] == pytest.approx([q.iou for q in outcome.clicked.reported])
        assert record.boundary_iou == pytest.approx(outcome.clicked.reported[-1].boundary_iou)
        assert (record.clicks85, record.clicks90) == (outcome.clicked.clicks_to(0.85), outcome.clicked.clicks_to(0.9))


def test_measurements_are_the_same_in_any_order_and_with_any_company():
    images = [picture(n) for n in range(4)]
    how = Asking(most_objects=2, seed=5)
    one = measure(Told(), images, how)
    turned = [replace(image, objects=image.objects[::-1]) for image in images[::-1]]
    assert measure(Told(), turned, how).records == one.records
    alone = measure(Told(), images[2:3], how)
    assert alone.records == tuple(record for record in one.records if record.image == "image2")


def test_boxes_are_a_little_off_and_stay_in_the_image():
    whole = HeldOutObject("whole", None, Mask.full(SIZE))
    assert Asking(jitter=0).box("image", whole) == (0, 0, 80, 64)
    for seed in range(50):
        one = picture(0).objects[0]
        box, tight = np.array(Asking(seed=seed, jitter=0.1).box("image", one)), np.array(one.mask.box)
        assert 0 < np.abs(box - tight).max() <= 0.1 * max(tight[2] - tight[0], tight[3] - tight[1])
        x0, y0, x1, y1 = Asking(seed=seed, jitter=0.49).box("image", whole)
        assert 0 <= x0 < x1 <= 80
        assert 0 <= y0 < y1 <= 64


def test_it_goes_on_where_it_was_cut_off():
    images = [picture(n) for n in range(4)]
    parts = []

    def progress(now):
        parts.append(now.part)
        assert (now.done, now.images) == (len(parts), 4)

    with pytest.raises(Cancelled):
        measure(Told(), images, progress=progress, cancelled=lambda: len(parts) == 2)
    stored = json.dumps(parts[0].merged(parts[1]).to_json(), allow_nan=False)
    rest = Told()
    found = measure(rest, images, earlier=Measurement.from_json(json.loads(stored)))
    assert rest.encoded == 2
    assert found.records == measure(Told(), images).records


def test_several_threads_measure_the_same():
    images = [picture(n) for n in range(6)]
    seen = []
    found = measure(Told(), images, workers=3, progress=lambda now: seen.append((now.done, now.images)))
    assert found.records == measure(Told(), images).records
    assert seen == [(n, 6) for n in range(1, 7)]


@pytest.mark.parametrize("workers", [1, 3])
def test_an_image_that_cannot_be_loaded_ends_it_at_once(workers):
    def missing():
        raise InvalidInput("the image is gone")

    told = Told()
    images = [replace(picture(0), key="a", pixels=missing), *(picture(n) for n in range(40))]
    with pytest.raises(InvalidInput, match="gone"):
        measure(told, images, workers=workers)
    assert told.encoded < 40


def test_an_object_that_was_corrected_or_is_gone_is_measured_anew():
    images = [picture(n) for n in range(3)]
    earlier = measure(Told(), images)
    grown = replace(images[1].objects[0], mask=Mask.from_array(disc(20, 20, 14)))
    now = [images[0], replace(images[1], objects=(grown, *images[1].objects[1:]))]
    told = Told()
    found = measure(told, now, earlier=earlier)
    assert told.encoded == 1
    assert found.images == ("image0", "image1")
    assert found.records == measure(Told(), now).records


def test_measurements_of_two_models_or_seeds_are_not_mixed():
    found = measure(Told(), [picture(0)])
    for other in (replace(found, model_version="other"), replace(found, asking=Asking(seed=9))):
        with pytest.raises(InvalidInput, match="cannot be put together"):
            measure(Told(), [picture(0)], earlier=other)
    with pytest.raises(InvalidInput, match="measured twice"):
        found.merged(found)


class Broken(Told):
    """Answers the second object of each pass with no number."""

    def decode(self, embedding, prompts, *, multimask_output=False):
        found = super().decode(embedding, prompts, multimask_output=multimask_output)
        found.low_res_logits[1:2] = np.nan
        found.predicted_iou[1:2] = np.nan
        return found


def test_numbers_that_are_none_are_counted_not_followed():
    found = measure(Broken(), [picture(0)])
    good, bad, _ = found.records
    assert good.not_finite == good.empty == 0
    assert bad.not_finite == bad.empty > 0
    assert math.isnan(bad.predicted["box"])
    assert bad.iou["box"] == 0
    text = json.dumps(found.to_json(), allow_nan=False)
    assert json.dumps(Measurement.from_json(json.loads(text)).to_json()) == text
    predicted, true = found.predictions()
    assert len(predicted) == len(true) < 3 * len(PROMPT_TYPES)


def test_objects_that_cannot_be_asked_for_are_named():
    image = picture(0)
    for mask, told in ((Mask.empty(SIZE), "no pixel"), (Mask.full((5, 5)), "size")):
        wrong = replace(image, objects=(HeldOutObject("o9", None, mask),))
        with pytest.raises(InvalidInput, match=f"image image0, object o9: .*{told}"):
            measure(Told(), [wrong])
    with pytest.raises(InvalidInput, match="same key"):
        measure(Told(), [replace(image, objects=image.objects[:1] * 2)])
    told = Told()
    with pytest.raises(InvalidInput, match="image image0 was given twice"):
        measure(told, [image, image])
    assert told.encoded == 0


def test_images_without_objects_cost_nothing():
    told = Told()
    assert measure(told, [replace(picture(0), objects=())]).records == ()
    assert told.encoded == 0


@pytest.mark.parametrize("wrong", [{"most_objects": 0}, {"most_clicks": 4}, {"jitter": 0.5}])
def test_questions_that_make_no_sense_are_refused(wrong):
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        Asking(**wrong)


def test_what_is_no_measurement_is_not_read():
    good = measure(Told(), [picture(0)]).to_json()
    for wrong in ({}, good | {"records": [{}]}, good | {"asking": {"colour": 1}}):
        with pytest.raises(InvalidInput):
            Measurement.from_json(wrong)
    bad = good["records"][0] | {"iou": dict.fromkeys(PROMPT_TYPES, 1.5)}
    with pytest.raises(InvalidInput, match="IoU is missing or not in"):
        ObjectRecord.from_json(bad)
