"""Dense features of CLIP without training: its image encoder's last blocks, with tokens that attend to their likes.

CLIP's own last attention mixes every place with places that have nothing to do with it, because only the pooled vector
was trained. MaskCLIP (Zhou et al., ECCV 2022) lets each token keep its own value; GEM (Bousselham et al., CVPR 2024),
SCLIP (Wang et al., ECCV 2024), NACLIP (Hajimiri et al., WACV 2025) and ClearCLIP (Lan et al., ECCV 2024) let it attend
to tokens with similar queries, keys or values. They differ in few choices, which ``Method`` holds; the ordinary network
runs untouched beside, and what the new path needs of it is read by hooks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from maskwright.models.checkpoints import Checkpoint
from maskwright.models.dense.hooks import Recorder
from maskwright.models.dense.input_grid import CLIP_MEAN, CLIP_STD, InputGrid, slide
from maskwright.models.dense.phrases import IMAGENET_TEMPLATES, PhraseVectors
from maskwright.models.device import ComputeDevice
from maskwright.models.protocols import RGB
from maskwright.models.stages import StageDescription
from maskwright.models.transformers_loading import load_pretrained

Operand = Literal["queries", "keys", "values"]


@dataclass(frozen=True)
class Method:
    """One way to read dense features from CLIP.

    Attributes:
        operands: Which projections tokens are compared by, each with itself; none = every token keeps its own value.
        blocks: How many of the last blocks have the new path beside them.
        normalised: GEM's form: tokens are scaled to length 1, the temperature is their mean length before the
            projections over the root of a head's width, and one round of attention on the operand itself comes first.
        averaged: Whether the answers of several operands are averaged; else added.
        spread: Deviation in patches of a Gaussian around each token that is added to the scores; 0 = none.
        residual: Whether the path adds to what came before.
        mlp: Whether the block's second half follows.
        templates: Sentences for the classes.
    """

    operands: tuple[Operand, ...] = ()
    blocks: int = 1
    normalised: bool = False
    averaged: bool = False
    spread: float = 0.0
    residual: bool = False
    mlp: bool = False
    templates: tuple[str, ...] = IMAGENET_TEMPLATES


def attend(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    method: Method,
    *,
    length: torch.Tensor | float = 1.0,
    nearness: torch.Tensor | None = None,
) -> torch.Tensor:
    """Values mixed by likeness.

    Args:
        queries: (B, heads, N, d).
        keys: The same shape.
        values: The same shape.
        method: How.
        length: Mean length of the tokens before they were projected, of a shape that broadcasts; for ``normalised``.
        nearness: (N, N) added to the scores, or None.

    Returns:
        (B, heads, N, d).
    """
    if not method.operands:
        return values
    scale = length * queries.shape[-1] ** -0.5 if method.normalised else queries.shape[-1] ** -0.5
    given = {"queries": queries, "keys": keys, "values": values}
    answers = []
    for name in method.operands:
        operand = given[name]
        if method.normalised:
            operand = normalize(operand, dim=-1)
            operand = normalize(torch.softmax(scale * operand @ operand.mT, dim=-1) @ operand, dim=-1)
        scores = scale * operand @ operand.mT
        answers.append(torch.softmax(scores if nearness is None else scores + nearness, dim=-1) @ values)
    mixed = torch.stack(answers).sum(dim=0)
    return mixed / len(answers) if method.averaged else mixed


def gaussian_nearness(cells: tuple[int, int], spread: float) -> torch.Tensor:
    """(1 + h * w, 1 + h * w) float32: exp(-distance^2 / (2 spread^2)) of patches; 0 for the class token, the first."""
    rows, columns = torch.meshgrid(*(torch.arange(side, dtype=torch.float32) for side in cells), indexing="ij")
    places = torch.stack([rows.reshape(-1), columns.reshape(-1)], dim=1)
    near = torch.exp(-(torch.cdist(places, places) ** 2) / (2 * spread**2))
    return torch.nn.functional.pad(near, (1, 0, 1, 0))


class DenseCLIP:
    """CLIP's dense features under one method. Thread-safe.

    Args:
        model: ``CLIPModel`` or ``MetaClip2Model``.
        phrases: Its vectors of phrases.
        grid: How it sees images.
        method: How features are read.
        description: Name and version.
        device: Where it runs.
    """

    def __init__(
        self,
        model: Any,
        phrases: PhraseVectors,
        grid: InputGrid,
        method: Method,
        description: StageDescription,
        device: ComputeDevice,
    ) -> None:
        self.name, self.version = description.name, description.version
        self._model, self._phrases, self._grid, self._method, self._device = model, phrases, grid, method, device
        layers = model.vision_model.encoder.layers
        self._blocks = layers[-min(method.blocks, len(layers)) :]
        first = len(layers) - len(self._blocks)
        modules = {"input": layers[first - 1] if first else model.vision_model.pre_layrnorm}
        for index, block in enumerate(self._blocks):
            attention = block.self_attn
            modules |= {f"normed {index}": block.layer_norm1, f"values {index}": attention.v_proj}
            modules |= {f"queries {index}": attention.q_proj, f"keys {index}": attention.k_proj}
        self._recorder = Recorder(modules)

    def features(self, image: RGB) -> NDArray[np.float32]:
        """See ``protocols.DenseFeatures``: a vector for every patch, averaged over sliding windows."""
        return slide(image, self._grid, self._encode, at_once=self._device.prompts_per_pass)

    def text(self, phrases: Sequence[str]) -> NDArray[np.float32]:
        """See ``protocols.DenseFeatures``."""
        return self._phrases(phrases)

    def _encode(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        vision, device = self._model.vision_model, self._device
        with self._recorder.recording() as seen, device.encoder_inference():
            vision(pixel_values=torch.from_numpy(pixels).to(device.torch), interpolate_pos_encoding=True)
        cells = pixels.shape[2] // self._grid.patch, pixels.shape[3] // self._grid.patch
        with device.inference():
            tokens = self._path({name: value.float() for name, value in seen.items()}, cells)
            vectors = self._model.visual_projection(vision.post_layernorm(tokens))[:, 1:]
            unit: NDArray[np.float32] = normalize(vectors, dim=-1).cpu().numpy()
        return unit.reshape(len(pixels), *cells, -1)

    def _path(self, seen: dict[str, torch.Tensor], cells: tuple[int, int]) -> torch.Tensor:
        """(B, 1 + h * w, width) tokens at the end of the path beside the ordinary one."""
        method, tokens = self._method, seen["input"]
        nearness = gaussian_nearness(cells, method.spread).to(tokens.device) if method.spread else None
        for index, block in enumerate(self._blocks):
            length = seen[f"normed {index}"].norm(dim=-1).mean(dim=-1)[:, None, None, None]
            queries, keys, values = (
                torch.stack(seen[f"{name} {index}"].chunk(block.self_attn.num_heads, dim=-1), dim=1)
                for name in ("queries", "keys", "values")
            )
            mixed = attend(queries, keys, values, method, length=length, nearness=nearness)
            answer = block.self_attn.out_proj(mixed.transpose(1, 2).flatten(2))
            tokens = tokens + answer if method.residual else answer
            if method.mlp:
                tokens = tokens + block.mlp(block.layer_norm2(tokens))
        return tokens


def load_dense_clip(
    checkpoint: Checkpoint, description: StageDescription, device: ComputeDevice, method: Method
) -> DenseCLIP:
    """Load a CLIP checkpoint with its tokenizer.

    Raises:
        ModelUnavailable: If weights are missing, or the preprocessor configuration is malformed.
    """
    from transformers import AutoModel, AutoTokenizer

    model = load_pretrained(AutoModel, checkpoint, device)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.path, local_files_only=True)
    longest = model.config.text_config.max_position_embeddings

    def tokenize(sentences: list[str]) -> Any:
        return tokenizer(sentences, padding=True, truncation=True, max_length=longest, return_tensors="pt")

    def encode(tokens: Any) -> torch.Tensor:
        with device.inference():
            inputs = {key: tokens[key].to(device.torch) for key in ("input_ids", "attention_mask")}
            found: torch.Tensor = model.get_text_features(**inputs).pooler_output
        return found

    grid = InputGrid.of_checkpoint(model.config.vision_config.patch_size, checkpoint.processor, CLIP_MEAN, CLIP_STD)
    phrases = PhraseVectors(tokenize, encode, method.templates)
    return DenseCLIP(model, phrases, grid, method, description, device)
