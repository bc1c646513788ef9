"""MiniLM: a six-layer BERT encoder with mean pooling, run straight on its tensors.

transformers has this network too; importing it there costs two seconds and 150 MB, which a server that only compares
class names with tags should not pay. Architecture: Devlin et al. 2019 (post-norm), Wang et al. 2020 (the distilled
sizes), Reimers and Gurevych 2019 (mean pooling and unit length).
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

LAYERS = 6
HEADS = 12
NORM_EPSILON = 1e-12
MAX_TOKENS = 256


class MiniLM:
    """Phrases to unit vectors. Holds nothing but read-only tensors, so threads may share it.

    Args:
        weights: Safetensors file with the tensors of a BERT encoder under their usual names.
        tokenizer: ``tokenizer.json`` beside it.
    """

    def __init__(self, weights: Path, tokenizer: Path) -> None:
        self._tensors = load_file(weights)
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.enable_truncation(max_length=MAX_TOKENS)
        self._tokenizer.enable_padding()

    def __call__(self, phrases: list[str]) -> Tensor:
        """(n, 384) float32, rows of length 1; ``phrases`` must not be empty."""
        encodings = self._tokenizer.encode_batch(phrases)
        ids = torch.tensor([encoding.ids for encoding in encodings])
        real = torch.tensor([encoding.attention_mask for encoding in encodings], dtype=torch.bool)
        with torch.inference_mode():
            states = self._states(ids, real)
            weights = real.unsqueeze(-1).to(states.dtype)
            return functional.normalize((states * weights).sum(dim=1) / weights.sum(dim=1), dim=1)

    def _states(self, ids: Tensor, real: Tensor) -> Tensor:
        """(n, tokens, 384) outputs of the last layer for (n, tokens) ids and a mask of which of them are real."""
        count, length = ids.shape
        table = self._tensors
        x = table["embeddings.word_embeddings.weight"][ids]
        x = x + table["embeddings.position_embeddings.weight"][:length]
        x = self._norm(x + table["embeddings.token_type_embeddings.weight"][0], "embeddings")
        visible = real[:, None, None, :]
        for layer in range(LAYERS):
            name = f"encoder.layer.{layer}"
            query, key, value = (
                self._linear(x, f"{name}.attention.self.{part}").view(count, length, HEADS, -1).transpose(1, 2)
                for part in ("query", "key", "value")
            )
            seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=visible)
            seen = self._linear(seen.transpose(1, 2).flatten(2), f"{name}.attention.output.dense")
            x = self._norm(x + seen, f"{name}.attention.output")
            wide = functional.gelu(self._linear(x, f"{name}.intermediate.dense"))
            x = self._norm(x + self._linear(wide, f"{name}.output.dense"), f"{name}.output")
        return x

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return functional.linear(x, self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self._tensors[f"{name}.LayerNorm.weight"], self._tensors[f"{name}.LayerNorm.bias"]
        return functional.layer_norm(x, weight.shape, weight, bias, NORM_EPSILON)
