"""Which Label Studio a project is on, and how its API is reached.

Two servers may have projects of the same number. An event tells when its project was created, and with the number that
is the key under which /setup told of it. Until /setup came, the store keeps a project under a name made of that key;
afterwards it gets its server's.
"""

from __future__ import annotations

import logging

from sqlalchemy import Connection, update

from maskwright.errors import InvalidInput
from maskwright.settings import Settings
from maskwright.store.corrections import CorrectionsStore, ProjectRow
from maskwright.store.schema import events, projects
from maskwright.store.times import now
from maskwright_label_studio.access import Access
from maskwright_label_studio.client import LabelStudioClient
from maskwright_label_studio.projects import Project, ProjectMemory
from maskwright_label_studio.webhook import PLATFORM_NAME

_UNKNOWN, _EARLIER = "unknown:", "earlier:"

log = logging.getLogger(__name__)


class Servers:
    """Servers of projects. Threads may share it.

    Args:
        settings: The operator's; ``label_studio_url`` is the server of every project if it is set.
        access: Clients.
        memory: What /setup told.
    """

    def __init__(self, settings: Settings, access: Access, memory: ProjectMemory) -> None:
        self._operator_url = settings.label_studio_url.rstrip("/")
        self._access, self._memory = access, memory

    def of_project(self, number: int, key: str = "") -> str:
        """Address of the server of a project, or a name of its own if it is not known yet.

        Args:
            number: The project's number.
            key: Its key as /setup tells it, or empty; then only a number that one server has is known.
        """
        if self._operator_url:
            return self._operator_url
        if key:
            known = self._memory.known(key)
            return self.of(known) if known is not None else _UNKNOWN + key
        places = {_address(project) for project in self._memory.of_number(number)}
        return places.pop() if len(places) == 1 else f"{_UNKNOWN}{number}"

    def of(self, project: Project) -> str:
        """Address of the server of a project as /setup told of it; empty if it did not say."""
        return self._operator_url or _address(project)

    def connected(self) -> set[tuple[str, int]]:
        """(server, number) of every project that /setup told of."""
        return {(self.of(p), p.id) for p in self._memory.all() if p.id is not None}

    def is_connected(self, server: str, number: int) -> bool:
        """Whether /setup told of that project."""
        return self._project(server, number) is not None

    def client(self, server: str, number: int) -> LabelStudioClient | None:
        """A client for that project, or None where no usable key is known."""
        project = self._project(server, number)
        if project is None and self._operator_url and server == self._operator_url:
            project = Project(str(number))
        if project is None:
            return None  # of a server that was configured before, say; no key must go there
        try:
            return self._access.client(project)
        except InvalidInput as error:
            log.warning("Label Studio's address or key is malformed: %s", error)
            return None

    def adopt(self, store: CorrectionsStore) -> None:
        """Give the stored projects that had no server yet to the server that has turned out to be theirs."""
        for row in store.projects(platform=PLATFORM_NAME):
            if row.server and not row.server.startswith(_UNKNOWN):
                continue
            key = row.server.removeprefix(_UNKNOWN)
            server = self.of_project(row.number, key if "." in key else "")
            if server and not server.startswith(_UNKNOWN):
                _rename(store, row, server)

    def _project(self, server: str, number: int) -> Project | None:
        told = self._memory.of_number(number)
        if self._operator_url:
            return told[-1] if told and server == self._operator_url else None
        return next((project for project in reversed(told) if _address(project) == server), None)


def _rename(store: CorrectionsStore, row: ProjectRow, server: str) -> None:
    taken = store.find_project(PLATFORM_NAME, server, row.number)
    if taken is not None:
        # What the platform still has comes with a comparison; what it deleted meanwhile stays under the other name.
        store.request_full_sync(taken.id)
        log.warning("project %d of %s is stored twice: events came before /setup told whose it is", row.number, server)
    name = server if taken is None else f"{_EARLIER}{row.id}:{server}"[:512]

    def work(connection: Connection) -> None:
        connection.execute(
            update(projects).where(projects.c.id == row.id).values(server=name, full_sync_needed_at=now())
        )
        same = (events.c.platform == PLATFORM_NAME, events.c.server == row.server, events.c.project == row.number)
        connection.execute(update(events).where(*same).values(server=server))

    store.database.write(work)


def _address(project: Project) -> str:
    return project.hostname.rstrip("/")
