"""What the embedded segmenter is trained to make small."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

FOCUS = 1.5
"""Exponent by which sure and right pixels count less (focal loss, Lin et al. 2017)."""
FOCAL_WEIGHT, OVERLAP_WEIGHT, EXPECTED_WEIGHT = 1.0, 1.0, 0.5
OTHERS_WEIGHT = 0.1
"""Weight of the mean over the three masks beside the best of them."""


def mask_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """(B, K) loss of (B, K, h, w) logits against (B, h, w) shares of cells in the object.

    Focal loss summed and divided by the object's size, so that small objects count as much as large ones, and the soft
    Jaccard distance.
    """
    truth = truth[:, None].expand_as(logits)
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    probability = logits.sigmoid()
    unsure = (probability - truth).abs() ** FOCUS
    area = truth.sum(dim=(2, 3))
    focal = (entropy * unsure).sum(dim=(2, 3)) / (area + 32)
    both = torch.minimum(probability, truth).sum(dim=(2, 3))
    either = torch.maximum(probability, truth).sum(dim=(2, 3))
    return FOCAL_WEIGHT * focal.clamp(max=20) + OVERLAP_WEIGHT * (1 - (both + 1) / (either + 1))


def true_iou(logits: Tensor, truth: Tensor) -> Tensor:
    """(B, K) IoU of the cells with positive (B, K, h, w) logits with those more than half in the object."""
    found, wanted = logits > 0, (truth > 0.5)[:, None]
    both = (found & wanted).sum(dim=(2, 3))
    either = (found | wanted).sum(dim=(2, 3))
    return both / either.clamp(min=1)


def step_loss(logits: Tensor, expected: Tensor, truth: Tensor, ambiguous: Tensor) -> Tensor:
    """Loss of one answer to B prompts, a scalar.

    Args:
        logits: (B, 4, h, w) single, part, best, whole.
        expected: (B, 4) logits of expected IoU.
        truth: (B, h, w) share of every cell in the object.
        ambiguous: (B,) bool, whether the three masks are wanted too; of these only the best one is corrected, as in
            SAM, but for a small share.
    """
    losses = mask_loss(logits, truth)
    three = losses[:, 1:]
    several = three.amin(dim=1) + OTHERS_WEIGHT * three.mean(dim=1)
    counted = torch.cat([torch.ones_like(ambiguous)[:, None], ambiguous[:, None].expand(-1, 3)], dim=1).to(losses)
    gap = (expected.sigmoid() - true_iou(logits.detach(), truth)) ** 2
    quality = (gap * counted).sum() / counted.sum()
    return losses[:, 0].mean() + (several * ambiguous).sum() / len(logits) + EXPECTED_WEIGHT * 4 * quality
