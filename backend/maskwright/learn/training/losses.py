"""What training makes small.

Masks: focal loss (Lin et al. 2017), summed and divided by the object's size so that small objects count as much as
large ones, and the soft Jaccard distance; beside them the squared error of the predicted IoU. Of several masks the best
one is corrected, as Segment Anything was trained (Kirillov et al. 2023, appendix A), and the others a little.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from maskwright.learn.training.trainable import Answers

IOU_WEIGHT, PRESENCE_WEIGHT = 2.0, 0.05
GAMMA = 1.5
"""Exponent by which sure and right cells count less."""
LEAST_AREA, MOST_FOCAL = 32.0, 20.0
"""Cells that every object counts as having at least, beyond its own, and the most that the focal loss of one can be."""
OTHERS_WEIGHT = 0.1
"""Weight of the mean over all masks beside the best of them."""
CHANGED_WEIGHT, MOST_CHANGED = 3.0, 0.5
"""Pixels that a person changed count so much more, as long as they do not take more than this share of the weight."""
TEMPERATURE = 2.0
"""Of the distillation (Hinton et al. 2015)."""


def pixel_weights(changed: Tensor) -> Tensor:
    """(B, h, w) weights, mean 1, from the share of every cell that a person changed."""
    amount, rest = changed.mean(dim=(1, 2)), (1 - changed).mean(dim=(1, 2))
    most = MOST_CHANGED / (1 - MOST_CHANGED) * rest / amount.clamp(min=1e-6)
    extra = most.clamp(1.0, CHANGED_WEIGHT)[:, None, None]
    weights = 1 + (extra - 1) * changed
    return weights / weights.mean(dim=(1, 2), keepdim=True)


def mask_loss(logits: Tensor, share: Tensor, weights: Tensor) -> Tensor:
    """(B, K) loss of (B, K, h, w) logits against (B, h, w) shares of cells in the object, cells weighed (B, h, w)."""
    wanted, weights = share[:, None].expand_as(logits), weights[:, None]
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    probability = logits.sigmoid()
    unsure = (probability - wanted).abs() ** GAMMA
    focal = (weights * unsure * entropy).sum(dim=(2, 3)) / (wanted.sum(dim=(2, 3)) + LEAST_AREA)
    both = (weights * torch.minimum(probability, wanted)).sum(dim=(2, 3))
    either = (weights * torch.maximum(probability, wanted)).sum(dim=(2, 3))
    return focal.clamp(max=MOST_FOCAL) + 1 - (both + 1) / (either + 1)


def true_iou(logits: Tensor, share: Tensor) -> Tensor:
    """(B, K) IoU of the cells with positive (B, K, h, w) logits with those more than half in the object."""
    found, wanted = logits > 0, (share > 0.5)[:, None]
    both = (found & wanted).sum(dim=(2, 3))
    either = (found | wanted).sum(dim=(2, 3))
    return both / either.clamp(min=1)


def answer_loss(answers: Answers, share: Tensor, weights: Tensor) -> Tensor:
    """Loss of answers about objects that are there, a scalar; (B, h, w) shares and weights.

    The predicted IoU of every mask is drawn to the IoU of its cells above the threshold, through which no gradient
    flows.
    """
    losses = mask_loss(answers.logits, share, weights)
    best = losses.amin(dim=1).mean() + OTHERS_WEIGHT * (losses.shape[1] > 1) * losses.mean()
    gap = functional.mse_loss(answers.iou, true_iou(answers.logits.detach(), share))
    loss = best + IOU_WEIGHT * gap
    if answers.presence is not None:
        loss = loss + PRESENCE_WEIGHT * _entropy(answers.presence, torch.ones_like(answers.presence)).mean()
    return loss


def negative_loss(answers: Answers, deleted: Tensor, bare: Tensor) -> Tensor:
    """Loss of answers at places where a person deleted a proposal, a scalar; the masks themselves are not pushed.

    A mask that is mostly the deleted one is to be expected to be worth nothing. Where nothing else lies at the place,
    the family's own head is to say so.

    Args:
        answers: To B prompts at such places.
        deleted: (B, h, w) share of every cell in the deleted proposal.
        bare: (B,) bool, whether no object lies there.
    """
    again = (true_iou(answers.logits.detach(), deleted) > 0.5).to(answers.iou.dtype)
    loss = IOU_WEIGHT * (again * answers.iou**2).sum() / again.sum().clamp(min=1)
    if answers.presence is not None:
        absent = _entropy(answers.presence, torch.zeros_like(answers.presence)) * bare
        loss = loss + PRESENCE_WEIGHT * absent.mean()
    return loss


def behaviour_loss(answers: Answers, base: Answers) -> Tensor:
    """How far answers are from the base's to the same prompts: KL divergence per cell at ``TEMPERATURE``, a scalar."""
    wanted = (base.logits / TEMPERATURE).sigmoid()
    crossed = functional.binary_cross_entropy_with_logits(answers.logits / TEMPERATURE, wanted)
    own = functional.binary_cross_entropy_with_logits(base.logits / TEMPERATURE, wanted)
    gap = functional.mse_loss(answers.iou, base.iou)
    return TEMPERATURE**2 * (crossed - own) + IOU_WEIGHT * gap


def _entropy(probability: Tensor, wanted: Tensor) -> Tensor:
    return functional.binary_cross_entropy(probability.clamp(1e-6, 1 - 1e-6), wanted, reduction="none")
