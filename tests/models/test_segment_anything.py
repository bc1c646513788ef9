"""Original checkpoints answer as the original code does."""

import importlib
import sys
import threading

import numpy as np
import pytest
import torch

from maskwright.errors import ModelUnavailable
from maskwright.models.registry import ModelRegistry
from maskwright.prompts import Prompt

SIZES = {"square": (60, 60), "wide": (45, 150), "tall": (190, 64), "larger than the input": (300, 200), "1x1": (1, 1)}
RUNTIMES = ("segment-anything", "segment-anything-package")


def prompts_for(height, width, rng):
    """(name, Prompt) of every kind; coordinates may lie between pixels."""
    xy = rng.uniform(0, [width, height], (4, 2)).astype(np.float32)
    corners = np.sort(rng.uniform(0, [width, height], (2, 2)), axis=0)
    box = tuple(float(v) for v in corners.ravel())
    labels = np.array([1, 0, 1, 0])
    yield "one click", Prompt(xy[:1], labels[:1])
    yield "clicks", Prompt(xy, labels)
    yield "box", Prompt(box=box)
    yield "box and clicks", Prompt(xy, labels, box=box)


def ask_original(predictor, prompt, multimask_output):
    count = len(prompt.point_labels)
    return predictor.predict(
        point_coords=prompt.point_coords if count else None,
        point_labels=prompt.point_labels.copy() if count else None,
        box=None if prompt.box is None else np.array(prompt.box),
        mask_input=None if prompt.mask_input is None else prompt.mask_input[None],
        multimask_output=multimask_output,
        return_logits=True,
    )


def assert_same_answers(segmenter, predictor, image, seed, tolerance=1e-4, multimasks=(True, False)):
    height, width = image.shape[:2]
    predictor.set_image(image)
    embedding = segmenter.encode([image])[0]
    np.testing.assert_allclose(
        embedding.arrays["image_embeddings"], predictor.features[0].numpy(), atol=tolerance, rtol=1e-4
    )
    for name, prompt in prompts_for(height, width, np.random.default_rng(seed)):
        for multimask in multimasks:
            logits, scores, low_res = ask_original(predictor, prompt, multimask)
            ours = segmenter.decode(embedding, [prompt], multimask_output=multimask)
            assert ours.low_res_logits.shape == (1, *low_res.shape)
            assert low_res.std() > 100 * tolerance, "the comparison would be empty"
            assert np.abs(ours.low_res_logits[0] - low_res).max() < tolerance, name
            assert np.abs(ours.predicted_iou[0] - scores).max() < tolerance, name
            for index in range(len(low_res)):
                assert_same_mask(segmenter.upsample(embedding, ours.low_res_logits[0, index]), logits[index], tolerance)
            again = Prompt(prompt.point_coords, prompt.point_labels, prompt.box, mask_input=ours.low_res_logits[0, -1])
            logits, scores, low_res = ask_original(predictor, again, multimask)
            ours = segmenter.decode(embedding, [again], multimask_output=multimask)
            assert np.abs(ours.low_res_logits[0] - low_res).max() < tolerance, f"{name} with mask_input"
            assert_same_mask(segmenter.upsample(embedding, ours.low_res_logits[0, 0]), logits[0], tolerance)


def assert_same_mask(mask, logits, tolerance):
    """Equal pixels, save where the original's own logit is zero within the tolerance of the comparison."""
    differ = mask.to_array() != (logits > 0)
    assert not differ[np.abs(logits) > tolerance].any()
    assert differ.mean() <= 1e-3 or differ.sum() <= 2


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_an_original_checkpoint_answers_like_the_original_predictor(
    runtime, size, registry, original_sam, segment_anything, picture
):
    model, path = original_sam
    segmenter = registry.segmenter(f"{runtime}:{path}")
    assert_same_answers(segmenter, segment_anything.SamPredictor(model), picture(*size), seed=sum(size))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_logits_alone_are_a_prompt(runtime, registry, original_sam, segment_anything, picture):
    model, path = original_sam
    segmenter = registry.segmenter(f"{runtime}:{path}")
    image = picture(70, 110)
    embedding = segmenter.encode([image])[0]
    logits = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    predictor = segment_anything.SamPredictor(model)
    predictor.set_image(image)
    _, _, low_res = predictor.predict(mask_input=logits[None], multimask_output=True, return_logits=True)
    ours = segmenter.decode(embedding, [Prompt(mask_input=logits)], multimask_output=True)
    assert np.abs(ours.low_res_logits[0] - low_res).max() < 1e-4


def test_both_runtimes_read_the_sizes_off_the_tensors(registry, original_sam, picture):
    _, path = original_sam
    ours, package = (registry.segmenter(f"{runtime}:{path}") for runtime in RUNTIMES)
    assert ours.name == package.name == "sam_small"
    assert ours.version != package.version
    embedding = ours.encode([picture(20, 30)])[0]
    assert embedding.arrays["image_embeddings"].shape == (32, 8, 8)
    assert embedding.input_size == (85, 128)


def test_both_runtimes_serve_threads_without_mixing_images(registry, original_sam, picture):
    _, path = original_sam
    for runtime in RUNTIMES:
        segmenter = registry.segmenter(f"{runtime}:{path}")
        images = [picture(40, 60, seed) for seed in range(4)]
        prompt = Prompt.from_points([(20, 20, 1)])
        expected = [segmenter.decode(segmenter.encode([image])[0], [prompt]).low_res_logits for image in images]
        wrong = []

        def work(index, segmenter=segmenter, images=images, prompt=prompt, expected=expected, wrong=wrong):
            for _ in range(3):
                answer = segmenter.decode(segmenter.encode([images[index]])[0], [prompt]).low_res_logits
                if np.abs(answer - expected[index]).max() > 1e-5:
                    wrong.append(index)

        threads = [threading.Thread(target=work, args=(index % 4,)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


@pytest.mark.parametrize("missing", ["torchvision", "segment_anything"])
def test_the_package_runtime_says_what_to_install(missing, settings, original_sam, monkeypatch):
    _, path = original_sam
    for name in [name for name in sys.modules if name.partition(".")[0] == "segment_anything"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ModelUnavailable, match=rf"{missing} cannot be imported.*pip install.*segment-anything:"):
        ModelRegistry(settings).segmenter(f"segment-anything-package:{path}")


class _Surprise:
    def __reduce__(self):
        return print, ("this must never run",)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_pickle_with_code_is_refused_and_not_run(runtime, registry, tmp_path, segment_anything, capsys):
    path = tmp_path / "evil.pth"
    torch.save({"image_encoder.pos_embed": _Surprise()}, path)
    with pytest.raises(ModelUnavailable, match="holds more than tensors"):
        registry.segmenter(f"{runtime}:{path}")
    assert "must never run" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a checkpoint", "damaged"),
        (b"", "damaged"),
        ({"other": torch.zeros(2)}, "not a checkpoint of segment-anything"),
        ([1, 2], "not a checkpoint of segment-anything"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_named(content, message, registry, tmp_path):
    path = tmp_path / "x.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(ModelUnavailable, match=message):
        registry.segmenter(f"segment-anything:{path}")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_incomplete_checkpoint_is_refused(runtime, registry, original_sam, tmp_path, segment_anything):
    state = torch.load(original_sam[1], weights_only=True)
    del state["mask_decoder.iou_token.weight"]
    torch.save(state, tmp_path / "cut.pth")
    with pytest.raises(ModelUnavailable, match="complete"):
        registry.segmenter(f"{runtime}:{tmp_path / 'cut.pth'}")


@pytest.mark.slow
@pytest.mark.timeout(900)  # encodes of 1024 x 1024: seconds on a free machine, minutes on a crowded one
def test_random_blocks_of_vit_b_answer_like_the_original_predictor(settings, segment_anything, tmp_path, picture):
    """Of the release's sizes but for the depth: a block within windows, one over all, one more."""
    torch.manual_seed(0)
    build = importlib.import_module("segment_anything.build_sam")._build_sam
    model = build(768, 3, 12, (1,)).eval()
    path = tmp_path / "sam_vit_b_short.pth"
    torch.save(model.state_dict(), path)
    segmenter = ModelRegistry(settings).segmenter(f"segment-anything:{path}")
    assert_same_answers(segmenter, segment_anything.SamPredictor(model), picture(270, 480), seed=0, multimasks=(True,))


@pytest.mark.parametrize(
    ("width", "depth", "name"), [(768, 12, "vit_b"), (1024, 24, "vit_l"), (1280, 32, "vit_h"), (48, 3, "vit_48x3")]
)
def test_the_releases_are_recognised_by_their_tensors(width, depth, name, original_sam):
    from dataclasses import replace

    from maskwright.models.segment_anything_weights import architecture_of

    sizes = architecture_of(torch.load(original_sam[1], weights_only=True))
    assert sizes.name == "vit_48x3"
    assert (sizes.heads, sizes.window_side, sizes.global_blocks) == (3, 3, (1,))
    assert replace(sizes, width=width, depth=depth).name == name
