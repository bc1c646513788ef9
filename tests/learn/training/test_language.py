"""Features that are drawn to words: the terms by hand, toys where only words can tell, and the adapter that learns."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from maskwright.errors import Cancelled, InvalidInput
from maskwright.labels import LabelClass, LabelSet
from maskwright.learn.rounds.learning import learn_adapter
from maskwright.learn.settings import LearningSettings
from maskwright.learn.training.guidance import Guidance
from maskwright.learn.training.language import (
    LanguageHead,
    LanguageLoss,
    Target,
    generative_loss,
    language_loss,
    multi_scale_loss,
    triplet_loss,
)
from maskwright.learn.training.options import TrainingConfig
from maskwright.learn.training.records import TrainingImage, TrainingObject
from maskwright.learn.training.train import train
from maskwright.learn.training.trainable import trainable_of
from maskwright.learn.training.views import View
from maskwright.masks import Mask
from maskwright.models.adapters.config import AdapterConfig
from maskwright.models.registry import ModelRegistry
from maskwright.settings import Settings

SIDE, WIDTH = 8, 4


def units(count, seed=0):
    return normalize(torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_the_likelihood_of_a_mask_is_the_mean_over_its_cells_that_have_a_class():
    logits = torch.tensor([[[2.0, 0.0, 5.0]], [[0.0, 1.0, 5.0]]])
    labels = torch.tensor([[0, 0, -1]])
    expected = (np.log(1 + np.exp(-2)) + np.log(1 + np.exp(1))) / 2
    assert float(generative_loss(logits, labels)) == pytest.approx(expected, rel=1e-5)
    assert float(generative_loss(logits, torch.full((1, 3), -1))) == 0
    assert float(generative_loss(torch.full_like(logits, -np.inf), torch.full((1, 3), -1))) == 0
    assert float(multi_scale_loss([logits, logits, logits], labels)) == pytest.approx(1.75 * expected, rel=1e-5)


def test_a_region_is_pushed_from_the_hardest_class_that_is_present_until_the_margin_is_met():
    vectors = torch.eye(WIDTH)
    regions = torch.tensor([[0.5, 0.4, 0.45, 0.0], [0.0, 1.0, 0.0, 0.0]], requires_grad=True)
    loss = triplet_loss(regions, torch.tensor([0, 1]), vectors, 0.2)
    assert float(loss.detach()) == pytest.approx(
        (0.2 + 0.4 - 0.5) / 2
    )  # the third class is nearer, but not in the picture
    loss.backward()
    torch.testing.assert_close(regions.grad, torch.tensor([[-0.5, 0.5, 0, 0], [0.0, 0, 0, 0]]))
    step = 1e-3
    for place in range(WIDTH):
        moved = regions.detach().clone()
        moved[0, place] += step
        change = (triplet_loss(moved, torch.tensor([0, 1]), vectors, 0.2) - loss.detach()) / step
        assert float(change) == pytest.approx(float(regions.grad[0, place]), abs=1e-3)
    assert float(triplet_loss(regions.detach(), torch.tensor([1, 1]), vectors, 0.2)) == 0


def test_classes_under_other_numbers_have_the_same_logits():
    words = [units(3, 1), units(1, 2), units(2, 3)]
    features = [torch.randn(1, 5, 6, 6), torch.randn(1, 7, 3, 3)]
    one, two = LanguageHead([5, 7], words), LanguageHead([5, 7], [words[2], words[0], words[1]])
    places, each = one(features)
    assert places.shape == (WIDTH, 6, 6)
    assert [level.shape for level in each] == [(WIDTH, 6, 6)] * 2
    again, _ = two(features)
    first, second = one.logits(places, one.class_vectors(places)), two.logits(again, two.class_vectors(again))
    torch.testing.assert_close(first, second[[1, 2, 0]])


class Toy:
    """Features are a fixed mixture of what the words of the cell's class say, and noise that all classes share."""

    def __init__(self, classes, seed=0):
        self.words = units(classes, seed + 10)
        generator = torch.Generator().manual_seed(seed)
        self.mixture = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator))[0]
        self.generator = generator

    def picture(self, first, second):
        labels = torch.full((SIDE, SIDE), first)
        labels[:, SIDE // 2 :] = second
        clean = self.mixture @ self.words[labels].permute(2, 0, 1).reshape(WIDTH, -1)
        noise = 0.05 * torch.randn(clean.shape, generator=self.generator)
        shares = torch.stack([(labels == number).float() for number in (first, second)])
        features = [(clean + noise).reshape(1, WIDTH, SIDE, SIDE)]
        return features, Target(labels, shares, torch.tensor([first, second]))


def learnt(toy, seen, *, learnt_classes, loss, steps=190):
    head = LanguageHead([WIDTH], list(toy.words[:, None]), learnt_classes=learnt_classes)
    optimizer, rng = torch.optim.Adam(head.parameters(), lr=0.03), np.random.default_rng(0)
    for _ in range(steps):
        first, second = rng.choice(seen, 2, replace=False)
        optimizer.zero_grad()
        language_loss(head, *toy.picture(int(first), int(second)), loss).backward()
        optimizer.step()
    return head


def accuracy(head, toy, classes):
    """Of cells of classes that nobody showed, all of them being possible."""
    right = []
    for first, second in zip(classes[::2], classes[1::2], strict=True):
        features, target = toy.picture(first, second)
        with torch.no_grad():
            places, _ = head(features)
            logits = head.logits(places, head.class_vectors(places))[list(classes)]
        right.append((torch.tensor(classes)[logits.argmax(dim=0)] == target.labels).float().mean())
    return float(torch.stack(right).mean())


@pytest.mark.parametrize("triplet", [0.0, 0.5])
def test_only_words_tell_apart_classes_that_nobody_has_shown(triplet):
    toy, seen, unseen = Toy(12), list(range(8)), [8, 9, 10, 11]
    loss = LanguageLoss(triplet=triplet)
    guided = learnt(toy, seen, learnt_classes=False, loss=loss)
    assert accuracy(guided, toy, unseen) > 0.99
    alone = learnt(toy, seen, learnt_classes=True, loss=loss)
    assert accuracy(alone, toy, seen) > 0.99
    assert accuracy(alone, toy, unseen) < 0.6


def two_classes(number):
    """Stripes across and stripes down, in the same two colours, so that no colour tells them apart."""
    rng = np.random.default_rng(number)
    pixels = np.full((64, 48, 3), 40, dtype=np.uint8)
    pixels[2:30:4, 4:44], pixels[34:62, 4:44:4] = 200, 200
    pixels = (pixels + rng.integers(0, 20, pixels.shape)).astype(np.uint8)
    across, down = (Mask.from_box(box, (64, 48)) for box in ((4, 2, 44, 30), (4, 34, 44, 62)))
    objects = (TrainingObject(across, "across"), TrainingObject(down, "down"))
    return TrainingImage(f"{number:064x}", lambda: pixels, objects)


WORDS = {"across": units(2, 5).numpy(), "down": units(3, 6).numpy()}
GUIDED = TrainingConfig(adapter=AdapterConfig("lora"), steps=4, rate=1e-3, language=1.0)


def test_objects_lie_where_the_features_show_them_in_padded_and_mirrored_pictures(tiny):
    trainable, image = trainable_of(tiny("sam")), two_classes(0)
    encoded = trainable.encode(image.pixels())
    guidance = Guidance(trainable, encoded, WORDS, 1.0, 0)
    (features,) = guidance._features(encoded)
    rows, columns = features.shape[2:]
    assert (rows, columns) == (encoded.features["image_embeddings"].shape[2], round(rows * 48 / 64))
    for mirrored in (False, True):
        target = guidance._target(View(image, mirrored), (rows, columns))
        assert (target.labels[1 : rows // 2 - 1, 1:-1] == 0).all()
        assert (target.labels[rows // 2 + 1 : -1, 1:-1] == 1).all()
        assert target.classes.tolist() == [0, 1]


@pytest.mark.parametrize("scheme", ["sam", "sam-hq", "sam2", "sam3"])
def test_guidance_changes_what_an_encoder_learns_and_its_switch_is_off(tiny, scheme):
    images = [two_classes(n) for n in range(2)]
    plain = dataclasses.replace(GUIDED, steps=2, language=0.0)
    without = train(tiny(scheme), images, plain)
    ignored = train(tiny(scheme), images, plain, words=WORDS)
    assert all(torch.equal(tensor, ignored.tensors[name]) for name, tensor in without.tensors.items())
    guided = train(tiny(scheme), images, dataclasses.replace(plain, language=1.0), words=WORDS)
    assert guided.tensors.keys() == without.tensors.keys()
    assert any(not torch.equal(tensor, without.tensors[name]) for name, tensor in guided.tensors.items())


def test_a_cancelled_guided_run_goes_on_and_ends_the_same(tiny, tmp_path):
    path, images, seen = tmp_path / "state.safetensors", [two_classes(n) for n in range(2)], []
    with pytest.raises(Cancelled):
        train(tiny("sam"), images, GUIDED, words=WORDS, checkpoint=path, progress=seen.append,
              cancelled=lambda: len(seen) == 2)  # fmt: skip
    steps = []
    gone_on = train(tiny("sam"), images, GUIDED, words=WORDS, checkpoint=path, progress=lambda p: steps.append(p.step))
    assert steps == [3, 4]
    whole = train(tiny("sam"), images, GUIDED, words=WORDS)
    assert all(torch.equal(tensor, gone_on.tensors[name]) for name, tensor in whole.tensors.items())


def test_guidance_that_could_teach_nothing_is_refused(tiny, embedded):
    images = [two_classes(0)]
    with pytest.raises(InvalidInput, match="leaves as it is"):
        train(tiny("sam"), images, dataclasses.replace(GUIDED, adapter=AdapterConfig("decoder")), words=WORDS)
    with pytest.raises(InvalidInput, match="leaves as it is"):
        train(embedded, images, GUIDED, words=WORDS)
    for words in (None, {"across": WORDS["across"]}):
        with pytest.raises(InvalidInput, match="two classes"):
            train(tiny("sam"), images, GUIDED, words=words)
    with pytest.raises(InvalidInput, match="one length"):
        train(tiny("sam"), images, GUIDED, words=WORDS | {"down": np.ones((1, 3), np.float32)})
    with pytest.raises(InvalidInput, match="language"):
        TrainingConfig(language=-1.0)


def test_a_round_is_guided_by_the_words_and_descriptors_of_the_project(tiny_folders, tmp_path):
    registry = ModelRegistry(Settings(home=tmp_path, device="cpu", cpu_threads=1, offline=True, _env_file=None))
    images, learnt = [two_classes(0)], []
    described = LabelSet((LabelClass("across", descriptors=("lines from left to right",)), LabelClass("down")))
    plain, alone = LabelSet.of(["across", "down"]), LabelSet.of(["across"])
    for guidance, labels in ((0.0, described), (1.0, described), (1.0, plain), (1.0, alone)):
        learning = LearningSettings(adapter=AdapterConfig("lora").to_json(), steps=2, language_guidance=guidance)
        adapter = learn_adapter(
            registry, f"sam:{tiny_folders['sam']}", images, learning, labels=labels, start=None, parent=None,
            snapshot="0" * 32, checkpoint=tmp_path / "run", progress=lambda at: None, cancelled=lambda: False,
        )  # fmt: skip
        learnt.append(adapter)
    assert len(set(learnt)) == 4, "a single class has nothing to be told from, and is learnt without words"


def test_one_class_alone_has_nothing_to_be_told_from(tiny, caplog):
    caplog.set_level("INFO")
    image = two_classes(0)
    alone = dataclasses.replace(image, objects=image.objects[:1])
    config = dataclasses.replace(GUIDED, steps=1)
    guided = train(tiny("sam"), [alone], config, words=WORDS)
    assert "fewer than two classes" in caplog.text
    plain = train(tiny("sam"), [alone], dataclasses.replace(config, language=0.0))
    assert all(torch.equal(tensor, plain.tensors[name]) for name, tensor in guided.tensors.items())
