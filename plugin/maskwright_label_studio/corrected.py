"""What people outlined on the tasks they finished last, as examples for the tasks that come next.

Which regions those are is read from the corrections store; their pictures are mostly still in memory, since the tasks
were open a moment ago.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from maskwright.annotated import AnnotationKind
from maskwright.assist.assistant import Assistant, Priority
from maskwright.assist.fewshot import Support
from maskwright.assist.likes import with_likes
from maskwright.assist.preannotate import Preannotation, PreannotationOptions
from maskwright.assist.suggestion.stager import ProjectStages
from maskwright.errors import Cancelled, MaskwrightError
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
PICTURES = 3
"""Of a class: what more of them add is less than what they cost."""
MOST_EXAMPLES = 20
"""Of a class in one picture."""
KNOWN_FOR_S = 30.0
"""How long the examples of a project are remembered."""

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
        self._known: dict[str, tuple[float, Examples]] = {}

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

        What could not be looked for is told in its problems.

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
            try:
                supports = [Support(load(project, one.task, one.source), one.masks) for one in examples[tag, name]]
                similar = self._assistant.finding.by_example(
                    image,
                    supports,
                    label=name,
                    model=project.options.model,
                    stages=stages,
                    model_version=found.model_version,
                    priority=priority,
                )
            except Cancelled:
                raise
            except MaskwrightError as error:
                problems.append(f"likes of corrected {name!r} were not looked for: {error}")
                log.warning("project %s, image %s: %s", project.key, image.key, problems[-1])
                continue
            likes += similar.regions
        output = stages.options.output if stages.options is not None else "regions"
        return with_likes(found, likes, limits, problems, output)

    def _examples(self, project: Project, config: LabelingConfig) -> Examples:
        """The newest examples of each class; those known before while the store cannot be read."""
        with self._lock:
            until, known = self._known.get(project.key, (0.0, {}))
        if time.monotonic() >= until:
            try:
                known = self._read(project, config)
            except MaskwrightError as error:
                log.warning("the examples of project %s cannot be read: %s", project.key, error)
            with self._lock:
                self._known.pop(project.key, None)
                self._known[project.key] = (time.monotonic() + KNOWN_FOR_S, known)
                while len(self._known) > MAX_PROJECTS:  # anybody may send a key
                    del self._known[next(iter(self._known))]
        return known

    def _read(self, project: Project, config: LabelingConfig) -> Examples:
        found: dict[tuple[str, str], list[Example]] = {}
        for task, items, body in self._newest(project):
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

    def _newest(self, project: Project) -> Iterator[tuple[Task, list[Any], RequestBody]]:
        """The tasks that people finished last, the newest first, with what they left on them."""
        if project.id is None:
            return
        store = self._store()
        row = store.find_project(PLATFORM_NAME, self._servers.of(project), project.id)
        if row is None:
            return
        machine = {int(number) for number in ProjectNotes(store.database).get(row.id, MACHINE) or ()}
        newest: dict[int, Head] = {}
        for head in store.heads(row.id, kinds=_FINISHED, documents=False):
            before = newest.get(head.task_number)
            by_machine = head.task_number in machine and not head.stored.lead_time
            if not by_machine and (before is None or before.stored.updated_at <= head.stored.updated_at):
                newest[head.task_number] = head
        last = sorted(newest.values(), key=lambda head: head.stored.updated_at, reverse=True)[:LOOKS]
        for head in last:
            for text in store.task_documents(row.id, [head.task_number]):
                body = read_body(text, f"task {head.task_number}")
                for annotation in body.document["annotations"]:
                    if annotation.get("id") == head.stored.number and isinstance(annotation.get("result"), list):
                        yield Task.of(body.document), annotation["result"], body
