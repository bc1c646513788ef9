"""What is pushed, and what is not."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from maskwright.learn.training.losses import (
    CHANGED_WEIGHT,
    OTHERS_WEIGHT,
    answer_loss,
    behaviour_loss,
    mask_loss,
    negative_loss,
    pixel_weights,
)
from maskwright.learn.training.trainable import Answers


def square(size, low, high):
    share = torch.zeros(1, size, size)
    share[:, low:high, low:high] = 1
    return share


def test_a_right_and_sure_mask_costs_nothing():
    share = square(16, 4, 10)
    loss = mask_loss((share[:, None] - 0.5) * 60, share, torch.ones_like(share))
    assert float(loss) == pytest.approx(0, abs=1e-3)
    assert float(mask_loss((0.5 - share[:, None]) * 60, share, torch.ones_like(share))) > 5


def test_the_best_of_three_masks_is_corrected_the_others_a_little_and_every_expectation():
    share = square(16, 4, 10)
    logits = torch.stack([4 * share - 2, 2 - 4 * share, 0 * share - 1], dim=1).requires_grad_()
    iou = torch.full((1, 3), 0.5, requires_grad=True)
    answer_loss(Answers(logits, iou), share, torch.ones_like(share)).backward()
    best, *others = mask_loss(logits.detach(), share, torch.ones_like(share))[0].tolist()
    assert best < min(others)
    alone = logits.detach().requires_grad_()
    mask_loss(alone, share, torch.ones_like(share)).sum().backward()
    wanted = alone.grad * torch.tensor([1 + OTHERS_WEIGHT / 3, OTHERS_WEIGHT / 3, OTHERS_WEIGHT / 3])[:, None, None]
    torch.testing.assert_close(logits.grad, wanted)
    assert (iou.grad != 0).all()


@settings(deadline=None)
@given(st.floats(0, 1), st.integers(0, 100))
def test_changed_pixels_count_more_but_never_most(amount, seed):
    generator = torch.Generator().manual_seed(seed)
    changed = (torch.rand(1, 12, 12, generator=generator) < amount).float()
    weights = pixel_weights(changed)
    assert float(weights.mean()) == pytest.approx(1, rel=1e-4)
    inside, outside = weights[changed > 0], weights[changed == 0]
    if len(inside) and len(outside):
        ratio = float(inside[0] / outside[0])
        assert 1 - 1e-4 <= ratio <= CHANGED_WEIGHT + 1e-4
        share = float(inside.sum() / weights.sum())
        assert share <= max(0.5, float(changed.mean())) + 1e-4


def test_a_deleted_proposal_lowers_the_expectation_of_its_own_mask_only():
    deleted = square(16, 4, 10)
    logits = torch.stack([deleted - 0.5, square(16, 11, 15) - 0.5], dim=1).requires_grad_()
    iou, presence = torch.full((1, 2), 0.7, requires_grad=True), torch.full((1,), 0.7, requires_grad=True)
    negative_loss(Answers(logits, iou, presence), deleted, torch.tensor([True])).backward()
    assert logits.grad is None
    assert iou.grad[0, 0] > 0
    assert iou.grad[0, 1] == 0
    assert presence.grad[0] > 0


def test_where_something_else_lies_presence_is_not_denied():
    presence = torch.full((1,), 0.7, requires_grad=True)
    answers = Answers(torch.zeros(1, 1, 8, 8), torch.full((1, 1), 0.7, requires_grad=True), presence)
    negative_loss(answers, square(8, 1, 5), torch.tensor([False])).backward()
    assert presence.grad[0] == 0


def test_answers_like_the_bases_cost_nothing():
    generator = torch.Generator().manual_seed(0)
    logits, iou = torch.randn(2, 3, 8, 8, generator=generator) * 5, torch.rand(2, 3, generator=generator)
    assert float(behaviour_loss(Answers(logits, iou), Answers(logits, iou))) == pytest.approx(0, abs=1e-6)
    assert float(behaviour_loss(Answers(logits + 1, iou), Answers(logits, iou))) > 0
