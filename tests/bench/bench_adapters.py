"""Serving adapters: what a click costs with one, what memory several cost over one base, what loading one costs.

Random ViT-B weights of the real size for SAM, the shipped weights for the embedded model. A decoder adapter and
low-rank corrections are served merged, and Conv-LoRA works while encoding, so that every ratio should be 1 but for the
noise that the line "base again" shows.

    .venv/bin/python tests/bench/bench_adapters.py [--clicks 20] [--threads 0] [--scheme embedded sam]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maskwright.models.adapters.attaching import attach, trained_parameters, trained_tensors
from maskwright.models.adapters.config import AdapterConfig
from maskwright.models.adapters.files import AdapterCard, write_adapter
from maskwright.models.registry import ModelRegistry
from maskwright.prompts import Prompt
from maskwright.settings import Settings

CONFIGS = {
    "embedded": {"decoder": AdapterConfig("decoder"), "lora": AdapterConfig("lora")},
    "sam": {
        "decoder": AdapterConfig("decoder"),
        "lora": AdapterConfig("lora"),
        "both": AdapterConfig("both"),
        "conv-lora": AdapterConfig("conv-lora"),
    },
}


def click_ms(segmenters: dict[str, Any], picture: np.ndarray, clicks: int) -> dict[str, float]:
    """Median of a click with each, taken in turns so that a busy moment of the machine meets all of them."""
    rng = np.random.default_rng(0)
    base = segmenters["base"]
    shared = base.encode([picture])[0]
    embeddings = {
        name: shared if s.embedding_version == base.embedding_version else s.encode([picture])[0]
        for name, s in segmenters.items()
    }
    spent: dict[str, list[float]] = {name: [] for name in segmenters}
    names = list(segmenters)
    for index in range(clicks + 2):
        x, y = rng.uniform(20, min(picture.shape[:2]) - 20, 2)
        prompt = Prompt.from_points([(float(x), float(y), 1)])
        for name in names[index % len(names) :] + names[: index % len(names)]:
            start = time.perf_counter()
            segmenters[name].decode(embeddings[name], [prompt], multimask_output=True)
            if index >= 2:
                spent[name].append((time.perf_counter() - start) * 1000)
    return {name: statistics.median(values) for name, values in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clicks", type=int, default=20)
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; 0 = one per core")
    parser.add_argument("--scheme", nargs="+", default=list(CONFIGS), choices=list(CONFIGS))
    options = parser.parse_args()
    picture = np.random.default_rng(1).integers(0, 255, (600, 800, 3)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for scheme in options.scheme:
            uri = scheme
            if scheme == "sam":
                from transformers import SamConfig, SamModel

                torch.manual_seed(0)
                SamModel(SamConfig()).save_pretrained(home / "vit-b")
                uri = f"sam:{home / 'vit-b'}"
            registry = ModelRegistry(
                Settings(home=home, device="cpu", cpu_threads=options.threads, offline=True, _env_file=None)
            )
            base: Any = registry.segmenter(uri)
            base_bytes = sum(p.nbytes for p in base.network.parameters())
            held = {p.untyped_storage().data_ptr() for p in base.network.parameters()}
            segmenters: dict[str, Any] = {"base": base}
            print(f"{scheme}: base {base_bytes / 2**20:.1f} MiB in memory")
            for kind, config in CONFIGS[scheme].items():
                learner = attach(base.network, config)
                with torch.no_grad():
                    for parameter in trained_parameters(learner).values():
                        parameter += 0.01 * torch.randn_like(parameter)
                card = AdapterCard(registry.base_identity(uri), config, base.version)
                identifier = write_adapter(registry.adapters.folder, trained_tensors(learner), card)
                size = (registry.adapters.folder / f"{identifier}.safetensors").stat().st_size
                began = time.perf_counter()
                adapted: Any = registry.segmenter(f"{uri}+adapter:{identifier}")
                seconds = time.perf_counter() - began
                own = {
                    p.untyped_storage().data_ptr(): p.untyped_storage().nbytes()
                    for p in adapted.network.parameters()
                    if p.untyped_storage().data_ptr() not in held
                }
                segmenters[kind] = adapted
                print(
                    f"  {kind:10} file {size / 2**20:6.2f} MiB, in memory {sum(own.values()) / 2**20:6.2f} MiB more, "
                    f"ready in {seconds * 1000:.0f} ms"
                )
            segmenters["base again"] = base  # how much of a ratio is noise
            medians = click_ms(segmenters, picture, options.clicks)
            for name, median in medians.items():
                print(f"  click with {name:10} {median:7.2f} ms, {median / medians['base']:.3f} of the base")


if __name__ == "__main__":
    main()
