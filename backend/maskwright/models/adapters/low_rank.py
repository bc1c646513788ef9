"""Layers that learn corrections: parts of a fused projection, and low rank with convolutions inside (Conv-LoRA).

Plain low-rank layers are peft's. It cannot correct the queries and values alone of a projection that makes queries,
keys and values at once, as SAM's image encoder does; ``SplitLinear`` lays such a projection out as three layers over
the same memory, and each of them can then be corrected or left alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_KERNEL = 3


def first_factor(rank: int, in_features: int, generator: torch.Generator) -> Tensor:
    """(rank, in) float32, uniform, so that inputs of variance 1 come out with variance 1."""
    bound = math.sqrt(3 / in_features)
    return torch.empty(rank, in_features).uniform_(-bound, bound, generator=generator)


class SplitLinear(nn.Module):
    """A fused projection as layers ``q``, ``k`` and ``v`` that share its memory; answers as it does.

    Args:
        fused: The projection; its output channels are queries, keys and values, a third each.
    """

    def __init__(self, fused: nn.Linear) -> None:
        super().__init__()
        third = fused.out_features // 3
        for index, part in enumerate("qkv"):
            rows = slice(index * third, (index + 1) * third)
            # On the meta device nothing is allocated, and no random number is drawn.
            layer = nn.Linear(fused.in_features, third, bias=fused.bias is not None, device="meta")
            layer.weight = nn.Parameter(fused.weight.detach()[rows], requires_grad=False)
            if fused.bias is not None:
                layer.bias = nn.Parameter(fused.bias.detach()[rows], requires_grad=False)
            self.add_module(part, layer)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., 3 * out)."""
        return torch.cat([layer(x) for layer in self.children()], dim=-1)


class ConvLowRankLinear(nn.Module):
    """A frozen linear layer over a grid of places with a correction that looks at neighbours; zero at first.

    Between the two factors of a low-rank correction stands a mixture of 3 x 3 convolutions, each on the grid enlarged
    by a scale of its own and brought back, so that the correction learns the locality that a plain transformer lacks.
    Source: "Convolution Meets LoRA: Parameter Efficient Finetuning for Segment Anything Model" (Zhong et al., 2024).
    Compact form: few experts, all of them weighed by a softmax of the mean over the grid in place of the paper's noisy
    choice of one of eight, which needs a balancing loss; and the low-rank path runs beside the experts, so that
    experts of zero leave plain LoRA. It depends on its input not only linearly, so that it cannot be merged.

    Args:
        base: The layer.
        rank: Of the correction.
        scale: Its weight.
        scales: Enlargement of each expert's grid.
        dropout: Of the correction's input, in training mode.
        generator: Draws the first factor and the convolutions.
    """

    def __init__(
        self,
        base: nn.Linear,
        rank: int,
        scale: float,
        scales: tuple[int, ...],
        dropout: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self._scale, self._scales, self._dropout = scale, scales, dropout
        bound = math.sqrt(3 / (rank * _KERNEL**2))
        kernels = torch.empty(len(scales), rank, rank, _KERNEL, _KERNEL).uniform_(-bound, bound, generator=generator)
        self.down = nn.Parameter(first_factor(rank, base.in_features, generator).to(base.weight))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank).to(base.weight))
        self.experts = nn.Parameter(kernels.to(base.weight))
        self.gate = nn.Parameter(torch.zeros(len(scales), rank).to(base.weight))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, in) to (B, H, W, out)."""
        seen = functional.dropout(x, self._dropout, self.training)
        low = functional.linear(seen, self.down)
        share = functional.linear(low.mean(dim=(1, 2)), self.gate).softmax(dim=-1)
        grid = low.permute(0, 3, 1, 2)
        mixed = grid
        for index, (kernel, enlarged) in enumerate(zip(self.experts, self._scales, strict=True)):
            answer = _at_scale(grid, kernel, enlarged)
            mixed = mixed + share[:, index, None, None, None] * answer
        y: Tensor = self.base(x) + self._scale * functional.linear(mixed.permute(0, 2, 3, 1), self.up)
        return y


def _at_scale(grid: Tensor, kernel: Tensor, enlarged: int) -> Tensor:
    """A convolution on (B, C, H, W) enlarged so many times, brought back to H x W by averaging."""
    if enlarged == 1:
        return functional.conv2d(grid, kernel, padding=_KERNEL // 2)
    large = functional.interpolate(grid, scale_factor=enlarged, mode="bilinear", align_corners=False)
    return functional.avg_pool2d(functional.conv2d(large, kernel, padding=_KERNEL // 2), enlarged)
