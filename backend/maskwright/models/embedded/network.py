"""The network of the embedded segmenter: EfficientNet-Lite0, a neck, and a prompt-conditioned mask decoder.

The shape is SAM's (Kirillov et al. 2023): an image embedding that is computed once, prompt tokens, two layers of
two-way attention, mask tokens whose hyper-networks turn upscaled features into logits, and an estimate of each mask's
IoU. Unlike SAM it starts from the answers of the weight-free engine (``evidence``): every mask is a correction of one.

All coordinates are pixels of the working grid; feature maps of stride s cover the grid padded to a multiple of 32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from maskwright.models.efficientnet_lite import EfficientNetLite0
from maskwright.models.embedded.attention import TwoWayLayer, fourier_position
from maskwright.models.embedded.evidence import CANDIDATES, CHANNELS

PADDING, NEGATIVE, POSITIVE, BOX_START, BOX_END = -1, 0, 1, 2, 3
"""Kinds of prompt points."""
WIDTHS = {2: 12, 4: 24, 8: 48, 16: 128}
"""Channels of the image embedding at each stride."""
MASKS = 1 + CANDIDATES
"""The single mask, then part, best and whole."""
LAYERS = 2
START_STEEPNESS = 2.5
STARTS = (CHANNELS.index("best"), *range(CANDIDATES))
"""The dense channel that each mask is a correction of."""


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise every position."""
        normed = functional.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias)
        return normed.permute(0, 3, 1, 2)


class Residual(nn.Module):
    """x + two 3 x 3 convolutions' worth of correction, normalised first where ``norm``."""

    def __init__(self, channels: int, norm: bool = True) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels) if norm else nn.Identity()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        y: Tensor = x + self.mix(functional.relu(self.conv(self.norm(x))))
        return y


def doubled(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C, 2 H, 2 W), bilinear."""
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


@dataclass(frozen=True, eq=False)
class Prompts:
    """B prompts on one image.

    Attributes:
        dense: (B, len(CHANNELS), H / 2, W / 2) float32, the evidence on the padded grid.
        points: (B, N, 2) float32 xy.
        kinds: (B, N) int64, POSITIVE, NEGATIVE, BOX_START, BOX_END or PADDING.
        scores: (B, 3) float32, the classical engine's expectations.
        size: (h / 2, w / 2) of the picture inside the padded grid.
    """

    dense: Tensor
    points: Tensor
    kinds: Tensor
    scores: Tensor
    size: tuple[int, int]


class Neck(nn.Module):
    """Features of the backbone's stages to the image embedding, top down."""

    def __init__(self) -> None:
        super().__init__()
        self.from32 = nn.Conv2d(320, WIDTHS[16], 1)
        self.from16 = nn.Conv2d(112, WIDTHS[16], 1)
        self.from8 = nn.Conv2d(40, WIDTHS[8], 1)
        self.from4 = nn.Conv2d(24, WIDTHS[4], 1)
        self.from2 = nn.Conv2d(16, WIDTHS[2], 1)
        self.pixels = nn.Conv2d(3, WIDTHS[2], 3, stride=2, padding=1)
        self.down = nn.ModuleDict(
            {str(s): nn.Conv2d(WIDTHS[2 * s], WIDTHS[s], 1) for s in (8, 4, 2)},
        )
        self.mix = nn.ModuleDict({str(s): Residual(WIDTHS[s]) for s in (16, 8, 4, 2)})

    def forward(self, stages: list[Tensor], pixels: Tensor) -> dict[int, Tensor]:
        """The embedding at strides 16, 8, 4 and 2.

        Args:
            stages: The seven outputs of ``EfficientNetLite0.features``.
            pixels: (B, 3, H, W) the normalised image.
        """
        made = {16: self.mix["16"](self.from16(stages[4]) + doubled(self.from32(stages[6])))}
        sides = {8: self.from8(stages[2]), 4: self.from4(stages[1]), 2: self.from2(stages[0]) + self.pixels(pixels)}
        for stride, side in sides.items():
            name = str(stride)
            made[stride] = self.mix[name](side + doubled(self.down[name](made[2 * stride])))
        return made


class MaskDecoder(nn.Module):
    """Prompts and an image embedding to logits and expected IoU."""

    def __init__(self) -> None:
        super().__init__()
        c2, c4, c8, c16 = (WIDTHS[s] for s in (2, 4, 8, 16))
        self.kinds = nn.Embedding(4, c16)
        self.clicked = nn.Linear(c16, c16)
        self.mask_tokens = nn.Embedding(MASKS, c16)
        self.iou_token = nn.Embedding(1, c16)
        self.pooled = nn.Linear(c16 + 1, c16)
        self.dense4 = nn.Conv2d(len(CHANNELS), 16, 3, stride=2, padding=1)
        self.dense8 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.enter8 = nn.Conv2d(32 + 5, c8, 1)
        self.mix8 = Residual(c8)
        self.enter16 = nn.Conv2d(c8, c16, 3, stride=2, padding=1)
        self.layers = nn.ModuleList([TwoWayLayer(c16, 2 * c16) for _ in range(LAYERS)])
        self.leave16 = nn.Conv2d(c16, c8, 1)
        self.leave8 = nn.Conv2d(c8, c4, 1)
        self.leave4 = nn.Conv2d(c4, c2, 1)
        self.side4 = nn.Conv2d(16, c4, 1)
        self.side2 = nn.Conv2d(len(CHANNELS), c2, 1)
        self.out8, self.out4, self.out2 = Residual(c8), Residual(c4), Residual(c2, norm=False)
        self.hyper = nn.ModuleList(
            [nn.Sequential(nn.Linear(c16, c16), nn.ReLU(), nn.Linear(c16, c2 + 1)) for _ in range(MASKS)]
        )
        self.steepness = nn.Parameter(torch.full((MASKS,), START_STEEPNESS))
        self.iou_head = nn.Sequential(nn.Linear(2 * c16 + 3, c16), nn.ReLU(), nn.Linear(c16, 1))
        for head in self.hyper:
            last = head.get_submodule("2")
            nn.init.normal_(last.get_parameter("weight"), std=0.01)
            nn.init.zeros_(last.get_parameter("bias"))

    def forward(self, image: dict[int, Tensor], prompts: Prompts) -> tuple[Tensor, Tensor]:
        """Logits (B, 4, H / 2, W / 2) and logits of expected IoU (B, 4): single, part, best, whole.

        Args:
            image: The embedding of one image at strides 16, 8, 4 and 2, each (1, C, H / stride, W / stride).
            prompts: B prompts on it.
        """
        dense, batch = prompts.dense, len(prompts.dense)
        dense4 = functional.relu(self.dense4(dense))
        dense8 = functional.relu(self.dense8(dense4))
        candidates = torch.zeros_like(dense[:, :CANDIDATES])
        height, width = prompts.size
        candidates[:, :, :height, :width] = (dense[:, :CANDIDATES, :height, :width] + 1) / 2
        x8 = image[8] + self.enter8(torch.cat([dense8, self._likeness(image, prompts, candidates)], dim=1))
        x8 = self.mix8(x8)
        x16 = image[16] + self.enter16(x8)

        height, width = x16.shape[2:]
        positions = _centres(height, width, 16, x16)
        image_position = fourier_position(positions, WIDTHS[16])[None]
        tokens, token_position, absent = self._tokens(image, prompts, candidates)
        flat = x16.flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens, flat = layer(tokens, flat, token_position, image_position, absent)
        x16 = flat.transpose(1, 2).unflatten(2, (height, width))

        x8 = self.out8(x8 + doubled(self.leave16(x16)))
        x4 = self.out4(image[4] + self.side4(dense4) + doubled(self.leave8(x8)))
        x2 = self.out2(image[2] + self.side2(dense) + doubled(self.leave4(x4)))

        masks = tokens[:, 1 : 1 + MASKS]
        weights = torch.stack([head(masks[:, k]) for k, head in enumerate(self.hyper)], dim=1)
        correction = torch.einsum("bkc,bchw->bkhw", weights[..., :-1], x2) + weights[..., -1, None, None]
        logits = dense[:, STARTS] * self.steepness[None, :, None, None] + correction

        scores = torch.cat([prompts.scores[:, 1:2], prompts.scores], dim=1)
        facts = torch.stack(
            [scores, *_self_assessment(logits.detach()[:, :, : prompts.size[0], : prompts.size[1]])], dim=2
        )
        expected = self.iou_head(torch.cat([tokens[:, :1].expand(batch, MASKS, -1), masks, facts], dim=2)).squeeze(2)
        return logits, expected

    def _tokens(self, image: dict[int, Tensor], prompts: Prompts, candidates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (B, M, C): IoU, masks, points; their positions; and which of them are padding."""
        batch = len(prompts.points)
        kinds = prompts.kinds.clamp(min=0)
        points = self.kinds(kinds) + self.clicked(_sampled(image[16], prompts.points, 16))
        position = fourier_position(prompts.points, WIDTHS[16])
        share = functional.avg_pool2d(candidates, 8).flatten(2)
        amount = share.sum(dim=2, keepdim=True)
        mean = share @ image[16].flatten(2).transpose(1, 2) / (amount + 1e-3)
        seen = torch.cat([mean, torch.log(amount / share.shape[2] + 1e-3)], dim=2)
        seen = self.pooled(torch.cat([seen[:, 1:2], seen], dim=1))
        learnt = torch.cat([self.iou_token.weight.expand(batch, 1, -1), self.mask_tokens.weight + seen], dim=1)
        nowhere = torch.zeros_like(learnt)
        absent = torch.zeros(learnt.shape[:2], dtype=torch.bool, device=learnt.device)
        return (
            torch.cat([learnt, points], dim=1),
            torch.cat([nowhere, position], dim=1),
            torch.cat([absent, prompts.kinds == PADDING], dim=1),
        )

    def _likeness(self, image: dict[int, Tensor], prompts: Prompts, candidates: Tensor) -> Tensor:
        """(B, 5, H / 8, W / 8) cosine of every place to what was clicked, on and off, and to the best candidate."""
        maps = []
        for stride in (8, 16):
            unit = functional.normalize(image[stride], dim=1)
            at = functional.normalize(_sampled(image[stride], prompts.points, stride), dim=2)
            cosine = torch.einsum("bnc,chw->bnhw", at, unit[0])
            for kind in (POSITIVE, NEGATIVE):
                chosen = (prompts.kinds == kind)[:, :, None, None]
                nearest = cosine.masked_fill(~chosen, -1).amax(dim=1, keepdim=True)
                nearest = torch.where(chosen.any(dim=1, keepdim=True), nearest, torch.zeros_like(nearest))
                maps.append(nearest if stride == 8 else doubled(nearest))
        unit = functional.normalize(image[8], dim=1)
        share = functional.avg_pool2d(candidates[:, 1:2], 4).flatten(2)
        mean = functional.normalize(share @ image[8].flatten(2).transpose(1, 2), dim=2)
        maps.append(torch.einsum("bnc,chw->bnhw", mean, unit[0]))
        return torch.cat(maps, dim=1)


class EmbeddedNetwork(nn.Module):
    """Backbone, neck and decoder.

    Args:
        backbone: EfficientNet-Lite0 with its normalisations folded in.
    """

    def __init__(self, backbone: EfficientNetLite0) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = Neck()
        self.decoder = MaskDecoder()

    def encode(self, pixels: Tensor) -> dict[int, Tensor]:
        """The embedding of (1, 3, H, W) normalised pixels, H and W multiples of 32."""
        stages: dict[int, Tensor] = self.neck(self.backbone.features(pixels), pixels)
        return stages


def _centres(height: int, width: int, stride: int, like: Tensor) -> Tensor:
    """(height * width, 2) xy of the cells' centres in pixels."""
    ys = (torch.arange(height, dtype=like.dtype, device=like.device) + 0.5) * stride
    xs = (torch.arange(width, dtype=like.dtype, device=like.device) + 0.5) * stride
    return torch.stack([xs.repeat(height), ys.repeat_interleave(width)], dim=1)


def _sampled(feature: Tensor, points: Tensor, stride: int) -> Tensor:
    """(B, N, C) bilinear samples of a (1, C, h, w) map at (B, N, 2) xy in pixels."""
    size = torch.tensor([feature.shape[3], feature.shape[2]], dtype=points.dtype, device=points.device)
    grid = points.flatten(0, 1)[None, None] / (stride * size) * 2 - 1
    found = functional.grid_sample(feature, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return found[0, :, 0].T.reshape(*points.shape[:2], -1)


def _self_assessment(logits: Tensor) -> tuple[Tensor, Tensor]:
    """What (B, K, h, w) logits say of their own masks: the expected IoU under them, and the logarithm of the area."""
    probability = logits.sigmoid()
    inside = (logits > 0).to(logits.dtype)
    both = (probability * inside).sum(dim=(2, 3))
    either = inside.sum(dim=(2, 3)) + probability.sum(dim=(2, 3)) - both
    area = torch.log(inside.mean(dim=(2, 3)) + 1e-4)
    return both / (either + 1e-3), area / 4
