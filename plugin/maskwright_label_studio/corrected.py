"""What people outlined on the tasks they finished last, as examples for the tasks that come next.

Which regions those are is read from the corrections store; their pictures are mostly still in memory, since the tasks
were open a moment ago.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from maskwright.annotated import AnnotationKind
from maskwright.assist.assistant import Assistant, Priority
from maskwright.assist.fewshot import Support
from maskwright.assist.likes import with_likes
from maskwright.assist.preannotate import Preannotation, PreannotationOptions
from maskwright.assist.suggestion.stager import ProjectStages
from maskwright.errors import Busy, Cancelled, MaskwrightError
from maskwright.images import Image
from maskwright.labels import LabelSet
from maskwright.learn.rounds.workshop import MACHINE
from maskwright.masks import Mask
from maskwright.regions import Region
from maskwright.store.corrections import CorrectionsStore
from maskwright.store.project_notes import ProjectNotes
from maskwright.store.records import Head
from maskwright_label_studio.body import RequestBody, read_body
from maskwright_label_studio.config import LabelingConfig
from maskwright_label_studio.drawn import regions_of
from maskwright_label_studio.projects import MAX_PROJECTS, Project
from maskwright_label_studio.servers import Servers
from maskwright_label_studio.tasks import Task
from maskwright_label_studio.webhook import PLATFORM_NAME

LOOKS = 20
"""Finished tasks that are looked through, the newest."""
MOST_HEADS = 2_000
"""Annotations among which those tasks are looked for, the newest: where the machine annotated thousands since anybody
corrected something, what people outlined before is not asked for with every image."""
PICTURES = 3
"""Of a class: what more of them add is less than what they cost."""
MOST_EXAMPLES = 20
"""Of a class in one picture."""
KNOWN_FOR_S = 30.0
"""How long the examples of a project are remembered before anybody asks whether there are newer ones."""
READ_AGAIN_S = 600.0
"""After that long they are read again though nothing was corrected: a task's image may have been replaced."""

_FINISHED: tuple[AnnotationKind, ...] = ("submitted",)

LoadImage = Callable[[Project, Task, str], Image]

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Example:
    """Regions of one class on one image of a finished task."""

    task: Task
    source: str
    masks: tuple[Mask, ...]


Examples = Mapping[tuple[str, str], tuple[Example, ...]]
"""By name of the image's tag and class, the newest first."""


@dataclass(frozen=True, eq=False)
class _Known:
    """The examples of a project.

    Attributes:
        examples: What is known.
        of: The configuration by which, and the states from which they were read.
        until: Monotonic time until which nobody asks for newer ones.
        stale: Monotonic time from which they are read again in any case.
    """

    examples: Examples
    of: tuple[LabelingConfig, tuple[int, ...]] | None = None
    until: float = 0.0
    stale: float = 0.0


class CorrectedExamples:
    """Likes of what people outlined, for the pre-annotations of a process's projects. Threads may share it.

    Args:
        store: Opens the corrections store.
        servers: Under which names it has projects.
        assistant: Finds likes.
    """

    def __init__(self, store: Callable[[], CorrectionsStore], servers: Servers, assistant: Assistant) -> None:
        self._store, self._servers, self._assistant = store, servers, assistant
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}

    def added(
        self,
        found: Preannotation,
        image: Image,
        labels: LabelSet,
        limits: PreannotationOptions,
        *,
        tag: str,
        config: LabelingConfig,
        project: Project,
        load: LoadImage,
        stages: ProjectStages,
        priority: Priority,
        cancelled: Callable[[], bool],
    ) -> Preannotation:
        """A pre-annotation with what looks like the newest corrected regions of each class; see ``with_likes``.

        What could not be looked for, and which examples cannot be used, is told in its problems.

        Args:
            found: Of an image, without examples.
            image: The image.
            labels: Classes to look for.
            limits: What the project wants of a pre-annotation.
            tag: Name of the image's tag.
            config: The labelling configuration.
            project: The project.
            load: Gives an image of a task by its address.
            stages: What the project says of the models that find things.
            priority: Interactive where a person waits.
            cancelled: Asked before each class.

        Raises:
            Cancelled: If ``cancelled`` said so.
            Busy: If too many images wait to be encoded: a prediction without likes would be kept as if there were none.
        """
        if not limits.enabled:
            return found
        likes: list[Region] = []
        problems: list[str] = []
        examples = self._examples(project, config)
        for name in labels.names:
            if cancelled():
                raise Cancelled("the work is to end")
            if not examples.get((tag, name)):
                continue
            supports, unusable = _supports(examples[tag, name], project, load)
            problems += [f"an example of {name!r} was left out: {words}" for words in unusable]
            if not supports:
                problems.append(f"likes of corrected {name!r} were not looked for: no example of it can be used")
                continue
            try:
                similar = self._assistant.finding.by_example(
                    image,
                    supports,
                    label=name,
                    model=project.options.model,
                    stages=stages,
                    model_version=found.model_version,
                    priority=priority,
                )
            except (Busy, Cancelled):
                raise
            except MaskwrightError as error:
                problems.append(f"likes of corrected {name!r} were not looked for: {error}")
                continue
            likes += similar.regions
        for words in problems:
            log.warning("project %s, image %s: %s", project.key, image.key, words)
        output = stages.options.output if stages.options is not None else "regions"
        return with_likes(found, likes, limits, problems, output)

    def _examples(self, project: Project, config: LabelingConfig) -> Examples:
        """The newest examples of each class; those known before while the store cannot be read."""
        with self._lock:
            known = self._known.get(project.key, _Known({}))
        now = time.monotonic()
        if now < known.until:
            return known.examples
        examples, of, stale = known.examples, known.of, known.stale
        try:
            store = self._store()
            number, heads = self._newest(store, project)
            of = config, tuple(head.correction_id for head in heads)
            if of != known.of or now >= stale:
                examples, stale = _read(store, number, heads, config), now + READ_AGAIN_S
        except MaskwrightError as error:
            of = known.of
            log.warning("the examples of project %s cannot be read: %s", project.key, error)
        with self._lock:
            self._known.pop(project.key, None)
            self._known[project.key] = _Known(examples, of, time.monotonic() + KNOWN_FOR_S, stale)
            while len(self._known) > MAX_PROJECTS:  # anybody may send a key
                del self._known[next(iter(self._known))]
        return examples

    def _newest(self, store: CorrectionsStore, project: Project) -> tuple[int, list[Head]]:
        """The store's number of a project, and what people left on the tasks that they finished last, newest first."""
        row = None
        if project.id is not None:
            row = store.find_project(PLATFORM_NAME, self._servers.of(project), project.id)
        if row is None:
            return 0, []
        machine = {int(number) for number in ProjectNotes(store.database).get(row.id, MACHINE) or ()}
        newest: dict[int, Head] = {}
        for head in islice(store.newest_heads(row.id, kinds=_FINISHED), MOST_HEADS):
            if head.stored.lead_time or head.task_number not in machine:
                newest.setdefault(head.task_number, head)
            if len(newest) == LOOKS:
                break
        return row.id, list(newest.values())


def _read(store: CorrectionsStore, number: int, heads: Sequence[Head], config: LabelingConfig) -> Examples:
    found: dict[tuple[str, str], list[Example]] = {}
    for task, items, body in _documents(store, number, heads):
        for tag in config.images:
            try:
                sources = tag.sources(task.data)
            except MaskwrightError:  # a task of another configuration
                continue
            for index, source in enumerate(sources):
                masks: dict[str, list[Mask]] = {}
                for region in regions_of(items, config, tag.name, index, body=body):
                    masks.setdefault(region.label or "", []).append(region.mask)
                for label, drawn in masks.items():
                    kept = found.setdefault((tag.name, label), [])
                    if len(kept) < PICTURES:
                        kept.append(Example(task, source, tuple(drawn[-MOST_EXAMPLES:])))
    return {key: tuple(kept) for key, kept in found.items()}


def _documents(
    store: CorrectionsStore, number: int, heads: Sequence[Head]
) -> Iterator[tuple[Task, list[Any], RequestBody]]:
    for head in heads:
        for text in store.task_documents(number, [head.task_number]):
            body = read_body(text, f"task {head.task_number}")
            for annotation in body.document["annotations"]:
                if annotation.get("id") == head.stored.number and isinstance(annotation.get("result"), list):
                    yield Task.of(body.document), annotation["result"], body


def _supports(examples: Sequence[Example], project: Project, load: LoadImage) -> tuple[list[Support], list[str]]:
    """The examples with their pictures, and why some cannot be used.

    Raises:
        Busy: If a picture cannot be had now.
        Cancelled: If the work is to end.
    """
    supports: list[Support] = []
    unusable: list[str] = []
    for one in examples:
        try:
            image = load(project, one.task, one.source)
        except (Busy, Cancelled):
            raise
        except MaskwrightError as error:
            unusable.append(f"task {one.task.id}: {error}")
            continue
        if all(mask.size == image.size for mask in one.masks):
            supports.append(Support(image, one.masks))
        else:
            unusable.append(f"task {one.task.id}: it was outlined on a picture of another size")
    return supports, unusable
