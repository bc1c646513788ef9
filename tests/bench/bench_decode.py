"""A click on an encoded image, prompt to mask, ours against ``SamPredictor.predict`` on the same random ViT-B weights.

1920x1080, one positive click, three masks, the best one kept. The mask decoder's network is common to both and is
measured apart; what remains is prompt handling and enlarging logits, where ours also run-length encodes its mask.

    .venv/bin/python tests/bench/bench_decode.py [--clicks 20] [--threads 0]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

WIDTH, HEIGHT = 1920, 1080


def median_ms(calls: dict[str, Callable[[int], Any]], times: int) -> dict[str, float]:
    """Median of each, taken in turns so that a busy moment of the machine meets all of them."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for index in range(times + 2):
        for name, call in calls.items():
            start = time.perf_counter()
            call(index)
            if index >= 2:
                spent[name].append((time.perf_counter() - start) * 1000)
    return {name: statistics.median(values) for name, values in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clicks", type=int, default=20)
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; 0 = one per core")
    options = parser.parse_args()
    from torchvision_stand_in import install

    install()
    import segment_anything

    from maskwright.models.registry import ModelRegistry
    from maskwright.prompts import Prompt
    from maskwright.settings import Settings

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    points = rng.uniform([0, 0], [WIDTH, HEIGHT], (64, 2)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "sam_vit_b_random.pth"
        reference = segment_anything.sam_model_registry["vit_b"]().eval()
        torch.save(reference.state_dict(), checkpoint)
        settings = Settings(device="cpu", cpu_threads=options.threads, home=Path(folder))
        segmenter = ModelRegistry(settings).segmenter(f"segment-anything:{checkpoint}")
        embedding = segmenter.encode([picture])[0]
    predictor = segment_anything.SamPredictor(reference)
    # The embedding is shared: the encoder is not what is measured, and takes seconds.
    predictor.reset_image()
    predictor.features = torch.tensor(embedding.arrays["image_embeddings"])[None]
    predictor.original_size, predictor.input_size = (HEIGHT, WIDTH), embedding.input_size
    predictor.is_image_set = True

    def theirs(index: int) -> Any:
        masks, scores, _ = predictor.predict(points[index % 64][None], np.array([1]), multimask_output=True)
        return masks[int(scores.argmax())]

    def ours(index: int) -> Any:
        prompt = Prompt(points[index % 64][None], np.array([1]))
        answer = segmenter.decode(embedding, [prompt], multimask_output=True)
        return segmenter.upsample(embedding, answer.low_res_logits[0, int(answer.predicted_iou[0].argmax())])

    @torch.inference_mode()
    def network(index: int) -> Any:
        coords = torch.tensor(points[index % 64])[None, None]
        sparse, dense = reference.prompt_encoder((coords, torch.ones(1, 1)), None, None)
        image_pe = reference.prompt_encoder.get_dense_pe()
        return reference.mask_decoder(predictor.features, image_pe, sparse, dense, True)

    def upsampled(index: int) -> Any:
        return segmenter.upsample(embedding, smooth)

    @torch.inference_mode()
    def enlarged(index: int) -> Any:
        values = torch.from_numpy(smooth)[None, None].expand(1, 3, -1, -1)
        return reference.postprocess_masks(values, predictor.input_size, predictor.original_size) > 0

    y, x = np.mgrid[:256, :256]
    smooth = (40 - np.hypot(x - 120, y - 70)).astype(np.float32)
    same = [float((theirs(i) == ours(i).to_array()).mean()) for i in range(3)]
    calls = {
        "theirs": theirs,
        "ours": ours,
        "network": network,
        "their enlarging": enlarged,
        "our enlarging": upsampled,
    }
    found = median_ms(calls, options.clicks)
    for name, value in found.items():
        print(f"{name:>16}: {value:8.2f} ms")
    print(f"agreement of pixels: {min(same):.6f}")
    print(f"whole click: theirs / ours = {found['theirs'] / found['ours']:.2f}")
    enlarging = found["their enlarging"] / found["our enlarging"]
    print(
        f"enlarging one object of {segmenter.upsample(embedding, smooth).area} pixels: theirs / ours = {enlarging:.1f}"
    )


if __name__ == "__main__":
    main()
