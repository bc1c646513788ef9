"""What training promises for every family: it learns, it is repeatable, it can be killed, it can be stopped."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from maskwright.errors import Cancelled, InvalidInput
from maskwright.learn.training.options import TrainingConfig
from maskwright.learn.training.records import TrainingImage, TrainingObject
from maskwright.learn.training.steps import answer, begin, correct, leaves
from maskwright.learn.training.train import train
from maskwright.learn.training.trainable import trainable_of
from maskwright.learn.training.validation import Validation, spared
from maskwright.learn.training.views import View, Views
from maskwright.masks import Mask
from maskwright.models.adapters.attaching import attach
from maskwright.models.adapters.config import AdapterConfig
from maskwright.models.adapters.merging import adapted
from maskwright.models.registry import ModelRegistry
from maskwright.settings import Settings

ALL = ["sam", "sam-hq", "sam2", "sam3"]
QUICK = TrainingConfig(adapter=AdapterConfig("decoder"), steps=4, rate=1e-3)


def measured(segmenter, images, trained=None):
    """Mean IoU of boxes and first clicks."""
    trainable = trainable_of(segmenter)
    if trained is not None:
        trainable = trainable.around(adapted(segmenter.network, trained.adapter, trained.tensors))
    return Validation(trainable, Views(images, trainable, frozen=True, budget=2**30, seed=0, mirrored=False), 0)()


def mean_loss(segmenter, images, adapter, tensors=None):
    """Of the same objects, pointed at in the same ways."""
    base = trainable_of(segmenter)
    trainable = base.around(attach(base.network, adapter, start=tensors))
    found = []
    for view in Views(images, trainable, frozen=False, budget=2**30, seed=0, mirrored=False).listed:
        for seed in range(4):
            with leaves(trainable.encode(view.pixels())) as encoded:
                found.append(correct(trainable, encoded, view, np.random.default_rng(seed)))
    return sum(found) / len(found)


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_a_decoder_learns_four_pictures_by_heart(tiny, threads, drawn):
    images = [drawn(n) for n in range(4)]
    sam = tiny("sam")
    trained = train(sam, images, TrainingConfig(adapter=AdapterConfig("decoder"), steps=280, rate=6e-3))
    assert measured(sam, images) < 0.5
    assert measured(sam, images, trained) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ALL)
@pytest.mark.parametrize("kind", ["lora", "both"])
def test_an_encoder_learns(tiny, scheme, kind, threads, drawn):
    images = [drawn(n) for n in range(2)]
    config = TrainingConfig(adapter=AdapterConfig(kind), steps=30, rate=3e-3, gradient_checkpointing=kind == "lora")
    trained = train(tiny(scheme), images, config)
    assert all(tensor.any() for name, tensor in trained.tensors.items() if name.endswith(".up"))
    if kind == "both":  # what a random decoder makes of other features cannot be learnt to be better
        before, after = (mean_loss(tiny(scheme), images, config.adapter, t) for t in (None, trained.tensors))
        assert after < before
    adapted(tiny(scheme).network, trained.adapter, trained.tensors)


@pytest.mark.parametrize("scheme", ["sam", "sam2"])
def test_recomputed_activations_give_the_same_gradients(tiny, scheme, drawn):
    config = TrainingConfig(adapter=AdapterConfig("lora"), steps=2, rate=1e-3)
    one, two = (
        train(tiny(scheme), [drawn(0)], dataclasses.replace(config, gradient_checkpointing=again))
        for again in (False, True)
    )
    for name, tensor in one.tensors.items():
        torch.testing.assert_close(tensor, two.tensors[name], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_six_pictures_of_a_kind_help_the_embedded_model_with_others(embedded, threads, drawn):
    learnt, others = [drawn(n, (80, 96), 3) for n in range(6)], [drawn(n, (80, 96), 3) for n in range(50, 56)]
    trained = train(embedded, learnt, TrainingConfig(steps=12))
    assert trained.adapter.kind == "decoder"
    assert measured(embedded, others, trained) > measured(embedded, others)


@pytest.mark.parametrize("scheme", [*ALL, "embedded"])
def test_equal_seeds_teach_the_same_and_the_base_stays(tiny, embedded, scheme, drawn):
    segmenter = embedded if scheme == "embedded" else tiny(scheme)
    before = {name: tensor.clone() for name, tensor in segmenter.network.state_dict().items()}
    config = dataclasses.replace(QUICK, steps=2, adapter=AdapterConfig("decoder" if scheme == "embedded" else "both"))
    one, two = (train(segmenter, [drawn(0), drawn(1, is_new=False)], config) for _ in range(2))
    assert all(torch.equal(tensor, two.tensors[name]) for name, tensor in one.tensors.items())
    other = train(segmenter, [drawn(0), drawn(1, is_new=False)], dataclasses.replace(config, seed=1))
    assert any(not torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items())
    assert all(torch.equal(tensor, before[name]) for name, tensor in segmenter.network.state_dict().items())
    assert all(not parameter.requires_grad for parameter in segmenter.network.parameters())


@pytest.mark.parametrize(("kind", "most"), [("decoder", 2 * 3), ("both", None)])
def test_a_frozen_encoder_sees_every_picture_once_and_once_mirrored(tiny, kind, most, drawn):
    sam, passes = tiny("sam"), []
    encoder = trainable_of(sam).encoder()
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda module, *_: passes.append(module) if type(module) is type(encoder) else None
    )
    try:
        train(sam, [drawn(n) for n in range(3)], TrainingConfig(adapter=AdapterConfig(kind), steps=20, rate=1e-3))
    finally:
        hook.remove()
    assert len(passes) == 20 if most is None else 3 <= len(passes) <= most


def test_memory_for_embeddings_is_kept(tiny, drawn):
    trainable = trainable_of(tiny("sam"))
    images = [drawn(n) for n in range(5)]
    size = trainable.encode(images[0].pixels()).nbytes
    views = Views(images, trainable, frozen=True, budget=3 * size, seed=0)
    assert len(views.listed) == 3
    assert not any(view.mirrored for view in views.listed)
    assert Views(images, trainable, frozen=True, budget=1, seed=0).listed


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
from maskwright.models.registry import ModelRegistry
from maskwright.settings import Settings
from maskwright.learn.training.options import TrainingConfig
from maskwright.learn.training.train import train
from maskwright.models.adapters.attaching import attach
from maskwright.models.adapters.config import AdapterConfig
from conftest import drawn
torch.set_num_threads(1)
home = Path(sys.argv[3]).parent
registry = ModelRegistry(Settings(home=home, device="cpu", cpu_threads=1, offline=True, _env_file=None))
config = TrainingConfig(adapter=AdapterConfig("both"), steps=9, rate=1e-3, checkpoint_every_s=1e-9)
def told(progress):
    if progress.step == 5:
        os.kill(os.getpid(), 9)
train(registry.segmenter(sys.argv[2]), [drawn(n, is_new=n < 5) for n in range(9)], config,
      checkpoint=Path(sys.argv[3]), progress=told)
"""


def test_a_killed_run_goes_on_and_ends_the_same(tiny_folders, tmp_path, threads, drawn):
    uri, path = f"sam:{tiny_folders['sam']}", tmp_path / "run" / "state.safetensors"
    found = subprocess.run(
        [sys.executable, "-c", KILLED, os.path.dirname(__file__), uri, str(path)],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert found.returncode == -9, found.stderr
    assert path.is_file()
    registry = ModelRegistry(Settings(home=tmp_path, device="cpu", cpu_threads=1, offline=True, _env_file=None))
    config = TrainingConfig(adapter=AdapterConfig("both"), steps=9, rate=1e-3, checkpoint_every_s=1e-9)
    images = [drawn(n, is_new=n < 5) for n in range(9)]
    steps = []
    gone_on = train(registry.segmenter(uri), images, config, checkpoint=path, progress=lambda p: steps.append(p.step))
    assert steps[0] in (5, 6)  # the state was written before the fifth step
    assert not path.exists()
    whole = train(registry.segmenter(uri), images, config)
    assert [look["step"] for look in gone_on.curve] == [look["step"] for look in whole.curve]
    assert all(torch.equal(tensor, gone_on.tensors[name]) for name, tensor in whole.tensors.items())


def test_cancelled_training_leaves_its_state_and_goes_on(tiny, tmp_path, drawn):
    path, images, seen = tmp_path / "state.safetensors", [drawn(n) for n in range(2)], []
    with pytest.raises(Cancelled, match="after 2 of 4 steps"):
        train(tiny("sam2"), images, QUICK, checkpoint=path, progress=seen.append, cancelled=lambda: len(seen) == 2)
    assert path.is_file()
    seen.clear()
    gone_on = train(tiny("sam2"), images, QUICK, checkpoint=path, progress=seen.append)
    assert [progress.step for progress in seen] == [3, 4]
    whole = train(tiny("sam2"), images, QUICK)
    assert all(torch.equal(tensor, gone_on.tensors[name]) for name, tensor in whole.tensors.items())


@pytest.fixture
def left(tiny, tmp_path, drawn):
    """A checkpoint of a run that was cancelled after one step, and its images."""
    path, images, seen = tmp_path / "state.safetensors", [drawn(n) for n in range(2)], []
    with pytest.raises(Cancelled):
        train(tiny("sam"), images, QUICK, checkpoint=path, progress=seen.append, cancelled=lambda: bool(seen))
    return path, images


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-7],
        lambda content: content[:-5] + bytes([content[-5] ^ 1]) + content[-4:],
        lambda content: b"\xff" * 30,
        lambda content: content[:8] + b"[" + content[9:],
    ],
    ids=["empty", "cut", "altered", "noise", "header"],
)
def test_a_damaged_checkpoint_is_passed_over(tiny, left, damage, caplog):
    path, images = left
    path.write_bytes(damage(path.read_bytes()))
    steps = []
    train(tiny("sam"), images, QUICK, checkpoint=path, progress=lambda p: steps.append(p.step))
    assert steps[0] == 1
    assert "damaged" in caplog.text


@pytest.mark.parametrize("other", ["seed", "images", "start"])
def test_a_checkpoint_of_another_run_is_passed_over(tiny, left, other, caplog):
    path, images = left
    caplog.set_level("INFO")
    config, start, steps = QUICK, None, []
    if other == "seed":
        config = dataclasses.replace(QUICK, seed=3)
    elif other == "images":
        images = images[:1]
    else:
        start = train(tiny("sam"), images, QUICK).tensors
    train(tiny("sam"), images, config, start=start, checkpoint=path, progress=lambda p: steps.append(p.step))
    assert steps[0] == 1
    assert "of another config" in caplog.text


def test_training_goes_on_from_an_earlier_adapter(tiny, drawn):
    sam, images = tiny("sam"), [drawn(0)]
    first = train(sam, images, QUICK)
    kept = train(sam, images, dataclasses.replace(QUICK, steps=1, rate=1e-12), start=first.tensors)
    for name, tensor in kept.tensors.items():
        torch.testing.assert_close(tensor, first.tensors[name], rtol=1e-4, atol=1e-6)


def test_an_earlier_adapter_of_another_kind_is_left_behind_or_refused(tiny, caplog, drawn):
    sam, images = tiny("sam"), [drawn(0)]
    caplog.set_level("INFO")
    encoder = train(sam, images, dataclasses.replace(QUICK, steps=1, adapter=AdapterConfig("lora")))
    found = train(sam, images, TrainingConfig(steps=1), start=encoder.tensors)
    assert found.adapter.kind == "decoder"
    assert "begins at the base" in caplog.text
    with pytest.raises(InvalidInput, match="no part of an adapter"):
        train(sam, images, QUICK, start=encoder.tensors)


@pytest.mark.slow
def test_deleted_proposals_come_to_be_expected_less(embedded, threads, drawn):
    whole = drawn(0, (80, 96), 3)
    plain = dataclasses.replace(whole, objects=whole.objects[:2])
    image = dataclasses.replace(plain, negatives=(whole.objects[2].mask,))
    trainable = trainable_of(embedded)

    def expected(trained):
        own = trainable.around(adapted(embedded.network, trained.adapter, trained.tensors))
        pointing = begin(own, View(whole, False), whole.objects[2], None, boxes=True)
        with torch.no_grad():
            return float(answer(own, own.encode(whole.pixels()), [pointing], False).iou[0, 0])

    config = TrainingConfig(steps=10)
    assert expected(train(embedded, [image], config)) < expected(train(embedded, [plain], config)) - 0.1


def test_images_without_objects_teach_by_what_was_deleted(tiny, drawn):
    bare = TrainingImage("00", drawn(0).pixels, (), (drawn(0).objects[0].mask,))
    assert train(tiny("sam2"), [drawn(1), bare], QUICK).steps == 4


@pytest.mark.parametrize(("looks", "steps"), [([0.7, 0.75, 0.74, 0.6], 25), ([0.7, 0.75, 0.74, 0.735], 30)])
def test_training_ends_early_when_it_clearly_gets_worse_and_not_by_noise(tiny, drawn, monkeypatch, looks, steps):
    told = iter(looks + looks[-1:] * 9)
    monkeypatch.setattr(Validation, "__call__", lambda _: next(told))
    images = [drawn(n) for n in range(40)]
    assert train(tiny("sam"), images, dataclasses.replace(QUICK, steps=30)).steps == steps


def test_validation_images_are_not_learnt_from(drawn):
    images = [drawn(n) for n in range(60)]
    learnt, validation = spared(images)
    assert len(validation) == 8
    assert {i.key for i in learnt} | {i.key for i in validation} == {i.key for i in images}
    assert not {i.key for i in learnt} & {i.key for i in validation}
    assert {i.key for i in spared(images[::-1])[1]} == {i.key for i in validation}
    assert len(spared(images[:40])[1]) == 6
    assert spared(images[:39])[1] == []


def test_progress_and_curve_say_where_training_is(tiny, drawn):
    seen = []
    trained = train(tiny("sam"), [drawn(n) for n in range(40)], QUICK, progress=seen.append)
    assert [p.step for p in seen] == [1, 2, 3, 4]
    assert all(p.steps == 4 and p.validation_iou is not None for p in seen)
    assert seen[-1].seconds_left == 0
    assert [look["step"] for look in trained.curve] == [0, 4]
    assert all(0 <= look["validation_iou"] <= 1 for look in trained.curve)
    assert trained.steps == 4
    assert trained.seconds > 0


def test_time_is_kept(tiny, drawn):
    trained = train(tiny("sam"), [drawn(0)], dataclasses.replace(QUICK, steps=10**6, seconds=1.5))
    assert 0 < trained.steps < 10**5


def test_a_mask_of_another_size_is_refused(tiny, drawn):
    wrong = TrainingImage("ab" * 32, drawn(0).pixels, (TrainingObject(Mask.full((30, 30))),))
    with pytest.raises(InvalidInput, match="image abababababab: a mask of"):
        train(tiny("sam"), [wrong], QUICK)


def test_masks_too_small_to_be_seen_are_left_out(tiny):
    dot = np.zeros((3000, 3000), dtype=bool)
    dot[1000, 1000] = True
    image = TrainingImage(
        "00", lambda: np.zeros((3000, 3000, 3), dtype=np.uint8), (TrainingObject(Mask.from_array(dot)),)
    )
    with pytest.raises(InvalidInput, match="nothing to learn from"):
        train(tiny("sam"), [image], QUICK)


def test_nothing_to_learn_from_is_said(tiny, drawn):
    with pytest.raises(InvalidInput, match="nothing to learn from"):
        train(tiny("sam"), [TrainingImage("00", drawn(0).pixels, ())], QUICK)


def test_a_model_without_weights_is_refused(tmp_path, drawn):
    registry = ModelRegistry(Settings(home=tmp_path, device="cpu", offline=True, _env_file=None))
    with pytest.raises(InvalidInput, match="takes no adapters"):
        train(registry.segmenter("classical"), [drawn(0)])


@pytest.mark.parametrize(
    "field", [{"seed": -1}, {"steps": 0}, {"rate": 0.0}, {"seconds": float("nan")}, {"cache_mib": 0}]
)
def test_a_config_out_of_bounds_is_refused(field):
    with pytest.raises(InvalidInput, match="training"):
        TrainingConfig(**field)


def test_the_played_person_sees_what_the_service_would_show(embedded, drawn):
    image = drawn(0)
    trainable = trainable_of(embedded)
    (view,) = Views([image], trainable, frozen=True, budget=2**30, seed=0, mirrored=False).listed
    pointing = begin(trainable, view, image.objects[0], None, boxes=False)
    with torch.no_grad():
        encoded = trainable.encode(view.pixels())
        answer(trainable, encoded, [pointing], False)
    (embedding,) = embedded.encode([image.pixels()])
    shown = embedded.decode(embedding, [pointing.prompt(False)], multimask_output=True)
    best = int(shown.predicted_iou[0].argmax())
    mask = embedded.upsample(embedding, shown.low_res_logits[0, best]).to_array()
    assert np.abs((trainable.share(mask) >= 0.5).astype(int) - pointing.found).mean() < 0.02
