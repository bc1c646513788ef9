"""A project played from zero, round by round: choose images, annotate them, train, and measure what is then served.

What has happened is kept in a folder, task by task and round by round, so that a play that was killed goes on. A task
that was cut off is annotated again, which leaves the same annotation.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from maskwright.errors import InvalidInput
from maskwright.learn.simulate.annotator import LabellingClient, Labour, annotate
from maskwright.learn.simulate.figures import Figures
from maskwright.regions import Region
from maskwright.store.artifacts import write_atomically


@dataclass(frozen=True)
class TrainingEnd:
    """How a training round ended.

    Attributes:
        verdict: State of the round: ``promoted``, ``refused``, ``not enough data``.
        reason: Why, for a person.
        taken: Whether what it trained is served now; without enough data to judge, a play may want it all the same.
    """

    verdict: str
    reason: str
    taken: bool


class Loop(Protocol):
    """What learns, and is measured."""

    def choose(self, waiting: Sequence[int], annotated: Sequence[int], count: int) -> list[int]:
        """So many of the waiting tasks, those first that are most worth annotating."""
        ...

    def train(self, number: int) -> TrainingEnd:
        """See the training through that was asked for after the batch of this number, counted from 1.

        Raises:
            MaskwrightError: If it fails.
        """
        ...

    def measure(self) -> Figures:
        """The model in service on the test part."""
        ...


class PlayedProject(LabellingClient, Protocol):
    """A project of a labelling platform that is played.

    Attributes:
        platform: What the corrections store calls the platform.
        server: What it calls the platform's server.
        number: The platform's number of the project.
        label_config: Its labelling configuration.
    """

    platform: str
    server: str
    number: int
    label_config: str

    def connect(self) -> str:
        """Load the project's page; the model version that is served."""
        ...

    def start_training(self) -> None:
        """Press the button."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


@dataclass(frozen=True)
class RoundRecord:
    """A round of a play; round 0 is the model before it learnt anything.

    Attributes:
        round: Its number.
        images_labelled: Annotated so far.
        figures: Of the model that is served after it, on the test part.
        verdict: See ``TrainingEnd``; empty for round 0.
        reason: Likewise.
        taken: Likewise.
        model_version: Served after it.
        labour: What annotating this round's images came to.
        tasks: Annotated in this round, in this order.
        seconds_of: Seconds of ``choose``, ``annotate``, ``train``, ``measure``.
    """

    round: int
    images_labelled: int
    figures: Figures
    verdict: str
    reason: str
    taken: bool
    model_version: str
    labour: Labour
    tasks: tuple[int, ...]
    seconds_of: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values, the figures beside the rest."""
        labour = asdict(self.labour) | {
            "clicks_per_object": self.labour.clicks_per_object, "accepted_share": self.labour.accepted_share,
        }  # fmt: skip
        found = {name: value for name, value in vars(self).items() if name not in ("figures", "labour", "tasks")}
        seconds = sum(self.seconds_of.values())
        return found | {"tasks": [*self.tasks], "annotator": labour, "seconds": seconds} | {
            f"test_{name}" if name in ("images", "objects") else name: value
            for name, value in self.figures.to_json().items()
        }  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What is played.

    Attributes:
        rounds: Of training.
        batch: Images annotated before each.
        truths: By task number what is on its image.
        about: Anything else that must be the same when a play is resumed.
    """

    rounds: int
    batch: int
    truths: Mapping[int, Sequence[Region]]
    about: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.batch < 1:
            raise InvalidInput(f"{self.rounds} rounds of {self.batch} images: play at least 1 of 1")


def play(
    plan: Plan, project: PlayedProject, loop: Loop, folder: Path, told: Callable[[str], None] = lambda text: None
) -> Iterator[dict[str, Any]]:
    """Play a project, or go on with it.

    Args:
        plan: What to play.
        project: Where tasks are annotated.
        loop: What learns.
        folder: Where the play is kept.
        told: Told of every step in a few words.

    Yields:
        Every round as ``RoundRecord.to_json`` gives it, those that were played before too. Ends early when no image is
        left.

    Raises:
        InvalidInput: If something else is kept in the folder.
        MaskwrightError: If the server or the training does not work.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _check_same(plan, folder / "plan.json")
    labelled: list[int] = []
    record: dict[str, Any] | None = None
    for number in range(plan.rounds + 1):
        path = folder / f"round-{number}.json"
        if path.is_file():
            record = json.loads(path.read_bytes())
        else:
            waiting = [task for task in plan.truths if task not in labelled]
            if number and not waiting:
                return
            if record is None:
                record = _before(project, loop, told)
            else:
                record = _round(plan, project, loop, folder, told, number, waiting, labelled, record)
            write_atomically(path, json.dumps(record, indent=1).encode())
        labelled += record["tasks"]
        yield record


def _before(project: PlayedProject, loop: Loop, told: Callable[[str], None]) -> dict[str, Any]:
    version = project.connect()
    told("measuring the model before it learns")
    started = time.perf_counter()
    figures = loop.measure()
    spent = {"measure": time.perf_counter() - started}
    return RoundRecord(0, 0, figures, "", "", False, version, Labour(), (), spent).to_json()


def _round(
    plan: Plan,
    project: PlayedProject,
    loop: Loop,
    folder: Path,
    told: Callable[[str], None],
    number: int,
    waiting: Sequence[int],
    labelled: Sequence[int],
    before: Mapping[str, Any],
) -> dict[str, Any]:
    project.connect()
    path = folder / f"batch-{number}.json"
    started = time.perf_counter()
    if path.is_file():
        batch = json.loads(path.read_bytes())
    else:
        told(f"round {number}: choosing {plan.batch} of {len(waiting)} images")
        batch = {"tasks": loop.choose(waiting, labelled, plan.batch), "done": [], "annotate": 0.0}
        batch["choose"] = time.perf_counter() - started
        write_atomically(path, json.dumps(batch).encode())
    for task in batch["tasks"][len(batch["done"]) :]:
        told(f"round {number}: annotating image {len(batch['done']) + 1} of {len(batch['tasks'])}")
        started = time.perf_counter()
        batch["done"].append(asdict(annotate(project, task, plan.truths[task])))
        batch["annotate"] += time.perf_counter() - started
        write_atomically(path, json.dumps(batch).encode())
    told(f"round {number}: training")
    started = time.perf_counter()
    project.start_training()
    end = loop.train(number)
    trained = time.perf_counter()
    version = project.connect()
    figures = Figures(**{name: before.get(f"test_{name}", before.get(name)) for name in Figures.__annotations__})
    if end.taken:
        told(f"round {number}: measuring what is served")
        figures = loop.measure()
    spent = {
        "choose": batch["choose"], "annotate": batch["annotate"],
        "train": trained - started, "measure": time.perf_counter() - trained,
    }  # fmt: skip
    labour = sum((Labour(**one) for one in batch["done"]), Labour())
    return RoundRecord(
        number, len(labelled) + len(batch["tasks"]), figures, end.verdict, end.reason, end.taken, version, labour,
        tuple(batch["tasks"]), spent,
    ).to_json()  # fmt: skip


def _check_same(plan: Plan, path: Path) -> None:
    """Refuse to mix two plays in one folder; more rounds of the same one are welcome."""
    wanted = {"batch": plan.batch, "images": len(plan.truths), **plan.about}
    if not path.is_file():
        write_atomically(path, json.dumps(wanted, indent=1).encode())
        return
    kept = json.loads(path.read_bytes())
    different = sorted(name for name in {*kept, *wanted} if kept.get(name) != wanted.get(name))
    if different:
        raise InvalidInput(f"{path.parent} holds a play with another {', '.join(different)}; name another folder")
