"""Two-way attention between prompt tokens and image positions, as in SAM's mask decoder (Kirillov et al. 2023).

Queries, keys, values and outputs have projections of their own, so that low-rank adapters can be attached to each.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

HEADS = 4


class Attention(nn.Module):
    """Multi-head attention that works in ``inner`` channels."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(channels, inner)
        self.k_proj = nn.Linear(channels, inner)
        self.v_proj = nn.Linear(channels, inner)
        self.out_proj = nn.Linear(inner, channels)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, absent: Tensor | None = None) -> Tensor:
        """Attend from (B, M, C) to (B, N, C).

        Args:
            query: Where answers are wanted.
            key: What they are looked up by.
            value: What they are made of.
            absent: (B, N) bool, True where a key is padding.
        """
        q, k, v = (self._split(p(x)) for p, x in ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value)))
        seen = None if absent is None else ~absent[:, None, None, :]
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        joined: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return joined

    @staticmethod
    def _split(x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], HEADS, -1).transpose(1, 2)


class TwoWayLayer(nn.Module):
    """Tokens look at each other, then at the image; the image looks at the tokens."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = Attention(channels, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.cross_attn_token_to_image = Attention(channels, channels // 2)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.norm3 = nn.LayerNorm(channels)
        self.cross_attn_image_to_token = Attention(channels, channels // 2)
        self.norm4 = nn.LayerNorm(channels)

    def forward(
        self, tokens: Tensor, image: Tensor, token_position: Tensor, image_position: Tensor, absent: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Update (B, M, C) tokens and (B, P, C) image positions; ``absent`` (B, M) marks padding tokens."""
        placed = tokens + token_position
        tokens = self.norm1(tokens + self.self_attn(placed, placed, tokens, absent))
        tokens = self.norm2(
            tokens + self.cross_attn_token_to_image(tokens + token_position, image + image_position, image)
        )
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(
            image + self.cross_attn_image_to_token(image + image_position, tokens + token_position, tokens, absent)
        )
        return tokens, image


def fourier_position(xy: Tensor, channels: int, longest: float = 1024.0) -> Tensor:
    """(..., channels) sines and cosines of (..., 2) coordinates in pixels, wavelengths from 4 pixels to ``longest``."""
    count = channels // 4
    waves = torch.logspace(0, 1, count, base=longest / 4.0, device=xy.device, dtype=xy.dtype) * 4.0
    angles = xy[..., None] * (2 * torch.pi / waves)
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(-2)
