"""Automatic mode: tasks all of whose regions are beyond doubt are annotated by the machine, but for a sample.

Only while the version in service is the one that the last verdict promoted, which is asked before every task. What the
machine annotated is noted, first as an intention, then by the number of its annotation, so that neither a crash nor a
person's deletion leads to a second one, and rounds do not take it for a correction.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from maskwright.learn.rounds.workshop import MACHINE
from maskwright.models.uri import parse_model_uri
from maskwright.store.database import Database
from maskwright.store.priorities import Priority
from maskwright.store.project_notes import ProjectNotes
from maskwright.store.rounds import RoundState, RoundStore
from maskwright.store.served import ServedRegister
from maskwright_label_studio.client import ApiError
from maskwright_label_studio.modes import is_reviewed
from maskwright_label_studio.pace import Pace
from maskwright_label_studio.queue_looks import CONFIDENCE
from maskwright_label_studio.queue_pass import Place
from maskwright_label_studio.queue_rows import was_degraded
from maskwright_label_studio.remarks import without_remarks
from maskwright_label_studio.tasks import Task

LEAD_TIME = 0
"""Seconds: what tells the machine's annotations from those of people who began from the same prediction, and from those
that people have changed since: Label Studio adds the time that they took."""
NOTHING = 0
"""Noted in place of an annotation's number of a task whose annotation Label Studio refused."""
_REFUSED, _UNCERTAIN = 400, 500
"""Statuses: of what is wrong with this annotation, and from which on it may have been made all the same."""

log = logging.getLogger(__name__)


def is_trusted(database: Database, project_id: int, uri: str) -> bool:
    """Whether the last verdict of a project promoted this very model, adapter and class head included."""
    model = parse_model_uri(uri)
    served = ServedRegister(database).current(project_id, str(replace(model, adapter=None, classes=None)))
    judged = (one for one in RoundStore(database).list(project_id) if one.verdict is not None)
    last = next(judged, None)
    return (
        served is not None
        and served.uri == str(model)
        and last is not None
        and last.state is RoundState.PROMOTED
        and served.round_number == last.number
    )


class MachineAnnotator:
    """Annotates tasks of one project.

    Args:
        place: The project.
        notes: Where it is noted what was annotated.
        version: The version in service.
        pace: Asked between tasks.
        may: Asked before every task whether the machine is still to annotate.
    """

    def __init__(
        self, place: Place, notes: ProjectNotes, version: str, pace: Pace, may: Callable[[], bool] = lambda: True
    ) -> None:
        self._place, self._notes, self._version, self._pace, self._may = place, notes, version, pace, may
        kept = notes.get(place.id, MACHINE)
        self._done: dict[str, int | None] = dict(kept) if isinstance(kept, dict) else {}

    def run(self, rows: Iterable[Priority]) -> int:
        """Annotate what can be, the surest first; how many were.

        Args:
            rows: The project's queue.

        Raises:
            MaskwrightError: If Label Studio or the store is not there.
            Cancelled: If the work is to end.
        """
        for number in [int(key) for key, annotation in self._done.items() if annotation is None]:
            self._settle(number)
        able = [row for row in rows if self._is_able(row)]
        able.sort(key=lambda row: (-row.signals[CONFIDENCE], row.task_number))
        annotated = 0
        for row in able:
            self._pace.check()
            if not self._may():
                break
            annotated += self._annotate(row.task_number)
        return annotated

    def _is_able(self, row: Priority) -> bool:
        settings = self._place.mode.settings
        return (
            row.model_version == self._version
            and row.score is not None
            and not was_degraded(row)
            and CONFIDENCE in row.signals
            and self._place.mode.is_sure(row.signals[CONFIDENCE])
            and str(row.task_number) not in self._done
            and not is_reviewed(self._place.project.key, row.task_number, settings.review_share)
        )

    def _annotate(self, number: int) -> bool:
        place = self._place
        document = place.client.whole_task(place.number, number)
        found = None if document is None else self._prediction(document)
        if document is None or found is None or Task.of(document).is_annotated or document.get("draft_exists"):
            return False
        drawn = without_remarks(found["result"])
        result = [{key: value for key, value in item.items() if key != "score"} for item in drawn]
        self._note(number, None)
        try:
            annotation = place.client.create_annotation(
                number, result=result, parent_prediction=found["id"], lead_time=LEAD_TIME
            )
        except ApiError as error:
            if error.remote_status == _REFUSED:
                self._note(number, NOTHING)
                log.error("task %d of project %d is left to people: %s", number, place.number, error)
                return False
            if error.remote_status < _UNCERTAIN:
                self._forget(number)
            raise
        self._note(number, annotation)
        log.info("task %d of project %d was annotated by the machine", number, place.number)
        return True

    def _prediction(self, document: Mapping[str, Any]) -> dict[str, Any] | None:
        """The stored prediction of this version, if all of its regions are still beyond doubt."""
        stored = [p for p in document.get("predictions") or () if p.get("model_version") == self._version]
        scores = [item.get("score", 0.0) for item in without_remarks(stored[-1]["result"])] if stored else []
        return stored[-1] if scores and self._place.mode.is_sure(min(scores)) else None

    def _settle(self, number: int) -> None:
        """Find out how an intention ended that was not noted to its end.

        Where nothing is found it stands, and people annotate the task: a request that nobody waits for any more may
        still arrive, or a person has deleted what came of it.
        """
        document = self._place.client.whole_task(self._place.number, number)
        if document is None:
            self._forget(number)
            return
        annotations = document.get("annotations") or []
        ours = [a for a in annotations if a.get("parent_prediction") and a.get("lead_time") == LEAD_TIME]
        if ours:
            self._note(number, int(ours[0]["id"]))

    def _note(self, number: int, annotation: int | None) -> None:
        self._done[str(number)] = annotation
        self._notes.put(self._place.id, MACHINE, self._done)

    def _forget(self, number: int) -> None:
        del self._done[str(number)]
        self._notes.put(self._place.id, MACHINE, self._done)
