"""What the forms of the dashboard do."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from maskwright.assist.services import Notice
from maskwright.errors import InvalidInput
from maskwright.learn.rounds.by_hand import promote_by_hand
from maskwright.learn.rounds.requests import want_training
from maskwright.learn.settings import learning_settings, write_learning
from maskwright.server.dashboard.views import Glance, Outlook, ProjectView
from maskwright.server.learning_state import SILENT_S
from maskwright.store.corrections import CorrectionsStore
from maskwright.store.project_notes import ProjectNotes
from maskwright.store.rounds import RoundStore
from maskwright.store.served import ServedRegister
from maskwright.store.workers import WorkerRegister

if TYPE_CHECKING:
    from maskwright.assist.services import Services

DONE = MappingProxyType(
    {
        "asked": "A round was asked for. It begins when a worker is free and corrections pause for a moment.",
        "busy": "A round is under way already; what was corrected since is learnt in the next.",
        "cancelled": "The round was cancelled.",
        "cancelling": "The worker was asked to stop; the round ends within seconds.",
        "promoted": "The version is in service from the next click on. Predictions are refreshed, next tasks first.",
        "rolled-back": "The version before is in service again, from the next click on.",
        "saved": "The settings are kept; they hold from the next round on.",
    }
)
"""What a page says after a form was taken, by the word in its address: a text of ours, never one of the address."""

_FIELDS = ("mode", "accept_threshold", "review_share", "acquisition", "corrections_per_round", "group_field")


class Actions:
    """The levers, over the corrections store of the process. Threads may share it.

    Args:
        services: Of the process.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    def store_if_any(self) -> CorrectionsStore | None:
        """The store, or None while none was ever made: looking at a page makes no database.

        Raises:
            MaskwrightError: If it cannot be opened.
        """
        settings = self._services.settings
        if not settings.database_url.get_secret_value() and not any(settings.home.glob("corrections.sqlite3*")):
            return None
        return self._services.store()

    def do(
        self, action: str, store: CorrectionsStore, project: ProjectView, number: int | None, form: Mapping[str, str]
    ) -> str:
        """Do what a form asks for.

        Args:
            action: ``train``, ``settings``, ``rollback``, ``cancel`` or ``promote``.
            store: The corrections.
            project: Whose form it is.
            number: The round's, for the last two.
            form: Its fields.

        Returns:
            A word of ``DONE``.

        Raises:
            InvalidInput: If it cannot be done so; nothing was done then.
            ModelUnavailable: If what is to be served is damaged or gone, likewise.
        """
        match action:
            case "train":
                return self._train(store, project)
            case "settings":
                chosen = {name: form[name].strip() for name in _FIELDS if name in form}
                settings = learning_settings(project.settings.model_dump() | chosen)
                write_learning(ProjectNotes(store.database), project.row.id, settings)
                return "saved"
            case "rollback":
                return self._rollback(store, project, form.get("version", ""))
            case "cancel" if number is not None:
                ended = RoundStore(store.database).cancel(project.row.id, number)
                return "cancelling" if ended.state.is_active else "cancelled"
            case "promote" if number is not None:
                insists = form.get("confirmed") == "yes"
                promote_by_hand(store, self._services.settings.home, project.row.id, number, force=insists)
                self._notify(project, "refresh")
                return "promoted"
        raise InvalidInput(f"there is no action {action!r}")

    def _train(self, store: CorrectionsStore, project: ProjectView) -> str:
        if project.active is not None:
            return "busy"
        if not Outlook.of(store, project.row.id, Glance.of(store, project).last).fresh:
            raise InvalidInput(
                "there is no correction that the last round did not have; correct more tasks, or train all the same "
                "with: maskwright train --force"
            )
        want_training(store, project.row.id)
        self._notify(project, "start-training")
        return "asked"

    def _rollback(self, store: CorrectionsStore, project: ProjectView, seen: str) -> str:
        # Of a form sent twice, or by two people, the second would go back one version further than anybody saw.
        present = next((version for version in project.serving if str(version.id) == seen), None)
        if present is None:
            raise InvalidInput("another version is in service by now; look at the versions again before you go back")
        ServedRegister(store.database).rollback(project.row.id, present.base, expected=present.id)
        self._notify(project, "refresh")
        return "rolled-back"

    def _notify(self, project: ProjectView, action: Literal["start-training", "refresh"]) -> None:
        row = project.row
        self._services.notice(Notice(row.platform, row.server, row.number, action))


def workers_are_away(store: CorrectionsStore) -> bool:
    """Whether no worker has been seen lately."""
    silent = WorkerRegister(store.database).silent_for()
    return silent is None or silent > SILENT_S
