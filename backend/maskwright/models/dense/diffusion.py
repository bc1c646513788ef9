"""Where a picture shows the words of a prompt: cross-attention of a diffusion model (diffusers, optional).

The image's latent is noised to one step of the schedule and the UNet runs once, conditioned on a prompt that names the
class. In every cross-attention layer each place attends to the prompt's tokens; the columns of the class's tokens,
averaged over heads, sub-tokens and layers (finer maps counting more), are its map. The self-attention of the finest
layer then carries it to places that belong together (DiffSegmenter, Wang et al., 2023; DiffSeg, Tian et al., CVPR 2024
for the step). Seconds per class even on a GPU: for batches, not for clicks.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate, normalize

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.checkpoints import Checkpoint
from maskwright.models.dense.hooks import Recorder
from maskwright.models.dense.input_grid import InputGrid
from maskwright.models.device import ComputeDevice
from maskwright.models.preprocessing import HALF
from maskwright.models.protocols import RGB
from maskwright.models.stages import StageDescription

Maps = NDArray[np.float32]

BEFORE, AFTER = "a photo of a ", "."
STEP = 0.2
"""Of the noise schedule: 200 of 1,000."""
DRAWS = 4
SPREADS = 1
"""How often self-attention carries a map on."""
SEED = 0


@dataclass(frozen=True, eq=False)
class Parts:
    """The networks of a diffusion model, as diffusers and transformers load them."""

    autoencoder: Any
    network: Any
    scheduler: Any
    text_encoder: Any
    tokenizer: Any


class DiffusionMaps:
    """A diffusion model as a reader of pictures. Thread-safe.

    Args:
        parts: Its networks.
        description: Name and version.
        device: Where they run.
        draws: Draws of noise to average; the seeds are fixed.
    """

    def __init__(
        self, parts: Parts, description: StageDescription, device: ComputeDevice, *, draws: int = DRAWS
    ) -> None:
        self.name, self.version = description.name, description.version
        self._parts, self._device, self._draws = parts, device, draws
        self._lock = threading.Lock()
        latent, coarsest = (
            2 ** (len(part.config.block_out_channels) - 1) for part in (parts.autoencoder, parts.network)
        )
        side = parts.network.config.sample_size * latent
        self._grid = InputGrid(latent * coarsest, HALF, HALF, short_side=side, longest=side, window=None)
        self._layers = {
            name: module
            for name, module in parts.network.named_modules()
            if name.rpartition(".")[2] in ("attn1", "attn2") and hasattr(module, "to_q")
        }
        projections = {
            f"{name}.{kind}": getattr(module, f"to_{kind}")
            for name, module in self._layers.items()
            for kind in ("q", "k")
        }
        blocks = parts.network.up_blocks
        self._recorder = Recorder({**projections, "features": blocks[min(1, len(blocks) - 1)]})

    def features(self, image: RGB) -> Maps:
        """See ``protocols.DenseFeatures``: the UNet's second up block under an empty prompt (DIFT, Tang et al., 2023).

        Comparable with each other, not with words: for those see ``maps``.
        """
        total: torch.Tensor | int = 0
        with self._device.inference():
            latent, states = self._latent(image), self._states(self._tokens([""]))
            for draw in range(self._draws):
                total = total + normalize(self._run(latent, states, draw)["features"].float(), dim=1)
            assert isinstance(total, torch.Tensor)
            found: Maps = normalize(total[0], dim=0).permute(1, 2, 0).cpu().numpy()
        return found

    def text(self, phrases: Sequence[str]) -> Maps:
        """Raises ``InvalidInput``: words meet the picture inside the network; ask ``maps``."""
        raise InvalidInput(
            f"{self.name} has no vectors for phrases ({', '.join(phrases)}); a diffusion model answers with maps"
        )

    def maps(self, image: RGB, phrases: Sequence[str]) -> Maps:
        """Where the image shows each phrase.

        Args:
            image: (H, W, 3) uint8 RGB; its longer side becomes that of the network's square.
            phrases: One or more; what does not fit into the prompt's 77 tokens is cut off.

        Returns:
            (h, w, n) float32 in [0, 1] on a grid laid over the whole image, each map stretched from 0 to 1.

        Raises:
            InvalidInput: If there is no phrase, or one is blank.
        """
        if not phrases or not all(phrase.strip() for phrase in phrases):
            raise InvalidInput("name at least one class, and none of them blank")
        with self._device.inference():
            latent = self._latent(image)
            return np.stack([self._map(latent, " ".join(phrase.split())) for phrase in phrases], axis=-1)

    def _map(self, latent: torch.Tensor, phrase: str) -> Maps:
        tokens, columns = self._tokens([BEFORE + phrase + AFTER]), self._columns(phrase)
        states = self._states(tokens)
        total: torch.Tensor | int = 0
        for draw in range(self._draws):
            seen = self._run(latent, states, draw)
            total = total + self._read(seen, columns, (latent.shape[2], latent.shape[3]))
        assert isinstance(total, torch.Tensor)
        low, high = total.min(), total.max()
        found: Maps = ((total - low) / (high - low).clamp_min(1e-12)).float().cpu().numpy()
        return found

    def _read(self, seen: Mapping[str, torch.Tensor], columns: slice, size: tuple[int, int]) -> torch.Tensor:
        """(h, w) from one run: cross-attention to the columns, carried on by the finest self-attention."""
        total, weights = torch.zeros(size, device=self._device.torch), 0.0
        finest = max(seen[f"{name}.q"].shape[1] for name in self._layers if name.endswith("attn1"))
        carried, layers = None, 0
        for name, layer in self._layers.items():
            queries, keys = (seen[f"{name}.{kind}"].float() for kind in ("q", "k"))
            places = queries.shape[1]
            if name.endswith("attn2"):
                attention = attention_weights(queries, keys, layer.heads, layer.scale)
                own = _grid_of(attention[0, :, columns].mean(dim=1), size)
                weight = math.sqrt(places)
                total = total + weight * interpolate(own[None, None], size, mode="bilinear")[0, 0]
                weights += weight
            elif places == finest:
                attention = attention_weights(queries, keys, layer.heads, layer.scale)[0]
                carried, layers = attention if carried is None else carried + attention, layers + 1
        if carried is None or not weights:
            raise InvalidInput(f"{self.name} has no attention layers to read")
        return carry(total / weights, carried / layers)

    def _run(self, latent: torch.Tensor, states: torch.Tensor, draw: int) -> dict[str, torch.Tensor]:
        """What the UNet's layers answered for one draw of noise."""
        scheduler, device = self._parts.scheduler, self._device
        steps = int(scheduler.config.num_train_timesteps * STEP)
        step = torch.tensor([steps], device=device.torch, dtype=torch.long)
        noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(SEED + draw)).to(latent)
        with self._lock:
            noised = scheduler.add_noise(latent, noise, step)  # moves its tables between devices
        with self._recorder.recording() as seen, device.encoder_inference():
            self._parts.network(noised, step, encoder_hidden_states=states)
        return dict(seen)

    def _latent(self, image: RGB) -> torch.Tensor:
        autoencoder = self._parts.autoencoder
        pixels = torch.from_numpy(self._grid.pixels(image))[None].to(self._device.torch)
        latent: torch.Tensor = autoencoder.encode(pixels).latent_dist.mean * autoencoder.config.scaling_factor
        return latent

    def _tokens(self, texts: list[str]) -> torch.Tensor:
        tokenizer = self._parts.tokenizer
        with self._lock:
            found: torch.Tensor = tokenizer(
                texts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
            )["input_ids"]
        return found.to(self._device.torch)

    def _columns(self, phrase: str) -> slice:
        """Places of a phrase's own tokens in its prompt, which begins with one special token."""
        with self._lock:
            before, both = (
                len(self._parts.tokenizer(text, add_special_tokens=False)["input_ids"])
                for text in (BEFORE.strip(), BEFORE + phrase)
            )
        last = self._parts.tokenizer.model_max_length - 1
        return slice(min(1 + before, last - 1), min(1 + both, last))

    def _states(self, tokens: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self._parts.text_encoder(tokens).last_hidden_state
        return states


def attention_weights(queries: torch.Tensor, keys: torch.Tensor, heads: int, scale: float) -> torch.Tensor:
    """(B, n, m) mean over the heads of ``softmax(q k^T * scale)``, one head at a time to bound memory.

    Args:
        queries: (B, n, heads * d).
        keys: (B, m, heads * d).
        heads: How many.
        scale: Of the scores; d ** -0.5 in most networks.
    """
    total = queries.new_zeros((queries.shape[0], queries.shape[1], keys.shape[1]))
    for query, key in zip(queries.chunk(heads, dim=-1), keys.chunk(heads, dim=-1), strict=True):
        total += torch.softmax(query @ key.mT * scale, dim=-1)
    return total / heads


def carry(values: torch.Tensor, attention: torch.Tensor, times: int = SPREADS) -> torch.Tensor:
    """A map carried along self-attention: ``S^times m``; with S the identity nothing changes.

    Args:
        values: (h, w).
        attention: (n, n) rows that sum to 1, of a grid with the proportions of the map.
        times: How often.

    Returns:
        (h, w), through the grid of the attention where that is coarser.
    """
    size = (values.shape[0], values.shape[1])
    side = math.sqrt(len(attention) / (size[0] * size[1]))
    own = round(size[0] * side), round(size[1] * side)
    small = values if own == size else interpolate(values[None, None], own, mode="area")[0, 0]
    flat = small.reshape(-1)
    for _ in range(times):
        flat = attention @ flat
    carried = flat.reshape(own)
    return carried if own == size else interpolate(carried[None, None], size, mode="bilinear")[0, 0]


def _grid_of(values: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(n,) values of places to the grid with the proportions of ``size`` that has n of them."""
    rows = round(math.sqrt(len(values) * size[0] / size[1]))
    return values.reshape(rows, -1)


def load_diffusion(checkpoint: Checkpoint, description: StageDescription, device: ComputeDevice) -> DiffusionMaps:
    """Load a Stable Diffusion 1 or 2 folder in diffusers' layout, safetensors only.

    Raises:
        ModelUnavailable: If diffusers is not installed, or the folder holds no such model.
    """
    try:
        import diffusers  # type: ignore[import-not-found]
    except ImportError as error:
        raise ModelUnavailable(
            f"model {checkpoint.uri}: diffusion models need diffusers, which is not installed here; "
            "run 'pip install maskwright[diffusion]'"
        ) from error
    from transformers import CLIPTextModel, CLIPTokenizer

    def part(kind: Any, folder: str, **options: Any) -> Any:
        return kind.from_pretrained(checkpoint.path, subfolder=folder, local_files_only=True, **options)

    def network(kind: Any, folder: str) -> Any:
        return part(kind, folder, use_safetensors=True).eval().requires_grad_(False).to(device.torch)

    try:
        parts = Parts(
            network(diffusers.AutoencoderKL, "vae"),
            network(diffusers.UNet2DConditionModel, "unet"),
            part(diffusers.DDPMScheduler, "scheduler"),
            network(CLIPTextModel, "text_encoder"),
            part(CLIPTokenizer, "tokenizer"),
        )
    except OSError as error:
        raise ModelUnavailable(
            f"model {checkpoint.uri}: not a Stable Diffusion folder with the parts vae, unet, scheduler, text_encoder "
            "and tokenizer in safetensors"
        ) from error
    wanted, given = parts.network.config.cross_attention_dim, parts.text_encoder.config.hidden_size
    if wanted != given:
        raise ModelUnavailable(
            f"model {checkpoint.uri}: its network reads texts of width {wanted}, its first encoder writes {given}; "
            "only models with one text encoder are supported (Stable Diffusion 1 and 2)"
        )
    return DiffusionMaps(parts, description, device)
