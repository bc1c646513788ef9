"""The stages of one round: data, training, classes, evaluating, gallery; then the verdict."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Unpack

from maskwright.errors import MaskwrightError, NotFound
from maskwright.export.selection import Selection
from maskwright.images import ImageLimits
from maskwright.learn.gate.asking import Asking, HeldOutImage
from maskwright.learn.gate.held_out import HeldOutRule, Parts
from maskwright.learn.gate.reasons import not_enough
from maskwright.learn.gate.records import Measurement
from maskwright.learn.gate.verdict import GateRule, judge
from maskwright.learn.rounds.corpus import Corpus, CorpusImage, read_corpus, shared_parts
from maskwright.learn.rounds.ends import End, end_of, nothing_to_learn
from maskwright.learn.rounds.evaluation import Measurements, chosen
from maskwright.learn.rounds.experience import learn_experience
from maskwright.learn.rounds.gallery import (
    MOST_LOOKED_AT,
    compared_exhibits,
    draw_gallery,
    suspect_classes,
    suspect_outlines,
)
from maskwright.learn.rounds.heartbeat import Heartbeat
from maskwright.learn.rounds.images import RoundImages
from maskwright.learn.rounds.learning import Start, learn_adapter, learn_classes, start_of, training_report
from maskwright.learn.rounds.proposals import MOST_IMAGES, Proposed, confusion, names_worse, propose, quality
from maskwright.learn.rounds.report import by_group, comparison
from maskwright.learn.rounds.workshop import HELD_OUT, MACHINE, TRAINED, Workshop
from maskwright.learn.settings import learning_settings
from maskwright.learn.training.records import TrainingImage, TrainingProgress
from maskwright.store.rounds import Round, RoundFields, RoundState
from maskwright.store.served import Served
from maskwright.store.snapshots import Snapshot, SnapshotStore

log = logging.getLogger(__name__)


class RoundWork:
    """One claimed round at work.

    Args:
        claimed: The round.
        workshop: Where it is run.
        owner: Who claimed it.
        beat: Keeps its lease, and says when to stop.
        report: Where to write what is found out; see ``Round.metrics``. What is in it already stays.

    Raises:
        MaskwrightError: If the project cannot be worked on; the message says why.
    """

    def __init__(self, claimed: Round, workshop: Workshop, owner: str, beat: Heartbeat, report: dict[str, Any]) -> None:
        self._round, self._shop, self._owner, self._beat = claimed, workshop, owner, beat
        self._learning = learning_settings(claimed.config)
        self._project = workshop.store.project_row(claimed.project_id)
        self._folder = workshop.folder(claimed.project_id, claimed.number)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._labels = workshop.labels(self._project)
        self._window = workshop.window(self._project)
        self._images = RoundImages(
            self._folder / "images",
            workshop.images(self._project),
            ImageLimits(workshop.settings.max_image_bytes, workshop.settings.max_image_pixels),
            self._window,
        )
        self._report = report
        self._stage, self._counted = "data", time.monotonic()

    def run(self) -> End:
        """Do what is left to do.

        Raises:
            Cancelled: If the work is to stop.
            MaskwrightError: If it cannot be done; the message says why.
        """
        with self._timed("data"):
            snapshot, served = self._frozen()
            corpus, parts, start = self._data(snapshot, served)
        training = corpus.training(parts)
        if start is None:
            training = [replace(image, is_new=True) for image in training]
        self._count(corpus, parts, training)
        if not any(image.objects for image in training):
            return nothing_to_learn(snapshot, corpus, parts)
        with self._timed("train"):
            adapter = self._train(training, snapshot, served, start)
            self._report["training"] = training_report(self._shop.registry, adapter)
        with self._timed("classes"):
            classes = self._fit_classes(training, served)
            self._beat.tell("evaluating")
            self._advance(RoundState.EVALUATING, classes=classes)
        with self._timed("evaluate"):
            return self._evaluate(corpus, parts, served, adapter, classes)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        """Report what a stage takes by the clock, all attempts together but for what a killed one had not kept."""
        self._stage, self._counted = stage, time.monotonic()
        try:
            yield
        finally:
            self._count_seconds()

    def _count_seconds(self) -> None:
        seconds, moment = self._report.setdefault("seconds", {}), time.monotonic()
        seconds[self._stage] = seconds.get(self._stage, 0.0) + moment - self._counted
        self._counted = moment

    def _frozen(self) -> tuple[Snapshot, Served | None]:
        """The corrections to learn from, and the version to compare with, as they were when the round began."""
        snapshots, one = SnapshotStore(self._shop.store.database), self._round
        if one.snapshot is not None:
            history = {served.id: served for served in self._shop.served.history(one.project_id)}
            return snapshots.get(one.snapshot), history.get(one.served_before or 0)
        name = f"round-{one.project_id}-{one.number}"
        try:
            snapshot = snapshots.get(name)  # of an attempt that died before it could say so
        except NotFound:
            selection = json.loads(Selection().to_json())
            snapshot = snapshots.create(name, one.project_id, label_set=self._labels.names, selection=selection)
        served = self._shop.served.current(one.project_id, one.base)
        self._advance(RoundState.TRAINING, snapshot=name, served_before=None if served is None else served.id)
        return snapshot, served

    def _data(self, snapshot: Snapshot, served: Served | None) -> tuple[Corpus, Parts, Start | None]:
        snapshots, notes, one = SnapshotStore(self._shop.store.database), self._shop.notes, self._round
        frozen = {str(item.task_number): item.corrections for item, _ in snapshots.items(snapshot.name)}
        learnt = self._learnt_before(served)
        corpus = read_corpus(
            snapshots.task_documents(snapshot.name),
            self._shop.reader(self._project),
            self._images,
            group_field=self._learning.group_field,
            machine=set(notes.get(one.project_id, MACHINE) or ()),
            is_new=lambda task: learnt.get(task) != frozen.get(task),
            step=self._beat.steps("data", snapshot.tasks),
        )
        rule = HeldOutRule(
            f"{self._project.platform}/{self._project.server}/{self._project.number}", self._learning.held_out_share
        )
        told = notes.get(one.project_id, HELD_OUT)
        trained = set(notes.get(one.project_id, TRAINED) or ())
        parts = shared_parts(rule, corpus, None if told is None else Parts.from_json(told), trained)
        notes.put(one.project_id, HELD_OUT, parts.to_json())
        notes.put(one.project_id, TRAINED, sorted({*trained, *(image.key for image in corpus.training(parts))}))
        adapter = None if served is None else served.adapter
        return corpus, parts, start_of(self._shop.registry, one.base, adapter, self._learning)

    def _learnt_before(self, served: Served | None) -> dict[str, tuple[int, ...]]:
        """Task -> its corrections that the version in service has learnt from."""
        if served is None or served.adapter is None or served.round_number is None:
            return {}
        try:
            name = self._shop.rounds.get(self._round.project_id, served.round_number).snapshot
            items = SnapshotStore(self._shop.store.database).items(name or "")
            return {str(item.task_number): item.corrections for item, _ in items}
        except NotFound:
            return {}

    def _count(self, corpus: Corpus, parts: Parts, training: list[TrainingImage]) -> None:
        held_out = corpus.held_out(parts)
        self._report["images"] = {
            "training": len(training),
            "held_out": len(held_out),
            "new": sum(image.is_new for image in corpus.images),
            "broken": corpus.broken,
        }
        self._report["objects"] = {
            "training": sum(len(image.objects) for image in training),
            "held_out": sum(len(image.objects) for image in held_out),
        }
        self._report["problems"] = list(corpus.problems)
        log.info(
            "round %d of project %d: %d images with %d objects to learn from, %d images held out, %d new",
            self._round.number, self._project.number, len(training), self._report["objects"]["training"],
            len(held_out), self._report["images"]["new"],
        )  # fmt: skip

    def _train(
        self, images: list[TrainingImage], snapshot: Snapshot, served: Served | None, start: Start | None
    ) -> str:
        registry, one = self._shop.registry, self._round
        if one.adapter is not None and training_report(registry, one.adapter) is not None:
            return one.adapter

        def progress(at: TrainingProgress) -> None:
            self._beat.tell(
                "training", done=at.step, of=at.steps, step=at.step, steps=at.steps, epoch=at.epoch, loss=at.loss,
                validation_iou=at.validation_iou, seconds_left=at.seconds_left,
            )  # fmt: skip

        self._beat.steps("training", 0)
        adapter = learn_adapter(
            registry,
            one.base,
            [image for image in images if image.objects or image.negatives],
            self._learning,
            labels=self._labels,
            start=start,
            parent=None if served is None else served.adapter,
            snapshot=snapshot.digest,
            checkpoint=self._folder / "training.checkpoint",
            progress=progress,
            cancelled=self._beat.cancelled,
        )
        self._advance(RoundState.TRAINING, adapter=adapter)
        return adapter

    def _fit_classes(self, images: list[TrainingImage], served: Served | None) -> str | None:
        if self._round.classes is not None:
            return self._round.classes
        self._beat.steps("classes", len(images))

        def progress(done: int, of: int) -> None:
            self._beat.tell("classes", done=done, of=of)

        learnt = learn_classes(self._shop.settings, images, self._labels, progress, self._beat.cancelled)
        return learnt or (None if served is None else served.classes)

    def _evaluate(self, corpus: Corpus, parts: Parts, served: Served | None, adapter: str, classes: str | None) -> End:
        project, rule = self._round.project_id, GateRule()
        drawn, asking = chosen(corpus.held_out(parts), self._learning.seed)
        if not drawn:
            learn_experience(self._shop.notes, project, [image.correction for image in corpus.images])
            return End(RoundState.UNDECIDED, not_enough(0, 0, rule.least_images, rule.least_objects))
        before = self._round.base if served is None else served.uri
        found = self._measure((before, self._candidate(adapter, None)), drawn, asking)
        images = corpus.by_key()
        shown = [images[image.key] for image in drawn[:MOST_IMAGES]]
        proposed = [self._propose(before, shown), self._propose(self._candidate(adapter, classes), shown)]
        known = None if served is None else served.classes
        if classes != known and names_worse(*proposed):
            self._report["problems"] += ["the new class head names fewer regions rightly; the one in service stays"]
            classes = known
            proposed[1] = self._propose(self._candidate(adapter, classes), shown)
            self._advance(RoundState.EVALUATING, classes=classes)
        verdict = judge(found[0], found[1], rule, (quality(proposed[0]), quality(proposed[1])))
        self._report |= comparison(verdict, found[0], found[1])
        self._report["confusion"] = confusion(proposed[1], self._labels)
        if self._learning.group_field:
            groups = {key: image.correction.group for key, image in images.items()}
            self._report["by_group"] = by_group(found[1], groups, self._learning.group_field)
        better = int(verdict.outcome == "promote")
        self._exhibit(corpus, found, proposed, (before, self._candidate(adapter, classes)), better)
        pairs = [pair for one in proposed[better] for pair in one.outcomes()]
        learn_experience(self._shop.notes, project, [image.correction for image in corpus.images], pairs)
        return end_of(verdict)

    def _measure(self, uris: tuple[str, str], drawn: list[HeldOutImage], asking: Asking) -> list[Measurement]:
        """What is measured of the model in service and of the candidate."""
        measurements = Measurements(self._folder.parent / "measured", self._window)
        found = []
        for number, uri in enumerate(uris):
            step = self._beat.steps("evaluating", 2 * len(drawn), number * len(drawn))
            segmenter = self._shop.registry.segmenter(uri)
            found.append(measurements.measured(segmenter, drawn, asking, progress=step, cancelled=self._beat.cancelled))
        measurements.tidy()
        return found

    def _candidate(self, adapter: str, classes: str | None) -> str:
        return f"{self._round.base}+adapter:{adapter}" + (f"+classes:{classes}" if classes else "")

    def _propose(self, uri: str, images: list[CorpusImage]) -> list[Proposed]:
        step = self._beat.steps("evaluating", len(images))
        return propose(self._shop.settings, self._shop.registry, uri, images, self._labels, step)

    def _exhibit(
        self,
        corpus: Corpus,
        found: list[Measurement],
        proposed: list[list[Proposed]],
        uris: tuple[str, str],
        better: int,
    ) -> None:
        """Draw the gallery; what goes wrong with it is told, and changes no verdict."""
        registry = self._shop.registry
        images = sorted(corpus.images, key=lambda image: (not image.is_new, image.key))
        step = self._beat.steps("gallery", min(MOST_LOOKED_AT, len(images)))
        try:
            exhibits = compared_exhibits(corpus.by_key(), found[0], found[1])
            exhibits += suspect_outlines(registry.segmenter(uris[better]), found[better], images, step)
            exhibits += suspect_classes(proposed[better])
            self._report["gallery"] = draw_gallery(self._folder, registry.segmenter(uris[1]), exhibits)
        except MaskwrightError as error:
            self._beat.check()
            self._report["problems"] = [*self._report["problems"], f"no gallery: {error}"]

    def _advance(self, state: RoundState, **fields: Unpack[RoundFields]) -> None:
        self._count_seconds()
        fields["metrics"] = self._report
        self._shop.rounds.advance(self._round.id, self._owner, state, **fields)
