"""What comparisons and exports ask of Label Studio, and what 1.23.2 answers (all of this was run, on SQLite).

* ``GET /api/tasks?fields=all`` holds annotations (skipped ones and those of everybody) and predictions complete, but
  only the caller's own drafts; ``GET /api/tasks/{t}/drafts`` has everybody's, and ``draft_exists`` is about everybody.
* ``annotations_ids`` is there with ``fields=all`` only and is cut off at 500 characters. ``total_annotations`` and
  ``cancelled_annotations`` are always there and exact. ``include=id,updated_at,...`` gives just these fields, some
  4,000 tasks a second (``fields=all``: 500); a page size has no upper limit.
* ``task.updated_at`` changes with every created, changed, skipped or deleted annotation, single or in bulk, and with
  created predictions and changed data; **not** with drafts, nor with the bulk deletion of predictions (which also
  turns ``parent_prediction`` of annotations into null under their old ``updated_at``).
* ``tasks:id`` orders pages, and a filter ``greater`` than the last number continues them whatever comes or goes. A
  page number beyond the end is a 404. Filters on times need microseconds and a Z, everything else is a 500.
* ``GET /api/tasks/{t}/`` makes Label Studio ask its backend for a prediction first; the list does not.
* What was deleted is not listed any more, and answers 404 by number, project or task; nothing tells what it was.
* On SQLite an import gives the numbers of deleted tasks, annotations and drafts out again, even in other projects.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from maskwright.errors import InvalidInput, MaskwrightError, NotFound, Unreachable
from maskwright.store.records import TaskState
from maskwright.store.times import now, to_text
from maskwright_label_studio.client import ApiError, ForeignNotFound, LabelStudioClient
from maskwright_label_studio.stored_tasks import Documents, number_of, task_states

PAGE_BYTES = 8 * 1024**2
_FIRST_PAGE, _MOST_PER_PAGE = 10, 100
_UNREADABLE = (ApiError, InvalidInput, Unreachable)
_MARKS_PER_PAGE = 1000
_MARK_FIELDS = "id,created_at,updated_at,total_annotations,cancelled_annotations"


@dataclass(frozen=True)
class TaskMark:
    """What tells whether a task changed: its number, the time of its last change, how many annotations it has.

    ``created_at`` (empty if not told) tells it from an earlier task of the same number.
    """

    number: int
    updated_at: str
    submitted: int
    skipped: int
    created_at: str = ""


@dataclass(frozen=True)
class TaskPage:
    """Tasks that were read together.

    Attributes:
        numbers: Those that were asked for.
        asked_at: When (ISO 8601).
        states: Those that are there.
        failure: Why the only one that was asked for could not be read, or None.
    """

    numbers: tuple[int, ...]
    asked_at: str
    states: tuple[TaskState, ...] = ()
    failure: MaskwrightError | None = None


class ProjectPages:
    """The tasks of one project, page by page.

    Args:
        client: Of the server.
        number: The project's number.
    """

    def __init__(self, client: LabelStudioClient, number: int) -> None:
        self._client = client
        self._project = number
        self._page_size = _FIRST_PAGE

    def marks(self, before: Callable[[], None] | None = None) -> Iterator[list[TaskMark]]:
        """Marks of all tasks in order of their numbers, up to a thousand at a time; ``before`` as in ``read_all``.

        Raises:
            InvalidInput: If an answer is not one of Label Studio.
            MaskwrightError: What ``LabelStudioClient`` raises.
        """
        for page in self._listed([], _MARK_FIELDS, before):
            yield [
                TaskMark(
                    number_of(task, "a task"), str(task.get("updated_at") or ""),
                    int(task.get("total_annotations") or 0), int(task.get("cancelled_annotations") or 0),
                    str(task.get("created_at") or ""),
                )
                for task in page
            ]  # fmt: skip

    def with_drafts(self, before: Callable[[], None] | None = None) -> set[int]:
        """Numbers of the tasks that someone has an unfinished drawing of; ``before`` as in ``read_all``."""
        wanted = {"filter": "filter:tasks:draft_exists", "operator": "equal", "type": "Boolean", "value": True}
        return {number_of(task, "a task") for page in self._listed([wanted], "id", before) for task in page}

    def read(self, numbers: Sequence[int]) -> tuple[list[TaskState], int]:
        """The named tasks with everything on them; those that are gone are left out.

        Returns:
            The tasks, and the bytes that came for them.

        Raises:
            InvalidInput: If an answer is damaged.
            MaskwrightError: What ``LabelStudioClient`` raises.
        """
        named = {"filter": "filter:tasks:id", "operator": "in_list", "type": "Number", "value": list(numbers)}
        data = self._client.fetch(
            "/api/tasks", project=self._project, page_size=len(numbers), fields="all", resolve_uri="false",
            query=_query([named]),
        )  # fmt: skip
        documents = Documents(data, "the page of tasks")
        found = documents.top.get("tasks")
        if not isinstance(found, list):
            raise InvalidInput("the page of tasks holds no 'tasks'")
        drafts = {}
        for task in found:
            if isinstance(task, dict) and task.get("draft_exists"):
                number = number_of(task, "a task")
                drafts[number] = self._drafts(number)
        return task_states(documents, drafts), len(data)

    def read_all(self, numbers: Iterable[int], before: Callable[[], None] | None = None) -> Iterator[TaskPage]:
        """The named tasks with everything on them, in order, in pages of about ``PAGE_BYTES``.

        A page that cannot be read is read in parts, so that one bad task costs the others nothing.

        Args:
            numbers: Of the tasks.
            before: Called before each request; what it raises ends the reading.

        Raises:
            MaskwrightError: If Label Studio does not answer any more.
        """
        waiting = deque(sorted(numbers))
        while waiting:
            if before is not None:
                before()
            part = tuple(waiting.popleft() for _ in range(min(self._page_size, len(waiting))))
            asked = to_text(now())
            try:
                states, nbytes = self.read(part)
            except _UNREADABLE as error:
                if len(part) > 1:
                    self._page_size = len(part) // 2
                    waiting.extendleft(reversed(part))
                elif isinstance(error, Unreachable) and not self._answers():
                    raise
                else:
                    yield TaskPage(part, asked, failure=error)
                continue
            self._page_size = max(1, min(_MOST_PER_PAGE, PAGE_BYTES * len(part) // max(nbytes, 1)))
            yield TaskPage(part, asked, tuple(states))

    def _answers(self) -> bool:
        try:
            self._client.version()
        except MaskwrightError:
            return False
        return True

    def _drafts(self, task: int) -> Documents:
        try:
            data = self._client.fetch(f"/api/tasks/{task}/drafts")
        except ForeignNotFound as error:
            raise InvalidInput(str(error)) from error
        except NotFound:
            data = b"[]"  # deleted since the page was made; the next comparison finds it gone
        return Documents(b'{"drafts":' + data + b"}", f"the list of drafts of task {task}")

    def _listed(
        self, filters: list[dict[str, Any]], fields: str, before: Callable[[], None] | None
    ) -> Iterator[list[dict[str, Any]]]:
        after = 0
        while True:
            if before is not None:
                before()
            later = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": after}
            answer = self._client.get(
                "/api/tasks", project=self._project, page_size=_MARKS_PER_PAGE, include=fields,
                query=_query([later, *filters]),
            )  # fmt: skip
            tasks = answer.get("tasks") if isinstance(answer, dict) else None
            if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
                raise InvalidInput(f"the list of tasks of project {self._project} holds no 'tasks'")
            yield tasks
            if len(tasks) < _MARKS_PER_PAGE:
                return
            after = max(number_of(task, "a task") for task in tasks)


def _query(filters: list[dict[str, Any]]) -> str:
    query = {"filters": {"conjunction": "and", "items": filters}, "ordering": ["tasks:id"]}
    return orjson.dumps(query).decode()
