"""Between predictions and the store: what was suggested is kept, and what corrections taught of it is read."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace

from maskwright.assist.preannotate import Preannotation
from maskwright.assist.suggestion.learnt import keep_suggestions, learnt_thresholds
from maskwright.assist.suggestion.thresholds import USUAL, ClassThresholds
from maskwright.assist.suggestion.values import Status, Suggestion
from maskwright.errors import MaskwrightError
from maskwright.store.corrections import CorrectionsStore
from maskwright.store.project_notes import ProjectNotes
from maskwright_label_studio.coalesce import Coalescer
from maskwright_label_studio.projects import MAX_PROJECTS, Project
from maskwright_label_studio.servers import Servers
from maskwright_label_studio.tasks import Task
from maskwright_label_studio.webhook import PLATFORM_NAME

KNOWN_FOR_S = 30.0
"""How long what was learnt is remembered: many images in a row must not ask the database each."""
_SURE: dict[Status, int] = {"confirmed": 2, "plausible": 1, "rejected": 0}

log = logging.getLogger(__name__)


class SuggestionLessons:
    """The suggestions of a process's projects. Threads may share it; nothing here fails a prediction.

    Args:
        store: Opens the corrections store.
        servers: Under which names it has projects.
    """

    def __init__(self, store: Callable[[], CorrectionsStore], servers: Servers) -> None:
        self._store, self._servers = store, servers
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str], tuple[float, ClassThresholds]] = OrderedDict()
        self._confirming = Coalescer(MAX_PROJECTS, KNOWN_FOR_S)

    def keep(self, project: Project, task: Task, found: Sequence[Preannotation]) -> None:
        """Keep what was suggested of a task's images, all together, in a project that there is."""
        whole = together(found)
        if whole is None or task.id is None:
            return
        try:
            store = self._store()
            number = self._number(store, project)
            number = self._confirmed(store, project) if number is None else number
            if number is not None:
                keep_suggestions(store.database, number, task.id, whole, whole.support_version)
        except MaskwrightError as error:
            log.warning("what was suggested of task %d is not kept: %s", task.id, error)
        except Exception:
            log.exception("what was suggested of task %d is not kept", task.id)

    def thresholds(self, project: Project, support: str) -> ClassThresholds:
        """What support means for each class of a project; what was known before while the store cannot be read.

        Args:
            project: The project.
            support: Version of the models that measure it.
        """
        key = (project.key, support)
        with self._lock:
            until, known = self._known.get(key, (0.0, USUAL))
        if time.monotonic() < until:
            return known
        try:
            store = self._store()
            number = self._number(store, project)
            if number is not None:
                known = learnt_thresholds(ProjectNotes(store.database), number, support)
        except MaskwrightError as error:
            log.warning("what was learnt of suggestions in project %s cannot be read: %s", project.key, error)
        except Exception:
            log.exception("what was learnt of suggestions in project %s cannot be read", project.key)
        with self._lock:
            self._known[key] = (time.monotonic() + KNOWN_FOR_S, known)
            self._known.move_to_end(key)
            while len(self._known) > MAX_PROJECTS:  # anybody may send a key
                self._known.popitem(last=False)
        return known

    def _number(self, store: CorrectionsStore, project: Project) -> int | None:
        """The store's own number of a project that it knows."""
        if project.id is None:
            return None
        row = store.find_project(PLATFORM_NAME, self._servers.of(project), project.id)
        return None if row is None else row.id

    def _confirmed(self, store: CorrectionsStore, project: Project) -> int | None:
        """The same of a project that the store hears of now: its first images are suggested to before anybody corrects.

        Its own server has to confirm that it is there; strangers, who may name any number, make none. One asks for all
        images of a project that come together, and not again for a while.
        """
        answer = self._confirming.result(project.key, lambda: str(self._asked(store, project) or 0).encode())
        return int(answer) or None

    def _asked(self, store: CorrectionsStore, project: Project) -> int | None:
        server = self._servers.of(project)
        client = None if project.id is None or not server else self._servers.client(server, project.id)
        if project.id is None or client is None:
            return None
        try:
            found = client.project(project.id)
        except MaskwrightError as error:
            log.warning("what is suggested in project %s is not kept: %s", project.key, error)
            return None
        title, label_config = str(found.get("title") or ""), str(found.get("label_config") or "")
        return store.project(PLATFORM_NAME, server, project.id, title=title, label_config=label_config).id


def together(found: Sequence[Preannotation]) -> Preannotation | None:
    """What was suggested of several images of one task: of a class the surest; None where classes were not asked for.

    That nothing was suggested counts as well: people may leave a class there, and an earlier prediction's suggestions
    hold no more.
    """
    told = [one for one in found if one.support_version]
    if len(told) < 2:
        return told[0] if told else None
    best: dict[tuple[str, bool], Suggestion] = {}
    for one in (suggestion for page in told for suggestion in page.suggestions):
        key = (one.label, one.is_known)
        if key not in best or _rank(one) > _rank(best[key]):
            best[key] = one
    problems = dict.fromkeys(words for page in told for words in page.problems)
    return replace(told[0], suggestions=tuple(best.values()), problems=tuple(problems))


def _rank(one: Suggestion) -> tuple[int, float]:
    return _SURE[one.status], one.confidence
