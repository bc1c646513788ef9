"""What people made of suggested classes: thresholds of support for each class, and the rates that show a bias.

Both are kept as notes of the project: what pre-annotates reads the thresholds, the dashboard shows the rates.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from maskwright.assist.suggestion.learnt import THRESHOLDS
from maskwright.assist.suggestion.rates import ClassRates, ImageOutcome, skew, suggestion_rates
from maskwright.assist.suggestion.records import read_suggestions
from maskwright.assist.suggestion.thresholds import ClassThresholds, Judged, judge, learn_thresholds
from maskwright.errors import InvalidInput, MaskwrightError
from maskwright.learn.rounds.corrections import newest_by_people
from maskwright.learn.rounds.workshop import MACHINE, Workshop
from maskwright.store.records import ProjectRow
from maskwright.store.suggestions import SuggestedState, Suggestions
from maskwright.store.times import now, to_microseconds, to_text

RATES = "suggestion-rates"
"""Note of a project: a ``SuggestionLesson`` for people to read, and what it was learnt from."""
SHARE = 0.05
"""Of a worker's time, the part that a project's lesson may take: it reads every correction anew."""
_SECOND = 1_000_000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SuggestionLesson:
    """What the suggestions of a project came to.

    Attributes:
        images: Tasks whose image something was suggested of, or nothing found in.
        looked_at: Those that a person has submitted since or before.
        rates: Of every class of the label set, the most often suggested first.
        skew: How far suggestions stray from what people leave; see ``rates.skew``.
        thresholds: Learnt from those suggestions that the latest models gave.
    """

    images: int
    looked_at: int
    rates: tuple[ClassRates, ...]
    skew: float
    thresholds: ClassThresholds

    def to_json(self) -> dict[str, Any]:
        """For reports, the thresholds left out."""
        return {
            "images": self.images,
            "looked_at": self.looked_at,
            "skew": self.skew,
            "classes": [one.to_json() for one in self.rates],
        }


def learn_from_suggestions(
    workshop: Workshop, project_id: int | None = None, *, stopping: Callable[[], bool] = lambda: False
) -> None:
    """Learn anew wherever suggestions or corrections have changed; what goes wrong is logged, and costs nothing else.

    Args:
        workshop: Where.
        project_id: Only of this project (the store's own number), or None for all.
        stopping: Asked between projects.
    """
    try:
        projects = [one for one in workshop.store.projects() if project_id in (None, one.id)]
    except MaskwrightError as error:
        log.warning("nothing was learnt from suggestions: %s", error)
        return
    for project in projects:
        if stopping():
            return
        try:
            learn_suggestions(workshop, project)
        except MaskwrightError as error:
            log.warning("project %d: nothing was learnt from its suggestions: %s", project.number, error)
        except Exception:
            log.exception("project %d: nothing was learnt from its suggestions", project.number)


def learn_suggestions(workshop: Workshop, project: ProjectRow) -> bool:
    """Learn from a project's suggestions and keep it, unless nothing has changed or the last time was but now.

    Returns:
        Whether it was learnt anew.

    Raises:
        MaskwrightError: If the store does not answer, or the platform's tasks cannot be read.
    """
    state = Suggestions(workshop.store.database).state(project.id)
    if state is None:
        return False
    known: Mapping[str, Any] = workshop.notes.get(project.id, RATES) or {}
    spent = float(known.get("seconds", 0.0))
    if now() - to_microseconds(known.get("at", "")) < spent / SHARE * _SECOND:
        return False
    started = time.monotonic()
    submitted = _submitted(workshop, project)
    stamp = _stamp(state, submitted)
    if known.get("stamp") == stamp:
        return False
    lesson = read_lesson(workshop, project)
    workshop.notes.put(project.id, THRESHOLDS, lesson.thresholds.to_json())
    seconds = time.monotonic() - started
    workshop.notes.put(
        project.id, RATES, {**lesson.to_json(), "stamp": stamp, "at": to_text(now()), "seconds": seconds}
    )
    log.info(
        "project %d: %d of %d images with suggestions were looked at; thresholds of %d classes learnt in %.1f s",
        project.number, lesson.looked_at, lesson.images, len(lesson.thresholds.by_class), seconds,
    )  # fmt: skip
    return True


def read_lesson(workshop: Workshop, project: ProjectRow) -> SuggestionLesson:
    """What a project's suggestions came to as of now.

    Raises:
        MaskwrightError: If the store does not answer, or the platform's tasks cannot be read.
    """
    kept = Suggestions(workshop.store.database)
    state = kept.state(project.id)
    final = _final(workshop, project, {task for task, _ in _submitted(workshop, project)}) if state else {}
    version = state.support_version if state is not None else ""
    judged: list[Judged] = []
    counts = {"images": 0, "looked_at": 0}

    def outcomes() -> Iterator[ImageOutcome]:
        for one in kept.list(project.id):
            try:
                known = tuple(found for found in read_suggestions(one.suggestions) if found.is_known)
            except InvalidInput as error:
                log.warning("task %d of project %d: %s", one.task_number, project.number, error)
                continue
            outcome = ImageOutcome(known, final.get(one.task_number))
            counts["images"] += 1
            counts["looked_at"] += outcome.final is not None
            if one.support_version == version:
                judged.extend(judge([outcome]))
            yield outcome

    rates = tuple(suggestion_rates(outcomes()))
    thresholds = learn_thresholds(judged, version)
    return SuggestionLesson(counts["images"], counts["looked_at"], rates, skew(rates) if rates else 0.0, thresholds)


def _submitted(workshop: Workshop, project: ProjectRow) -> list[tuple[int, int]]:
    """(task, state) of every submitted annotation, in order."""
    heads = workshop.store.heads(project.id, kinds=["submitted"], documents=False)
    return [(head.task_number, head.correction_id) for head in heads]


def _stamp(state: SuggestedState, submitted: Iterable[tuple[int, int]]) -> str:
    return hashlib.blake2b(repr((state, list(submitted))).encode(), digest_size=8).hexdigest()


def _final(workshop: Workshop, project: ProjectRow, tasks: set[int]) -> dict[int, frozenset[str]]:
    """Classes that people left in each task that they have looked at."""
    wanted = [one.task_number for one in Suggestions(workshop.store.database).list(project.id)]
    machine = set(workshop.notes.get(project.id, MACHINE) or ())
    reader = workshop.reader(project)
    found = {}
    for document in workshop.store.task_documents(project.id, tasks.intersection(wanted)):
        try:
            task = reader(document)
        except MaskwrightError as error:
            log.debug("a task of project %d teaches nothing of suggestions: %s", project.number, error)
            continue
        left = newest_by_people(task, machine)
        if left is not None:
            regions = (region for several in left.regions.values() for region in several)
            found[int(task.key)] = frozenset(region.label for region in regions if region.label)
    return found
