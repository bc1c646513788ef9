"""What the learning loop changes for requests, and what it is told of them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

from maskwright.assist.services import Notice, Services
from maskwright.errors import MaskwrightError
from maskwright.store.records import Event
from maskwright_label_studio.projects import Project
from maskwright_label_studio.servers import Servers
from maskwright_label_studio.webhook import PLATFORM_NAME

_CORRECTING = frozenset({"ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED"})

log = logging.getLogger(__name__)


class LearningDoor:
    """Between the protocol and the learning loop. Threads may share it.

    Args:
        services: What is served, and who is told.
        servers: Under which names the store has projects.
    """

    def __init__(self, services: Services, servers: Servers) -> None:
        self._served, self._tell, self._store = services.served, services.notice, services.store
        self._anybody = not services.settings.has_credentials
        self._servers = servers

    def served(self, project: Project) -> Project:
        """The project as it is served now: with what was promoted for it in its model URI. Asked once per request.

        Raises:
            InvalidInput: If its model URI is malformed.
        """
        given = project.options.model
        model = self._served.uri(PLATFORM_NAME, self._servers.of(project), project.id, given)
        if model == given:
            return project
        return replace(project, options=project.options.model_copy(update={"model": model}))

    def stored(self, events: Iterable[Event]) -> None:
        """Tell of stored events that brought corrections, or a wish for a round. Raises nothing.

        Where senders can prove who they are, those who do not have brought nothing yet, and may not wish.
        """
        # A storm of them is one for each project: whoever stores events waits for this.
        meant = dict.fromkeys((one.server, one.project, one.action) for one in events if self._is_meant(one))
        for server, number, action in meant:
            if number is None:
                continue
            if action == "START_TRAINING":
                self._wish(server, number)
            else:
                self.corrected(server, number)

    def _is_meant(self, event: Event) -> bool:
        if event.action == "START_TRAINING":
            return event.authenticated or self._anybody
        return event.authenticated and event.action in _CORRECTING

    def _wish(self, server: str, number: int) -> None:
        """Keep the wish for a round, since the message that wakes a worker may be lost; then send that."""
        from maskwright.learn.rounds.requests import want_training

        try:
            store = self._store()
            row = store.find_project(PLATFORM_NAME, server, number)
            if row is None:  # strangers must neither make projects nor wake anybody for them
                return
            want_training(store, row.id)
        except Exception as error:
            if isinstance(error, MaskwrightError):
                log.warning("the wish for a round of project %d could not be kept: %s", number, error)
            else:
                log.exception("the wish for a round of project %d could not be kept", number)
        self._notice(Notice(PLATFORM_NAME, server, number, "start-training"))

    def corrected(self, server: str, number: int) -> None:
        """Tell that new corrections of a project are stored. Raises nothing."""
        self._notice(Notice(PLATFORM_NAME, server, number, "corrections"))

    def _notice(self, notice: Notice) -> None:
        try:
            self._tell(notice)
        except Exception:
            log.exception("nobody could be told: %s", notice)
