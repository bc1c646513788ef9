"""The HTTP protocol of a Label Studio ML backend: /setup, /predict, /versions, /webhook. /health is the server's.

What the real server sends and how it takes the answers is recorded in tests/contract. Errors are raised and leave
through the server, whose reason phrase is all that Label Studio passes on.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

import orjson
from flask import Blueprint, Response, g, request

from maskwright.assist.services import Services
from maskwright.errors import InvalidInput
from maskwright.store.records import Event
from maskwright_label_studio.access import Access
from maskwright_label_studio.batch import BatchPredictor
from maskwright_label_studio.body import RequestBody, read_body
from maskwright_label_studio.config import parse_config
from maskwright_label_studio.corrected import CorrectedExamples
from maskwright_label_studio.intake import EventIntake
from maskwright_label_studio.keeper import CorrectionsKeeper
from maskwright_label_studio.modes import Modes
from maskwright_label_studio.options import parse_options
from maskwright_label_studio.predictor import Predictor
from maskwright_label_studio.projects import PROJECTS_FILE, Project, ProjectMemory
from maskwright_label_studio.refresh import QueueRefresher
from maskwright_label_studio.servers import Servers
from maskwright_label_studio.serving import LearningDoor
from maskwright_label_studio.suggested import SuggestionLessons
from maskwright_label_studio.tasks import PredictRequest, project_key
from maskwright_label_studio.warm import Warmer
from maskwright_label_studio.webhook import check_unproven_size, read_event

WEBHOOK_RULE = "/webhook"
_MAX_TEXT = 2000
_END_S = 5.0

log = logging.getLogger(__name__)


class LabelStudioBlueprint(Blueprint):
    """The routes, with what outlives a request.

    Args:
        services: The assistant and its surroundings.

    Attributes:
        public_rules: Routes that Label Studio calls without credentials.
        projects: What /setup told.
        store: Opens the corrections store.
        keeper: Keeps it equal to Label Studio once ``start`` was called.
        refresher: Keeps predictions and queues up to date with what projects serve, likewise.
    """

    public_rules = frozenset({WEBHOOK_RULE})

    def __init__(self, services: Services) -> None:
        super().__init__("label_studio", __name__)
        access = Access(services.settings)
        self.projects = ProjectMemory(services.settings.home / PROJECTS_FILE)
        self.store = services.store
        servers = Servers(services.settings, access, self.projects)
        self._learning = LearningDoor(services, servers)
        self.keeper = CorrectionsKeeper(
            services.settings, self.store, access, self.projects, corrected=self._learning.corrected
        )
        self._intake = EventIntake(self.store, self._stored)
        self._predictor = Predictor(
            services,
            access,
            Modes(self.store.soon, servers).shown,
            SuggestionLessons(self.store.soon, servers),
            CorrectedExamples(self.store.soon, servers, services.assistant),
        )
        self.refresher = QueueRefresher(services, self._predictor, servers, self.projects, self._learning)
        self._batch = BatchPredictor(services, self._predictor, access)
        self._warmer = Warmer(services, self._predictor, access)
        self.add_url_rule("/setup", view_func=self.setup, methods=["POST"])
        self.add_url_rule("/predict", view_func=self.predict, methods=["POST"])
        self.add_url_rule("/versions", view_func=self.versions, methods=["GET"])
        self.add_url_rule(WEBHOOK_RULE, view_func=self.webhook, methods=["POST"])

    def setup(self) -> Response:
        """Remember the project and name the model version. Called with every page load: loads and contacts nothing."""
        document = _body().document
        options = parse_options(document.get("extra_params"))
        config = parse_config(_text(document, "schema", longest=None))
        # A backend may be connected before the project is configured; any other configuration must fit.
        if not config.is_blank:
            config.require_outputs()
        project = Project(
            key=project_key(document.get("project")),
            options=options,
            hostname=_text(document, "hostname"),
            access_token=_text(document, "access_token"),
        )
        version = self._predictor.version(config, self._learning.served(project).options)
        self.projects.remember(replace(project, model_version=version))
        self.keeper.wake()  # events may have come before anybody knew whose project it is
        return _json({"model_version": version})

    def predict(self) -> Response:
        """Answer a batch of tasks, or what an annotator points at in one."""
        incoming = PredictRequest.of(_body())
        project = self._learning.served(self.projects.get(incoming.project_key))
        if incoming.is_click:
            self.refresher.clicked()
            results: list[Any] = [self._predictor.click(incoming, project)]
        else:
            results = self._batch.answer(incoming, project)
        if len(incoming.tasks) == 1:
            self._warmer.opened(incoming.tasks[0], incoming.config, project)
        return _json({"results": results})

    def versions(self) -> Response:
        """The model versions in use, the most recent first."""
        return _json({"versions": self.projects.versions()})

    def webhook(self) -> Response:
        """Store an event, and the correction in one of a proven sender, before it is answered; see ``webhook``."""
        authenticated = bool(g.get("authenticated", False))
        if not authenticated:
            check_unproven_size(request.content_length or 0)  # before it is in memory
        data = request.get_data(cache=False)
        incoming = read_event(data, authenticated=authenticated, server_of=self.keeper.server_of)
        if incoming is not None:
            self._intake.take(incoming)
            log.info("event %s of project %s noted", incoming.event.action, incoming.event.project)
        return _json({"status": "noted" if incoming is not None else "ignored"})

    def _stored(self, events: list[Event]) -> None:
        self.keeper.wake()
        self._learning.stored(events)

    def start(self) -> None:
        """Begin what runs behind the requests; the server calls this once it serves."""
        self.keeper.start()
        self.refresher.start()

    def close(self) -> None:
        """End it, with everything that was acknowledged on the disk; a locked database holds this up for seconds."""
        end = time.monotonic() + _END_S
        self.keeper.stop(timeout=0)
        self.refresher.stop(timeout=0)
        self._intake.close(_END_S)
        self.keeper.stop(max(0.5, end - time.monotonic()))
        self.refresher.stop(max(0.5, end - time.monotonic()))
        self.store.close()

    def state(self) -> dict[str, Any]:
        """Numbers for ``/metrics``."""
        return {"corrections": self.keeper.state(), "queue": self.refresher.state()}


def _body() -> RequestBody:
    return read_body(request.get_data(cache=False))


def _text(document: dict[str, Any], key: str, longest: int | None = _MAX_TEXT) -> str:
    value = document.get(key)
    if value is None:
        return ""
    if not isinstance(value, str) or (longest is not None and len(value) > longest):
        raise InvalidInput(f"{key!r} must be text" + (f" of at most {longest} characters" if longest else ""))
    return value


def _json(document: dict[str, Any]) -> Response:
    return Response(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY), mimetype="application/json")
