"""Train the embedded segmenter's weights from nothing but free data: ``maskwright train-base``.

Debian packages that the corpus reads: see ``corpus``. Two variants: ``embedded-no-nuclei`` (scenes, photographs and
drawn pictures), and ``embedded``, which goes on from its weights with CC0 nuclei mixed in.

A run is a pure function of its recipe and of the installed pictures: everything random in step s of worker r comes
from (seed, r, s), so that a run resumed from a checkpoint goes on as if it had never stopped, and equal seeds give
equal tensors. A checkpoint goes on only under the recipe that it was begun with; only its length may change. Workers
are processes of one thread each, which on a few cores get more done than one process with as many threads; they average
gradients after every step.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn

from maskwright.errors import InvalidInput
from maskwright.learn.base.checkpoint import Average, TrainingState, check_same
from maskwright.learn.base.photographs import PACKED
from maskwright.learn.base.samples import Source, open_sources
from maskwright.learn.base.trainer import StepReport, earlier_answers, train_step
from maskwright.models.efficientnet_lite import folded, load_efficientnet_lite0
from maskwright.models.embedded.network import EmbeddedNetwork
from maskwright.models.embedded.weights import UNUSED, read_network

FIRST_TRAINED_STAGE = 3
"""Stages of the backbone before this one stay as ImageNet left them."""
MIXES: Mapping[str, Mapping[str, float]] = {
    "embedded-no-nuclei": {"photographs": 0.5, "scenes": 0.38, "drawn": 0.12},
    "smoke": {"drawn": 1.0},
    "embedded": {"photographs": 0.38, "scenes": 0.24, "drawn": 0.07, "nuclei": 0.31},
}
"""Share of every source in the training of a variant; ``smoke`` tries the recipe without any Debian package."""


@dataclass(frozen=True)
class Recipe:
    """What a run is a function of.

    Attributes:
        variant: Key of ``MIXES``.
        steps: Steps in all.
        decay: Share of the steps at the end over which the learning rate falls to zero; constant before.
        seed: Of everything random.
        rate: Learning rate of neck and decoder.
        backbone_rate: Learning rate of the backbone's later stages.
        thaw: Step from which the backbone learns.
        warmup: Steps over which the rates rise.
        memory: Decay of the moving average.
        workers: Processes, one thread each; part of the recipe because every worker sees other pictures.
        side: Longer side of the pictures in pixels.
    """

    variant: str = "embedded-no-nuclei"
    steps: int = 4000
    decay: float = 0.3
    seed: int = 0
    rate: float = 1e-3
    backbone_rate: float = 5e-5
    thaw: int = 500
    warmup: int = 100
    memory: float = 0.997
    workers: int = 2
    side: int = 512

    def rate_at(self, step: int) -> float:
        """Share of the peak learning rate at a step."""
        falling = max(1, round(self.steps * self.decay))
        return min(1.0, (step + 1) / self.warmup) * min(1.0, max(0.0, (self.steps - step) / falling))


@dataclass(frozen=True)
class Run:
    """Where a run reads and writes.

    Attributes:
        out: Folder of ``state.pt`` and ``log.jsonl``.
        data: Folder with nuclei, or None.
        start: Weights to begin with: another run's ``state.pt``, or a safetensors file such as those of the package;
            None for ImageNet's backbone alone.
        minutes: Stop in order, with a checkpoint, after so long.
        save_every: Steps between checkpoints.
        stop_at: Stop in order, with a checkpoint, after this step; None for the recipe's last.
    """

    out: Path
    data: Path | None = None
    start: Path | None = None
    minutes: float = 150.0
    save_every: int = 100
    stop_at: int | None = None


def build_network(seed: int) -> EmbeddedNetwork:
    """The network as training begins: ImageNet's backbone, everything else drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = EmbeddedNetwork(folded(load_efficientnet_lite0()))
    network.requires_grad_(True)
    for name, parameter in network.backbone.named_parameters():
        parameter.requires_grad_(_learns(name))
    return network


def train(recipe: Recipe, run: Run) -> TrainingState:
    """Train, or go on with what lies in ``run.out``.

    Raises:
        InvalidInput: If the recipe names an unknown variant, a checkpoint is damaged or of another recipe, or another
            process is training there.
        ModelUnavailable: If data or weights that the recipe needs are not installed.
    """
    if recipe.variant not in MIXES:
        raise InvalidInput(f"variant {recipe.variant!r} is unknown; train one of {', '.join(MIXES)}")
    run.out.mkdir(parents=True, exist_ok=True)
    run = dataclasses.replace(run, out=run.out.resolve())
    with _alone(run.out):
        # Whatever is wrong is said here, before there are workers whose errors arrive as theirs.
        open_sources(run.data, list(MIXES[recipe.variant]), recipe.side)
        _begin(recipe, run)
        if recipe.workers == 1:
            _work(0, recipe, run, None)
        else:
            meeting = run.out / f"meeting-{os.getpid()}"
            meeting.unlink(missing_ok=True)
            try:
                spawn(_work, args=(recipe, run, meeting), nprocs=recipe.workers)  # type: ignore[no-untyped-call]
            finally:
                meeting.unlink(missing_ok=True)
    return TrainingState.load(run.out / "state.pt")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a run's folder."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InvalidInput(f"{folder}: another process is training there; wait or give another --out") from error
        yield


def identity(recipe: Recipe, run: Run) -> dict[str, str]:
    """What a run is a function of beside the installed packages, but for its length."""
    facts = {name: str(value) for name, value in dataclasses.asdict(recipe).items() if name not in ("steps", "decay")}
    facts["mix"] = json.dumps(dict(MIXES[recipe.variant]), sort_keys=True)
    facts["annotations"] = hashlib.sha256(PACKED.read_bytes()).hexdigest()
    facts["start"] = "none" if run.start is None else _digest(run.start)
    return facts


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror}); --start takes weights to begin with") from error


def _begin(recipe: Recipe, run: Run) -> tuple[EmbeddedNetwork, torch.optim.Optimizer, Average, int]:
    """Network, optimizer, average and step of a run as it stands."""
    network = build_network(recipe.seed)
    optimizer = _optimizer(network, recipe)
    path = run.out / "state.pt"
    if not path.exists():
        if run.start is not None:
            _load(network, _tensors(run.start), run.start)
        return network, optimizer, Average(network, recipe.memory), 0
    state = TrainingState.load(path)
    check_same(path, state.identity, identity(recipe, run))
    _load(network, state.network, path)
    average = Average(network, recipe.memory)
    average.tensors = state.average
    if state.optimizer is not None:
        optimizer.load_state_dict(state.optimizer)
    return network, optimizer, average, state.step


def _tensors(path: Path) -> dict[str, Tensor]:
    """The weights of another run or of a safetensors file."""
    if path.suffix == ".safetensors":
        return {n: t for n, t in read_network(path).state_dict().items() if not n.startswith(UNUSED)}
    return TrainingState.load(path).average


def _load(network: EmbeddedNetwork, tensors: dict[str, Tensor], path: Path) -> None:
    try:
        found = network.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise InvalidInput(f"{path}: holds the weights of another network") from error
    if found.unexpected_keys or any(not name.startswith(UNUSED) for name in found.missing_keys):
        raise InvalidInput(f"{path}: holds the weights of another network")


def _work(rank: int, recipe: Recipe, run: Run, meeting: Path | None) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if meeting is not None:
        store = distributed.FileStore(str(meeting), recipe.workers)  # type: ignore[attr-defined]
        distributed.init_process_group("gloo", store=store, rank=rank, world_size=recipe.workers)
    sources = open_sources(run.data, list(MIXES[recipe.variant]), recipe.side)
    network, optimizer, average, step = _begin(recipe, run)
    facts = identity(recipe, run)
    began = time.monotonic()
    log = _Log(run.out / "log.jsonl", step) if rank == 0 else None

    def save() -> None:
        state = TrainingState(step, network.state_dict(), average.tensors, optimizer.state_dict(), facts)
        state.save(run.out / "state.pt")

    while step < min(recipe.steps, recipe.steps if run.stop_at is None else run.stop_at):
        report, source = advance(network, optimizer, sources, recipe, step, rank)
        average.update(network, step)
        step += 1
        if log is not None:
            log.note(step, source, report)
            if step % run.save_every == 0:
                save()
        if _time_is_up(rank, recipe, time.monotonic() - began > run.minutes * 60):
            break
    if rank == 0:
        save()
    if meeting is not None:
        distributed.barrier()
        distributed.destroy_process_group()


def advance(
    network: EmbeddedNetwork,
    optimizer: torch.optim.Optimizer,
    sources: Mapping[str, Source],
    recipe: Recipe,
    step: int,
    rank: int,
) -> tuple[StepReport, str]:
    """One step of one worker: draw a picture, learn from it together with the other workers."""
    rng = np.random.default_rng([recipe.seed, rank, step])
    mix = MIXES[recipe.variant]
    name = str(rng.choice(list(mix), p=np.array(list(mix.values())) / sum(mix.values())))
    sample = sources[name].sample(rng)
    height, width = (side // 2 * 2 for side in sample.image.shape[:2])
    thawed = step >= recipe.thaw
    share = recipe.rate_at(step)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share * (1.0 if thawed or not group["backbone"] else 0.0)
    loss, report = train_step(
        network,
        np.ascontiguousarray(sample.image[:height, :width]),
        [mask[:height, :width] for mask in sample.masks],
        rng,
        earlier=earlier_answers(np.random.default_rng([recipe.seed, step])),
        trained_backbone=thawed,
    )
    optimizer.zero_grad(set_to_none=False)
    loss.backward()  # type: ignore[no-untyped-call]
    _share_gradients(network, recipe.workers)
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    return report, name


def _learns(name: str) -> bool:
    """Whether a parameter of the backbone is trained, by its name."""
    if not name.startswith("blocks."):
        return False
    # Blocks 1, 2, 2, 3, ...: the first five belong to stages before FIRST_TRAINED_STAGE.
    return int(name.split(".")[1]) >= 1 + 2 + 2


def _optimizer(network: EmbeddedNetwork, recipe: Recipe) -> torch.optim.Optimizer:
    backbone = [p for p in network.backbone.parameters() if p.requires_grad]
    rest = [*network.neck.parameters(), *network.decoder.parameters()]
    return torch.optim.AdamW(
        [
            {"params": rest, "peak": recipe.rate, "backbone": False},
            {"params": backbone, "peak": recipe.backbone_rate, "backbone": True},
        ],
        lr=recipe.rate,
        betas=(0.9, 0.99),
        weight_decay=0.01,
    )


def _share_gradients(network: nn.Module, workers: int) -> None:
    """Replace every worker's gradients by their mean."""
    if workers == 1:
        return
    gradients = [p.grad for p in network.parameters() if p.requires_grad and p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    distributed.all_reduce(flat)
    for gradient, mean in zip(gradients, torch.split(flat / workers, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def _time_is_up(rank: int, recipe: Recipe, up: bool) -> bool:
    """Whether the first worker's time is up: all stop at the same step."""
    if recipe.workers == 1:
        return up
    flag: Tensor = torch.tensor([float(up)])
    distributed.broadcast(flag, src=0)
    return bool(flag.item())


class _Log:
    """A line per 20 steps, with the mean of each source."""

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        self._began = time.monotonic()
        self._seen: dict[str, list[StepReport]] = {}
        self._write({"step": step, "begun": True})

    def note(self, step: int, source: str, report: StepReport) -> None:
        self._seen.setdefault(source, []).append(report)
        if step % 20:
            return
        means = {
            name: [round(math.fsum(getattr(r, f) for r in reports) / len(reports), 3) for f in _FIGURES]
            for name, reports in sorted(self._seen.items())
        }
        line = {"step": step, "minutes": round((time.monotonic() - self._began) / 60, 1), **means}
        self._write(line)
        self._seen = {}

    def _write(self, line: Mapping[str, object]) -> None:
        with self._path.open("a") as stream:
            stream.write(json.dumps(line) + "\n")


_FIGURES = ("loss", "first_iou", "last_iou")
