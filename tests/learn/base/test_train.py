"""The recipe of the embedded weights: a pure function of its seed, whatever interrupts it."""

import dataclasses

import numpy as np
import pytest
import torch

from maskwright.errors import InvalidInput
from maskwright.learn.base.annotator import Session
from maskwright.learn.base.checkpoint import TrainingState
from maskwright.learn.base.losses import mask_loss, step_loss, true_iou
from maskwright.learn.base.train import Recipe, Run, train

SMALL = Recipe(variant="smoke", steps=50, workers=1, side=160, thaw=5, warmup=5)


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(SMALL, Run(out=tmp_path_factory.mktemp("whole")))


def test_fifty_steps_twice_give_identical_tensors(whole, tmp_path):
    again = train(SMALL, Run(out=tmp_path))
    assert_same(whole.network, again.network)
    assert_same(whole.average, again.average)


def test_another_seed_gives_other_tensors(whole, tmp_path):
    other = train(dataclasses.replace(SMALL, seed=1, steps=1), Run(out=tmp_path))
    assert not torch.equal(other.network["decoder.side2.weight"], whole.network["decoder.side2.weight"])


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(whole, tmp_path):
    stopped = train(SMALL, Run(out=tmp_path, minutes=0.0))
    assert 0 < stopped.step < 50
    assert_same(whole.network, train(SMALL, Run(out=tmp_path)).network)


def test_two_workers_end_with_one_network(tmp_path):
    recipe = dataclasses.replace(SMALL, steps=2, workers=2)
    state = train(recipe, Run(out=tmp_path))
    assert state.step == 2
    assert all(torch.isfinite(tensor).all() for tensor in state.average.values())


def test_a_run_can_begin_with_the_weights_of_another(whole, tmp_path):
    start = tmp_path / "start.pt"
    whole.save(start)
    begun = train(
        dataclasses.replace(SMALL, steps=1, rate=0.0, backbone_rate=0.0), Run(out=tmp_path / "b", start=start)
    )
    assert_same(whole.average, begun.network)


def test_an_unknown_variant_is_refused_by_name(tmp_path):
    with pytest.raises(InvalidInput, match="'everything' is unknown"):
        train(dataclasses.replace(SMALL, variant="everything"), Run(out=tmp_path))


def test_a_damaged_checkpoint_is_refused_and_kept(tmp_path):
    path = tmp_path / "state.pt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(InvalidInput, match=r"state\.pt"):
        TrainingState.load(path)
    assert path.read_bytes() == b"not a checkpoint"


@pytest.fixture
def truth():
    share = torch.zeros(1, 32, 32)
    share[0, 8:20, 10:24] = 1
    return share


def test_a_perfect_answer_costs_next_to_nothing_and_worse_ones_cost_more(truth):
    perfect = (truth * 2 - 1)[:, None] * 12
    off = torch.roll(perfect, 4, dims=3)
    nothing = torch.full_like(perfect, -12.0)
    losses = [float(mask_loss(logits, truth)) for logits in (perfect, off, nothing)]
    assert losses[0] < 0.01 < losses[1] < losses[2]
    assert float(true_iou(perfect, truth)) == 1


def test_only_the_best_of_three_masks_is_held_to_the_truth(truth):
    right = (truth * 2 - 1)[:, None] * 12
    wrong = -right
    sure = torch.tensor([[4.0, 4.0, -4.0, -4.0]])
    one = step_loss(torch.cat([right, right, wrong, wrong], dim=1), sure, truth, torch.tensor([True]))
    all_wrong = step_loss(torch.cat([right, wrong, wrong, wrong], dim=1), sure, truth, torch.tensor([True]))
    not_asked = step_loss(torch.cat([right, wrong, wrong, wrong], dim=1), sure, truth, torch.tensor([False]))
    assert not_asked < one < all_wrong


@pytest.mark.parametrize("seed", range(20))
def test_the_trainings_annotator_points_at_what_is_wrong(seed):
    truth = np.zeros((64, 80), dtype=bool)
    truth[20:44, 30:60] = True
    rng = np.random.default_rng(seed)
    session = Session.begin(truth, rng)
    assert session.box or session.clicks
    for x, y, label in session.clicks:
        assert truth[int(y), int(x)]
        assert label == 1
    session.logits = np.full(truth.shape, 5.0, dtype=np.float32)
    session.clicks.clear()
    session.click(rng)
    x, y, label = session.clicks[0]
    assert not truth[int(y), int(x)]
    assert label == 0
