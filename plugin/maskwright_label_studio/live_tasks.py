"""The tasks of a project as they are now, and their images, for exports."""

from __future__ import annotations

from collections.abc import Iterator

from maskwright.errors import Unreachable
from maskwright.settings import Settings
from maskwright.store.documents import splice_task
from maskwright.store.records import TaskState
from maskwright_label_studio.access import Access
from maskwright_label_studio.client import LabelStudioClient
from maskwright_label_studio.projects import Project
from maskwright_label_studio.sync_pages import ProjectPages


def live_tasks(client: LabelStudioClient, project: int) -> Iterator[tuple[bytes, str]]:
    """(JSON text of a task, what messages call it) of all tasks of a project, in the order of their numbers.

    The texts are those that the corrections store gives after a comparison, drafts of everybody included: while nobody
    changes the project they are the same bytes every time, so that an interrupted export goes on where it stopped.

    Raises:
        MaskwrightError: If Label Studio does not answer as it should. A task that cannot be read is named: a dataset
            that silently lacks it would be worse than none.
    """
    pages = ProjectPages(client, project)
    for marks in pages.marks():
        for page in pages.read_all(mark.number for mark in marks):
            if page.failure is not None:
                named = f"task {page.numbers[0]} of project {project} cannot be read: {page.failure}"
                raise Unreachable(named) from page.failure
            for state in sorted(page.states, key=lambda state: state.number):
                yield _document(state, project), f"task {state.number} of project {project}"


def _document(state: TaskState, project: int) -> bytes:
    drawn = sorted(state.annotations, key=lambda one: one.number)
    return splice_task(
        state.number,
        project,
        state.data,
        [one.document for one in drawn if one.kind != "draft"],
        [one.document for one in sorted(state.proposals, key=lambda one: one.number)],
        [one.document for one in drawn if one.kind == "draft"],
    )


class LiveImages:
    """Fetches the images of a project as the labelling page does; an ``ImageFetcher``.

    Args:
        settings: Address and key of Label Studio.
        project: The project's number.
    """

    def __init__(self, settings: Settings, project: str) -> None:
        self._settings, self._project = settings, project
        self._access = Access(settings)

    def __call__(self, source: str, file_name: str, task: str) -> bytes:
        """The encoded image at an address of a task; errors are those of ``ImageResolver.fetch``."""
        number = int(task) if task.isascii() and task.isdigit() else None
        return self._access.fetch(Project(self._project), source, number)

    def __reduce__(self) -> tuple[type[LiveImages], tuple[Settings, str]]:
        # Each process has connections of its own.
        return LiveImages, (self._settings, self._project)

    def __repr__(self) -> str:
        return f"LiveImages({self._settings!r}, {self._project!r})"
