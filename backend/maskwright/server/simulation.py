"""A simulated project over the real server: annotated through its HTTP doors, trained and measured in this process.

The server answers from a thread. Rounds are run in between, one after the other, by the code that workers run, so that
equal seeds give equal plays where training has no time limit.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from maskwright.errors import InvalidInput, MaskwrightError
from maskwright.images import ImageLimits, load_image
from maskwright.labels import LabelSet
from maskwright.learn.acquisition.cost import Effort
from maskwright.learn.simulate.figures import Figures
from maskwright.learn.simulate.play import Plan, PlayedProject, TrainingEnd, play
from maskwright.server.in_thread import server_in_thread
from maskwright.server.platforms import simulating_platform

if TYPE_CHECKING:
    from maskwright.assist.services import Services
    from maskwright.export.coco_in import ImportedImage
    from maskwright.images import Image
    from maskwright.learn.acquisition.candidates import Candidate, Look
    from maskwright.learn.rounds.workshop import Workshop
    from maskwright.models.protocols import Segmenter
    from maskwright.settings import Settings
    from maskwright.store.records import ProjectRow
    from maskwright.store.rounds import Round

Promote = Literal["gate", "always"]
_TOLD_EVERY = 20
_LOOK_AGAIN_S = 1.0
_WISH_S = 5.0
"""The server keeps a wish for training just after it has answered."""


@dataclass(frozen=True, eq=False)
class Simulation:
    """What is simulated.

    Attributes:
        folder: Of the images.
        pool: Images to learn from, with what is truly on them; tasks are numbered from 1 in this order.
        test: Images to measure on, never shown to the project.
        labels: The project's classes.
        rounds: Of training.
        batch: Images annotated before each.
        acquisition: How they are chosen.
        seed: Of the choice and of training; the project's number too, so that rounds hold other images out.
        promote: ``gate`` serves what was promoted; ``always`` also what there was not enough data to judge.
        most_objects: Measured on an image of the test part at most, drawn by ``test_seed``.
        test_seed: Of that draw.
        train_seconds: Longest training of a round; None = no limit.
        most_looks: Of the waiting images so many at most, drawn by the seed, are looked at for a batch; None = all.
    """

    folder: Path
    pool: Sequence[ImportedImage]
    test: Sequence[ImportedImage]
    labels: LabelSet
    rounds: int
    batch: int
    acquisition: str
    seed: int = 0
    promote: Promote = "gate"
    most_objects: int = 5
    test_seed: int = 0
    train_seconds: float | None = None
    most_looks: int | None = None

    def plan(self, model: str) -> Plan:
        """The plan of the play with a base model."""
        about = {
            "model": model, "test_images": len(self.test), "labels": list(self.labels.names),
            **{
                name: getattr(self, name)
                for name in (
                    "acquisition", "seed", "promote", "most_objects", "test_seed", "train_seconds", "most_looks",
                )
            },
        }  # fmt: skip
        truths = {number: image.regions for number, image in enumerate(self.pool, 1)}
        return Plan(self.rounds, self.batch, truths, about)


def simulate(
    simulation: Simulation, settings: Settings, work: Path, told: Callable[[str], None] = lambda text: None
) -> Iterator[dict[str, Any]]:
    """Play a simulation, or go on with one that was killed; see ``learn.simulate.play.play``.

    Args:
        simulation: What to play.
        settings: Models, device and limits; whatever they say of addresses, credentials and databases is not used.
        work: Folder that everything is kept in.
        told: Told of every step in a few words.
    """
    password = secrets.token_urlsafe()
    own = settings.model_copy(
        update={
            "home": (work / "home").absolute(), "host": "127.0.0.1", "port": 0, "username": "simulated",
            "password": type(settings.password)(password), "bearer_token": type(settings.password)(""),
            "local_files_root": simulation.folder.absolute(), "label_studio_url": "", "sync_interval_s": 0.0,
            "database_url": type(settings.password)(""),
        }
    )  # fmt: skip
    own.home.mkdir(parents=True, exist_ok=True)
    images = {number: (image.file_name, _size(image)) for number, image in enumerate(simulation.pool, 1)}
    with ExitStack() as stack:
        url, services = stack.enter_context(server_in_thread(own))
        project = simulating_platform().simulated_project(
            url, ("simulated", password), simulation.seed + 1, simulation.labels, images
        )
        stack.callback(project.close)
        loop = InProcessLoop(simulation, services, project, told)
        yield from play(simulation.plan(loop.base), project, loop, work, told)


class InProcessLoop:
    """Chooses, trains and measures in this process; a ``learn.simulate.play.Loop``.

    Args:
        simulation: What is simulated.
        services: Of the server.
        project: Whose tasks are annotated.
        told: Told of every step in a few words.

    Attributes:
        base: Canonical URI of the base model.
    """

    def __init__(
        self, simulation: Simulation, services: Services, project: PlayedProject, told: Callable[[str], None]
    ) -> None:
        from maskwright.learn.settings import learning_settings, write_learning
        from maskwright.server.workshops import open_workshop

        self._simulation, self._services, self._told = simulation, services, told
        self._workshop: Workshop = open_workshop(services.settings, services.store())
        self._limits = ImageLimits(services.settings.max_image_bytes, services.settings.max_image_pixels)
        # What comparing with a real platform would have brought.
        self._project: ProjectRow = self._workshop.store.project(
            project.platform, project.server, project.number, label_config=project.label_config
        )
        self.base = self._workshop.base(self._project)
        write_learning(
            self._workshop.notes, self._project.id,
            learning_settings(
                {
                    "acquisition": simulation.acquisition, "corrections_per_round": 0, "debounce_s": 0,
                    "seconds": simulation.train_seconds, "seed": simulation.seed,
                }
            ),
        )  # fmt: skip

    def choose(self, waiting: Sequence[int], annotated: Sequence[int], count: int) -> list[int]:
        """See ``learn.simulate.play.Loop``."""
        from maskwright.learn.acquisition.coreset import pooled
        from maskwright.learn.coco_objects import shuffled
        from maskwright.learn.queue import priorities
        from maskwright.learn.rounds.experience import read_calibration, read_cost

        notes, mine = self._workshop.notes, self._project.id
        simulation, uri = self._simulation, self._uri()
        segmenter = self._services.assistant.segmenter(uri)
        is_random = simulation.acquisition == "random"
        looked_at = waiting if is_random else shuffled(waiting, simulation.seed)[: simulation.most_looks]
        labelled = None
        if annotated and not is_random:
            embeddings = (self._embedding(segmenter, self._image(task)) for task in annotated)
            labelled = np.stack([pooled(embedding) for embedding in embeddings])
        found = priorities(
            [self._candidate(task, segmenter, uri, is_random=is_random) for task in looked_at],
            function=simulation.acquisition, segmenter=segmenter, classes=len(simulation.labels),
            labelled=labelled, seed=simulation.seed, batch=count,
            calibration=read_calibration(notes, mine), cost=read_cost(notes, mine),
        )  # fmt: skip
        return [int(key) for key, _ in found[:count]]

    def train(self, number: int) -> TrainingEnd:
        """See ``learn.simulate.play.Loop``.

        Raises:
            MaskwrightError: If the round fails; the next call trains again.
        """
        from maskwright.learn.rounds.run import run_pending
        from maskwright.store.rounds import RoundState

        rounds, mine = self._workshop.rounds, self._project.id
        if len(self._done()) < number:
            self._queue()
        while rounds.active(mine) is not None:
            run_pending(self._workshop, f"simulation-{secrets.token_hex(8)}", project_id=mine)
            if rounds.active(mine) is not None:
                time.sleep(_LOOK_AGAIN_S)  # until the lease of one who was killed has run out
        done = self._done()
        if len(done) < number:
            raise MaskwrightError(f"training round {number} failed: {rounds.list(mine, 1)[0].reason}")
        ended = done[number - 1]
        undecided = ended.state is RoundState.UNDECIDED and self._simulation.promote == "always"
        taken = ended.state is RoundState.PROMOTED or (undecided and self._serve(ended))
        return TrainingEnd(str(ended.state), ended.reason, taken)

    def measure(self) -> Figures:
        """See ``learn.simulate.play.Loop``."""
        from maskwright.learn.gate.asking import Asking, HeldOutImage, HeldOutObject
        from maskwright.learn.rounds.evaluation import Measurements

        simulation = self._simulation
        images = [
            HeldOutImage(
                one.file_name,
                lambda one=one: self._load(one).pixels,  # type: ignore[misc]
                tuple(HeldOutObject(region.key, region.label, region.mask) for region in one.regions),
            )
            for one in simulation.test
        ]
        asking = Asking(most_objects=simulation.most_objects, seed=simulation.test_seed)
        segmenter = self._workshop.registry.segmenter(self._uri() or self.base)
        kept = Measurements(self._services.settings.home / "simulation")  # image by image, for plays that are killed

        def progress(done: int) -> None:
            if done % _TOLD_EVERY == 0:
                self._told(f"measured on {done} of {len(images)} images")

        return Figures.of(kept.measured(segmenter, images, asking, progress=progress, cancelled=lambda: False))

    def _queue(self) -> None:
        """Queue a round as a worker does that START_TRAINING has woken."""
        from maskwright.learn.rounds.requests import queue_due_rounds, queue_round

        until = time.monotonic() + _WISH_S
        while not queue_due_rounds(self._workshop):
            if time.monotonic() >= until:  # after a round that failed there is nothing new, yet everything to do
                queue_round(self._workshop, self._project, trigger="again", force=True)
                return
            time.sleep(0.05)

    def _done(self) -> list[Round]:
        """The rounds that came to a verdict, oldest first, and the one that is at work."""
        from maskwright.store.rounds import RoundState

        broken = (RoundState.FAILED, RoundState.CANCELLED)
        found = self._workshop.rounds.list(self._project.id, limit=10_000)
        return [one for one in reversed(found) if one.state not in broken]

    def _serve(self, ended: Round) -> bool:
        """Serve what a round has trained without a verdict; False if it trained nothing."""
        if ended.adapter is None and ended.classes is None:
            return False
        before = self._workshop.served.current(self._project.id, self.base)
        if before is None or before.round_number != ended.number:
            self._workshop.served.put(
                self._project.id, self.base, ended.adapter, ended.classes,
                round_number=ended.number, reason="simulated with --promote always",
            )  # fmt: skip
        return True

    def _uri(self) -> str | None:
        row = self._project
        return self._services.served.uri(row.platform, row.server, row.number, None)

    def _candidate(self, task: int, segmenter: Segmenter, uri: str | None, *, is_random: bool) -> Candidate:
        from maskwright.learn.acquisition.candidates import Candidate
        from maskwright.learn.queue import look_at

        if is_random:  # nothing of the image matters, so nobody need look at it
            return Candidate(str(task), feature=np.zeros(1, np.float32), effort=Effort(0))

        def look() -> Look:
            image = self._image(task)
            regions = self._services.assistant.preannotate(image, self._simulation.labels, model=uri).regions
            return look_at(segmenter, self._embedding(segmenter, image), regions)

        return Candidate(str(task), look)

    def _embedding(self, segmenter: Segmenter, image: Image) -> Any:
        return self._services.assistant.embeddings.get(segmenter, image)

    def _image(self, task: int) -> Image:
        return self._load(self._simulation.pool[task - 1])

    def _load(self, image: ImportedImage) -> Image:
        return load_image(self._simulation.folder / image.file_name, limits=self._limits)


def _size(image: ImportedImage) -> tuple[int, int]:
    if image.size is None:
        raise InvalidInput(f"{image.title}: neither the COCO file nor an image file tells its size")
    return image.size
