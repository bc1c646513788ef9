"""The recipe of the embedded weights: a pure function of its seed, whatever interrupts it."""

import dataclasses
import fcntl
from pathlib import Path

import numpy as np
import pytest
import torch

from maskwright.errors import InvalidInput
from maskwright.learn.base.annotator import Session
from maskwright.learn.base.checkpoint import TrainingState
from maskwright.learn.base.losses import mask_loss, step_loss, true_iou
from maskwright.learn.base.train import Recipe, Run, train
from maskwright.models.checkpoints import PACKAGED_WEIGHTS
from maskwright.models.embedded.weights import read_network

SMALL = Recipe(variant="smoke", steps=30, workers=1, side=160, thaw=5, warmup=5)


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(SMALL, Run(out=tmp_path_factory.mktemp("whole")))


def test_thirty_steps_twice_give_identical_tensors(whole, tmp_path):
    again = train(SMALL, Run(out=tmp_path))
    assert_same(whole.network, again.network)
    assert_same(whole.average, again.average)


def test_another_seed_gives_other_tensors(whole, tmp_path):
    other = train(dataclasses.replace(SMALL, seed=1, steps=1), Run(out=tmp_path))
    assert not torch.equal(other.network["decoder.side2.weight"], whole.network["decoder.side2.weight"])


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(whole, tmp_path):
    for step in (1, 10, 24):  # before the backbone learns, with it, and while the rates fall
        stopped = train(dataclasses.replace(SMALL, decay=0.3), Run(out=tmp_path, stop_at=step))
        assert stopped.step == step
    resumed = train(SMALL, Run(out=tmp_path))
    assert_same(whole.network, resumed.network)
    assert_same(whole.average, resumed.average)


def test_two_workers_learn_the_same_twice_also_where_a_path_is_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = dataclasses.replace(SMALL, steps=3, workers=2)
    once = train(recipe, Run(out=Path("runs/one")))
    train(recipe, Run(out=Path("runs/two"), stop_at=2))
    assert_same(once.average, train(recipe, Run(out=Path("runs/two"))).average)
    assert not list(tmp_path.rglob("meeting*"))


def test_a_run_is_not_gone_on_with_under_another_recipe(tmp_path):
    train(dataclasses.replace(SMALL, steps=1), Run(out=tmp_path))
    for change in ({"seed": 1}, {"rate": 0.5}, {"workers": 2}):
        with pytest.raises(InvalidInput, match=next(iter(change))):
            train(dataclasses.replace(SMALL, steps=2, **change), Run(out=tmp_path))


def test_two_runs_do_not_share_a_folder(tmp_path):
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InvalidInput, match="another process is training there"):
            train(SMALL, Run(out=tmp_path))


def test_what_is_wrong_is_said_by_the_command_and_not_by_its_workers(tmp_path):
    with pytest.raises(InvalidInput, match="nowhere"):
        train(dataclasses.replace(SMALL, workers=2), Run(out=tmp_path / "run", start=tmp_path / "nowhere.pt"))


def test_a_run_can_begin_with_shipped_weights(tmp_path):
    path = PACKAGED_WEIGHTS / "embedded-no-nuclei.safetensors"
    still = dataclasses.replace(SMALL, steps=1, rate=0.0, backbone_rate=0.0)
    begun = train(still, Run(out=tmp_path, start=path))
    shipped = read_network(path).state_dict()
    assert torch.equal(begun.network["decoder.side2.weight"], shipped["decoder.side2.weight"])


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
