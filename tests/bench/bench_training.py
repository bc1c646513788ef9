"""Training SAM ViT-B with LoRA and its decoder: ours beside segment-anything's own modules trained the naive way.

Naive: the original package's modules in float32 without a fused attention kernel, plain AdamW, one object at a time,
the encoder run again for each. "Once": the same, but with one encoder pass and one optimizer step for all objects of an
image. Ours: ``learn.training``. All see the same images, the same number of objects, and answer each as often. Weights
are random: only time and memory are measured.

    .venv/bin/python tests/bench/bench_training.py                     # a tiny network on the CPU
    .venv/bin/python tests/bench/bench_training.py --device cuda --size vit-b --images 100
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from maskwright.learn.training.options import TrainingConfig
from maskwright.learn.training.records import TrainingImage, TrainingObject
from maskwright.learn.training.steps import ANSWERS, OBJECTS
from maskwright.learn.training.train import train
from maskwright.masks import Mask
from maskwright.models.adapters.attaching import attach, trained_parameters
from maskwright.models.adapters.config import AdapterConfig
from maskwright.models.registry import ModelRegistry
from maskwright.settings import Settings

ADAPTER = AdapterConfig("both", rank=8)


def package() -> Any:
    """The original package, its torchvision imports met by a stand-in where torchvision is absent."""
    path = Path(__file__).parents[1] / "torchvision_stand_in.py"
    spec = importlib.util.spec_from_file_location("torchvision_stand_in", path)
    assert spec is not None
    assert spec.loader is not None
    stand_in = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stand_in)
    stand_in.install()
    return sys.modules["segment_anything"]


def original(size: str) -> torch.nn.Module:
    """A ``Sam`` of the package with random weights."""
    found = package()
    torch.manual_seed(0)
    if size == "vit-b":
        made: torch.nn.Module = found.sam_model_registry["vit_b"]()
        return made
    modeling = sys.modules["segment_anything.modeling"]
    return modeling.Sam(
        image_encoder=modeling.ImageEncoderViT(
            depth=3, embed_dim=48, img_size=128, mlp_ratio=2, num_heads=3, patch_size=16, qkv_bias=True,
            norm_layer=lambda width: torch.nn.LayerNorm(width, eps=1e-6), use_rel_pos=True,
            global_attn_indexes=[1], window_size=3, out_chans=32,
        ),
        prompt_encoder=modeling.PromptEncoder(
            embed_dim=32, image_embedding_size=(8, 8), input_image_size=(128, 128), mask_in_chans=8
        ),
        mask_decoder=modeling.MaskDecoder(
            num_multimask_outputs=3, transformer_dim=32, iou_head_depth=3, iou_head_hidden_dim=24,
            transformer=modeling.TwoWayTransformer(depth=2, embedding_dim=32, mlp_dim=64, num_heads=8),
        ),
        pixel_mean=[123.675, 116.28, 103.53], pixel_std=[58.395, 57.12, 57.375],
    )  # fmt: skip


def drawn(number: int, side: int) -> TrainingImage:
    """Noise with ``OBJECTS`` bright squares."""
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 160, (side, side, 3)).astype(np.uint8)
    objects = []
    for index in range(OBJECTS):
        y, x = divmod(index, 3)
        inside = np.zeros((side, side), dtype=bool)
        top, left = (y * side) // 2 + side // 8, (x * side) // 3 + side // 20
        inside[top : top + side // 5, left : left + side // 4] = True
        pixels[inside] = 230
        objects.append(TrainingObject(Mask.from_array(inside)))
    return TrainingImage(f"{number:064x}", lambda: pixels, tuple(objects))


@dataclass
class Seen:
    """What the device did meanwhile."""

    seconds: float = 0.0
    busy: float | None = None
    peak_mib: float | None = None


@contextmanager
def watched(device: torch.device) -> Iterator[Seen]:
    """Measure time, and on CUDA the mean utilisation (where pynvml is there) and the peak of memory."""
    seen, over, samples = Seen(), threading.Event(), []

    def sample() -> None:
        while not over.wait(0.2):
            try:
                samples.append(torch.cuda.utilization(device))
            except (ModuleNotFoundError, RuntimeError):
                return

    cuda = device.type == "cuda"
    watcher = threading.Thread(target=sample)
    if cuda:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        watcher.start()
    start = time.perf_counter()
    yield seen
    if cuda:
        torch.cuda.synchronize(device)
    seen.seconds = time.perf_counter() - start
    if cuda:
        over.set()
        watcher.join()
        seen.busy = float(np.mean(samples)) if samples else None
        seen.peak_mib = torch.cuda.max_memory_allocated(device) / 2**20


def naive(sam: Any, images: list[TrainingImage], device: torch.device, *, once: bool) -> int:
    """Train the package's modules, an object or (``once``) an image at a time; returns the number of images."""
    learner: Any = attach(sam, ADAPTER).train()
    optimizer = torch.optim.AdamW(trained_parameters(learner).values(), lr=1e-4, foreach=False)
    side = learner.image_encoder.img_size
    for image in images:
        pixels = torch.from_numpy(image.pixels().copy()).permute(2, 0, 1)[None].float().to(device)
        pixels = (pixels - learner.pixel_mean) / learner.pixel_std
        masks = torch.from_numpy(np.stack([o.mask.to_array() for o in image.objects])).float().to(device)
        for group in [list(range(OBJECTS))] if once else [[index] for index in range(OBJECTS)]:
            features = learner.image_encoder(pixels)
            loss = torch.zeros((), device=device)
            points = torch.zeros(len(group), 0, 2, device=device)
            low: Any = None
            for _ in range(ANSWERS):
                wanted = masks[group]
                new = torch.stack([_inside(mask) for mask in wanted])[:, None]
                points = torch.cat([points, new], dim=1)
                labels = torch.ones(points.shape[:2], device=device)
                sparse, dense = learner.prompt_encoder(points=(points, labels), boxes=None, masks=low)
                logits, iou = learner.mask_decoder(
                    image_embeddings=features,
                    image_pe=learner.prompt_encoder.get_dense_pe(),
                    sparse_prompt_embeddings=sparse,
                    dense_prompt_embeddings=dense,
                    multimask_output=False,
                )
                low = logits.detach()
                large = functional.interpolate(logits, (side, side), mode="bilinear", align_corners=False)
                probability = large[:, 0].sigmoid()
                crossed = functional.binary_cross_entropy_with_logits(large[:, 0], wanted, reduction="none")
                focal = (crossed * (probability - wanted).abs() ** 2).mean()
                both, either = (probability * wanted).sum((1, 2)), (probability + wanted).sum((1, 2))
                dice = (1 - (2 * both + 1) / (either + 1)).mean()
                with torch.no_grad():
                    inside = large[:, 0] > 0
                    reached = (inside & (wanted > 0)).sum((1, 2)) / (inside | (wanted > 0)).sum((1, 2))
                loss = loss + (20 * focal + dice + ((iou[:, 0] - reached) ** 2).mean()) / ANSWERS
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return len(images)


def _inside(mask: torch.Tensor) -> torch.Tensor:
    """xy of a random pixel of a mask."""
    places = mask.nonzero()
    return places[torch.randint(len(places), (1,), device=mask.device)][0].flip(0).float()


def main() -> None:
    """Print images a second, ratios, utilisation and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", choices=("tiny", "vit-b"), default="tiny")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--naive-images", type=int, default=None, help="so many of them; default all")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--checkpointing", action="store_true")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    sam = original(arguments.size)
    images = [drawn(number, sam.image_encoder.img_size) for number in range(arguments.images)]
    config = TrainingConfig(
        adapter=ADAPTER, steps=len(images), compile=arguments.compile, gradient_checkpointing=arguments.checkpointing
    )
    few = images[: arguments.naive_images or len(images)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sam.pth"
        torch.save(sam.state_dict(), path)
        threads = arguments.threads
        settings = Settings(
            home=Path(folder), device=arguments.device, cpu_threads=threads, offline=True, _env_file=None
        )
        segmenter = ModelRegistry(settings).segmenter(f"segment-anything:{path}")
    sam.eval().requires_grad_(False).to(device)
    rates: dict[str, float] = {}
    runs = {
        "naive": (few, lambda chosen: naive(sam, chosen, device, once=False)),
        "once": (few, lambda chosen: naive(sam, chosen, device, once=True)),
        "ours": (images, lambda chosen: train(segmenter, chosen, config).steps),
    }
    for name, (chosen, run) in runs.items():
        run(chosen[:2])  # kernels are chosen and memory is reserved
        with watched(device) as seen:
            count = run(chosen)
        rates[name] = count / seen.seconds
        busy = "" if seen.busy is None else f", device {seen.busy:.0f} % busy"
        peak = "" if seen.peak_mib is None else f", peak {seen.peak_mib:.0f} MiB"
        print(f"{name:6} {rates[name]:8.3f} images/s, {rates[name] / rates['naive']:6.2f} of naive{busy}{peak}")
    print(f"{OBJECTS} objects of every image, {ANSWERS} answers to each; ours validates on spared images besides")


if __name__ == "__main__":
    main()
