"""The tasks of a project as they are now, and their images, for exports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import orjson

from maskwright.errors import MaskwrightError, Unreachable
from maskwright.settings import Settings
from maskwright_label_studio.access import Access
from maskwright_label_studio.client import LabelStudioClient
from maskwright_label_studio.projects import Project

_PAGE = 50


def live_tasks(client: LabelStudioClient, project: int) -> Iterator[tuple[bytes, str]]:
    """(JSON text of a task, what messages call it) of all tasks of a project, in the order of their numbers.

    Pages continue from the last number seen, so tasks that come or go meanwhile shift nothing. Of drafts Label Studio
    shows only those of the caller.

    Raises:
        MaskwrightError: If Label Studio does not answer as it should.
    """
    after = 0
    while True:
        later = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": after}
        query = {"filters": {"conjunction": "and", "items": [later]}, "ordering": ["tasks:id"]}
        answer = client.get(
            "/api/tasks", project=project, page_size=_PAGE, fields="all", resolve_uri="false",
            query=orjson.dumps(query).decode(),
        )  # fmt: skip
        found = answer.get("tasks") if isinstance(answer, dict) else None
        if not isinstance(found, list) or not all(isinstance(task, dict) and "id" in task for task in found):
            raise Unreachable(f"Label Studio's list of the tasks of project {project} is not one")
        for task in found:
            yield orjson.dumps(task), f"task {task['id']} of project {project}"
        if len(found) < _PAGE:
            return
        after = max(task["id"] for task in found)


@dataclass(frozen=True)
class LiveImages:
    """Fetches the images of a project as the labelling page does. Can be pickled.

    Attributes:
        settings: Address and key of Label Studio.
        project: The project's number.
    """

    settings: Settings
    project: str

    def __call__(self, source: str, file_name: str) -> bytes | None:
        """The encoded image at an address, or None where it cannot be had."""
        try:
            return _access(self).fetch(Project(self.project), source, None)
        except MaskwrightError:
            return None

    def __hash__(self) -> int:
        return hash((self.settings.label_studio_url, self.project))


@lru_cache(maxsize=4)
def _access(images: LiveImages) -> Access:
    """Connections are kept between images of one process."""
    return Access(images.settings)
