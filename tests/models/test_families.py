"""Each family of transformers answers through our path as through the plain library call."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from maskwright.errors import InvalidInput
from maskwright.models.protocols import Segmenter
from maskwright.models.registry import ModelRegistry
from maskwright.prompts import Prompt, Scribble

SCHEMES = ("sam", "sam-hq", "sam2", "sam3")
CLASSES = {"sam": "SamModel", "sam-hq": "SamHQModel", "sam2": "Sam2Model", "sam3": "Sam3TrackerModel"}
STATISTICS = {"sam3": ([0.5] * 3, [0.5] * 3)}
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
SIDE = {"sam": 64, "sam-hq": 64, "sam2": 128, "sam3": 112}
HEIGHT, WIDTH = 45, 80


@pytest.fixture(params=SCHEMES)
def scheme(request):
    return request.param


@pytest.fixture
def segmenter(scheme, registry, tiny_folders):
    return registry.segmenter(f"{scheme}:{tiny_folders[scheme]}")


@pytest.fixture
def embedding(segmenter, picture):
    return segmenter.encode([picture(HEIGHT, WIDTH)])[0]


def plain_pixels(scheme, image):
    """The family's documented preprocessing, written with PyTorch only."""
    side, (mean, std) = SIDE[scheme], STATISTICS.get(scheme, IMAGENET)
    height, width = image.shape[:2]
    size = (side, side)
    if scheme in ("sam", "sam-hq"):
        scale = side / max(height, width)
        size = (int(height * scale + 0.5), int(width * scale + 0.5))
    planes = torch.from_numpy(image).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(planes, size, mode="bilinear", antialias=True, align_corners=False)
    values = (resized / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    return torch.nn.functional.pad(values, (0, side - size[1], 0, side - size[0])), size


def plain_answer(scheme, folder, image, prompt, multimask):
    """The plain library call; pixels within one grey level of ours, so the answer is compared on our embedding too."""
    import transformers

    model = getattr(transformers, CLASSES[scheme]).from_pretrained(folder).eval()
    pixels, (height, width) = plain_pixels(scheme, image)
    scale = torch.tensor([width / image.shape[1], height / image.shape[0]], dtype=torch.float64)
    arguments = {}
    if len(prompt.point_labels):
        arguments["input_points"] = (torch.tensor(prompt.point_coords) * scale).float()[None, None]
        arguments["input_labels"] = torch.tensor(prompt.point_labels)[None, None]
    if prompt.box is not None:
        arguments["input_boxes"] = (torch.tensor(prompt.box).reshape(2, 2) * scale).float().reshape(1, 1, 4)
    if prompt.mask_input is not None:
        arguments["input_masks"] = torch.tensor(prompt.mask_input)[None, None]
    with torch.no_grad():
        return model(pixel_values=pixels, multimask_output=multimask, **arguments)


LOGITS = np.random.default_rng(5).normal(size=(32, 32)).astype(np.float32)
PROMPTS = {
    "click": Prompt.from_points([(20.5, 11.25, 1)]),
    "clicks": Prompt.from_points([(20, 11, 1), (60, 40, 0), (70, 3, 1)]),
    "box": Prompt(box=(10, 5, 55.5, 40)),
    "both": Prompt.from_points([(20, 11, 1), (60, 40, 0)], box=(10, 5, 55.5, 40)),
    "click and logits": Prompt(np.array([[20, 11]]), np.array([1]), mask_input=LOGITS),
    "box and logits": Prompt(box=(10, 5, 55.5, 40), mask_input=LOGITS),
    "logits": Prompt(mask_input=LOGITS),
}


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("name", PROMPTS)
def test_our_path_equals_the_plain_library_call(name, multimask, scheme, segmenter, tiny_folders, picture):
    # An image of the input's own size: nothing is resized, so the answers may differ by rounding only.
    side = SIDE[scheme]
    image = picture(side, side, seed=3)
    plain = plain_answer(scheme, tiny_folders[scheme], image, PROMPTS[name], multimask)
    ours = segmenter.decode(segmenter.encode([image])[0], [PROMPTS[name]], multimask_output=multimask)
    assert ours.low_res_logits.shape == (1, 3 if multimask else 1, 32, 32)
    assert plain.pred_masks.std() > 0.01
    np.testing.assert_allclose(ours.low_res_logits[0], plain.pred_masks[0, 0].numpy(), atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(ours.predicted_iou[0], plain.iou_scores[0, 0].numpy(), atol=1e-5, rtol=1e-5)
    presence = getattr(plain, "object_score_logits", None)
    assert (ours.object_score is None) == (presence is None)
    if presence is not None:
        np.testing.assert_allclose(ours.object_score, presence.sigmoid().numpy().ravel(), atol=1e-5)


@pytest.mark.parametrize("size", [(45, 80), (90, 31), (200, 300)], ids=str)
def test_preprocessing_is_the_family_s(size, scheme, segmenter, picture):
    image = picture(*size)
    plain, input_size = plain_pixels(scheme, image)
    ours = segmenter._frame.pixels(image)
    assert segmenter._frame.input_size(size) == input_size
    grey_level = 1 / 255 / 0.22  # resampling kernels may round a pixel to the neighbouring grey level
    assert np.abs(ours - plain[0].numpy()).max() <= grey_level * 1.1
    assert abs((ours - plain[0].numpy()).mean()) < grey_level / 50


def test_it_implements_the_protocol(segmenter, scheme, tiny_folders):
    assert isinstance(segmenter, Segmenter)
    assert segmenter.name == f"tiny-{scheme}"
    assert segmenter.version.startswith(f"tiny-{scheme}-")
    assert segmenter.embedding_version != segmenter.version


def test_an_embedding_is_read_only_host_memory_of_the_size_announced(segmenter, embedding):
    assert embedding.original_size == (HEIGHT, WIDTH)
    assert embedding.nbytes == segmenter.embedding_nbytes
    for array in embedding.arrays.values():
        assert array.dtype == np.float32
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_a_batch_of_images_equals_single_images(segmenter, picture):
    images = [picture(30, 50, 1), picture(64, 64, 2), picture(80, 20, 3)]
    for image, together in zip(images, segmenter.encode(images), strict=True):
        alone = segmenter.encode([image])[0]
        assert (together.original_size, together.input_size) == (alone.original_size, alone.input_size)
        for name, array in alone.arrays.items():
            np.testing.assert_allclose(together.arrays[name], array, atol=1e-5, rtol=1e-4)
    assert segmenter.encode([]) == []


def test_mixed_prompts_in_one_call_equal_single_calls_in_order(segmenter, embedding):
    prompts = [*PROMPTS.values(), Prompt.from_points([(70, 40, 1)]), Prompt(box=(0, 0, 20, 20))] * 5
    together = segmenter.decode(embedding, prompts, multimask_output=True)
    for index, prompt in enumerate(prompts[:9]):
        alone = segmenter.decode(embedding, [prompt], multimask_output=True)
        for repeat in range(index, len(prompts), 9):
            np.testing.assert_allclose(together.low_res_logits[repeat], alone.low_res_logits[0], atol=1e-5, rtol=1e-4)
            np.testing.assert_allclose(together.predicted_iou[repeat], alone.predicted_iou[0], atol=1e-5)
            if alone.object_score is not None:
                np.testing.assert_allclose(together.object_score[repeat], alone.object_score[0], atol=1e-5)


def test_interleaved_clicks_of_threads_belong_to_their_image(segmenter, picture):
    embeddings = segmenter.encode([picture(40, 60, 1), picture(60, 40, 2)])
    prompts = [Prompt.from_points([(float(x), 20.0, 1)]) for x in range(5, 40, 7)]
    expected = [[segmenter.decode(e, [prompt]).low_res_logits for prompt in prompts] for e in embeddings]

    def click(index):
        image, prompt = index % 2, index % len(prompts)
        answer = segmenter.decode(embeddings[image], [prompts[prompt]]).low_res_logits
        return np.abs(answer - expected[image][prompt]).max()

    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(click, range(200))) < 1e-5
    assert np.abs(expected[0][0] - expected[1][0]).max() > 1e-3


def test_no_prompts_give_no_answers(segmenter, embedding):
    answer = segmenter.decode(embedding, [], multimask_output=True)
    assert answer.low_res_logits.shape == (0, 3, 32, 32)
    assert answer.predicted_iou.shape == (0, 3)


def test_a_stroke_answers_like_the_points_that_stand_for_it(segmenter, embedding):
    from maskwright.models.scribbles import scribble_points

    stroke = Scribble(np.array([[5, 5], [40, 20], [70, 10]], dtype=np.float32), positive=False)
    points = scribble_points(stroke, (HEIGHT, WIDTH))
    click = np.array([[30, 30]], dtype=np.float32)
    drawn = Prompt(click, np.array([1]), scribbles=(stroke,))
    clicked = Prompt(np.concatenate([click, points]), np.array([1] + [0] * len(points)))
    first, second = (segmenter.decode(embedding, [prompt]).low_res_logits for prompt in (drawn, clicked))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("prompt", [Prompt(), Prompt(phrase="a cat")])
def test_a_prompt_with_nothing_spatial_is_refused(prompt, segmenter, embedding):
    with pytest.raises(InvalidInput, match="needs a point, a box, a scribble"):
        segmenter.decode(embedding, [PROMPTS["click"], prompt])


def test_logits_of_another_size_are_refused(segmenter, embedding):
    prompt = Prompt(np.array([[1, 1]]), np.array([1]), mask_input=np.zeros((16, 32), np.float32))
    with pytest.raises(InvalidInput, match=r"\(32, 32\)"):
        segmenter.decode(embedding, [prompt])


def test_another_model_s_embedding_is_refused(segmenter, embedding):
    from dataclasses import replace

    with pytest.raises(InvalidInput, match="encode it again"):
        segmenter.decode(replace(embedding, model_version="other-12345678"), [PROMPTS["click"]])


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
    ids=["grey", "alpha", "float", "empty"],
)
def test_an_array_that_is_no_rgb_image_is_refused(image, segmenter):
    with pytest.raises(InvalidInput, match=r"\(H, W, 3\) uint8"):
        segmenter.encode([image])


@pytest.mark.parametrize("size", [(1, 1), (7, 1023), (1023, 7), (1, 3000), (3000, 4000)], ids=str)
def test_odd_sizes_are_answered_with_a_mask_of_their_size(size, segmenter, picture):
    embedding = segmenter.encode([np.resize(picture(32, 32), (*size, 3))])[0]
    prompt = Prompt.from_points([(size[1] / 2, size[0] / 2, 1)])
    answer = segmenter.decode(embedding, [prompt], multimask_output=True)
    masks = [segmenter.upsample(embedding, logits) for logits in answer.low_res_logits[0]]
    assert all(mask.size == size for mask in masks)
    assert np.isfinite(answer.low_res_logits).all()


def test_the_checkpoint_s_own_statistics_are_used(scheme, tiny_folders, settings, tmp_path, picture):
    import json
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(tiny_folders[scheme], folder)
    before = ModelRegistry(settings).segmenter(f"{scheme}:{folder}")
    statistics = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (folder / "preprocessor_config.json").write_text(json.dumps(statistics))
    after = ModelRegistry(settings).segmenter(f"{scheme}:{folder}")
    assert before.embedding_version != after.embedding_version
    white = np.full((4, 4, 3), 255, np.uint8)
    np.testing.assert_allclose(after._frame.pixels(white)[:, 0, 0], [0.9 / 0.4, 0.8 / 0.5, 0.7 / 0.6], rtol=1e-6)
