"""The routes of the dashboard: pages that only read, and forms whose answer is a redirect to a page."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, redirect, render_template, request, send_from_directory, url_for
from werkzeug.exceptions import NotFound as NoSuchFile
from werkzeug.wrappers import Response as AnyResponse

from maskwright.errors import MaskwrightError, NotFound
from maskwright.server.dashboard import curves, words
from maskwright.server.dashboard.actions import DONE, Actions, workers_are_away
from maskwright.server.dashboard.csrf import FIELD, FormGuard
from maskwright.server.dashboard.report import PICTURE_NAME, Report
from maskwright.server.dashboard.suggested import SuggestionsView
from maskwright.server.dashboard.views import Glance, Outlook, Progress, ProjectView, QueuePage, RoundsView, versions
from maskwright.store.corrections import CorrectionsStore
from maskwright.store.rounds import RoundState, RoundStore
from maskwright.store.served import ServedRegister

if TYPE_CHECKING:
    from maskwright.assist.services import Services

log = logging.getLogger(__name__)

_PROJECT = "/projects/<int(max=2147483647):project>"
_ROUND = _PROJECT + "/rounds/<int(max=2147483647):number>"
_POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
}


class Dashboard(Blueprint):
    """The pages at ``/``. Nothing is contacted, loaded or written by looking at them.

    Args:
        services: Where the store is, and who is told of what was done.
    """

    def __init__(self, services: Services) -> None:
        super().__init__(
            "dashboard", __name__,
            template_folder="templates", static_folder="static", static_url_path="/dashboard",
        )  # fmt: skip
        self._services = services
        self._guard = FormGuard()
        self._actions = Actions(services)
        for rule, view in (
            ("/", self.projects),
            (_PROJECT, self.project),
            (_PROJECT + "/progress", self.progress),
            (_PROJECT + "/queue", self.queue),
            (_PROJECT + "/versions", self.versions),
            (_ROUND, self.round),
            (_ROUND + "/gallery/<file>", self.picture),
        ):
            self.add_url_rule(rule, view_func=view)
        for rule, endpoint in (
            (_PROJECT + "/train", "train"),
            (_PROJECT + "/settings", "settings"),
            (_PROJECT + "/rollback", "rollback"),
            (_ROUND + "/cancel", "cancel"),
            (_ROUND + "/promote", "promote"),
        ):
            self.add_url_rule(rule, endpoint, self.act, methods=["POST"], defaults={"action": endpoint})
        self.register_error_handler(MaskwrightError, self.failed)
        self.after_request(self._guard.remember)
        self.after_request(_secured)
        self.context_processor(lambda: {"words": words, "form_token": self._guard.token, "form_field": FIELD})

    def projects(self) -> str:
        """Every project in one line."""
        store = self._actions.store_if_any()
        glances = [] if store is None else [Glance.of(store, ProjectView.of(store, row)) for row in store.projects()]
        return _page("projects.html", glances=glances)

    def project(self, project: int) -> str:
        """A project at a glance."""
        from maskwright.learn.acquisition.catalogue import NAMES

        store, view = self._project(project)
        rounds = RoundsView.of(store, project)
        away, glance = workers_are_away(store), Glance.of(store, view)
        return _page(
            "project.html",
            project=view,
            glance=glance,
            outlook=Outlook.of(store, project, glance.last),
            rounds=rounds,
            present=rounds.figures_of(next(iter(view.serving), None), ServedRegister(store.database).history(project)),
            shown=next((report for report in rounds.reports if report.pictures("worst")), None),
            acquisitions=NAMES,
            away=away,
            progress=Progress.of(view.active, workers_are_away=away) if view.active else None,
            learning=curves.learning_curve(rounds.measured),
            clicks=curves.clicks_curve(rounds.measured),
            suggestions=SuggestionsView.of(store, project),
            refresh=view.active is not None,
        )

    def progress(self, project: int) -> str | tuple[str, int]:
        """The progress of the active round as a part of a page; 204 when there is none."""
        store, view = self._project(project)
        if view.active is None:
            return "", 204
        progress = Progress.of(view.active, workers_are_away=workers_are_away(store))
        return render_template("progress.html", project=view, progress=progress)

    def round(self, project: int, number: int) -> str:
        """What a round found out."""
        store, view = self._project(project)
        report = Report(RoundStore(store.database).get(project, number))
        prompts, classes = report.compared("by_prompt"), report.compared("by_class")
        progress = None
        if report.round.state.is_active:
            progress = Progress.of(report.round, workers_are_away=workers_are_away(store))
        return _page(
            "round.html", project=view, report=report, progress=progress, refresh=progress is not None,
            prompts=curves.gain_chart(prompts, "prompt"), classes=curves.gain_chart(classes, "class"),
            groups=curves.group_chart(report.groups, report.group_field),
            errors=curves.group_chart(report.class_errors, "class"), training=curves.training_charts(report),
            class_rows=classes, serving=any(one.round_number == number for one in view.serving),
        )  # fmt: skip

    def picture(self, project: int, number: int, file: str) -> AnyResponse:
        """One overlay of a round's gallery."""
        from maskwright.learn.rounds.workshop import round_folder

        if not PICTURE_NAME.fullmatch(file):
            raise NotFound("a picture of a gallery has a plain name that ends in .png")
        try:
            folder = round_folder(self._services.settings.home, project, number)
            return send_from_directory(folder, file, mimetype="image/png")
        except NoSuchFile:
            raise NotFound(f"round {number} has no picture {file}") from None

    def queue(self, project: int) -> str:
        """The tasks in the order in which the assistant would learn from them."""
        store, view = self._project(project)
        asked = request.args.get("page", "1")
        page = int(asked) if re.fullmatch(r"[1-9]\d{0,8}", asked, re.ASCII) else 1
        return _page("queue.html", project=view, queue=QueuePage.of(store, project, page))

    def versions(self, project: int) -> str:
        """What was served when, and the levers."""
        store, view = self._project(project)
        history = ServedRegister(store.database).history(project)
        served = {version.round_number for version in history}
        candidates = [
            report
            for report in RoundsView.of(store, project).reports
            if not report.round.state.is_active and report.round.state is not RoundState.PROMOTED
            and (report.round.adapter or report.round.classes) and report.round.number not in served
        ]  # fmt: skip
        return _page("versions.html", project=view, versions=versions(history), candidates=candidates)

    def act(self, action: str, project: int, number: int | None = None) -> AnyResponse:
        """Do what a form asks for, then show the page that it was on."""
        self._guard.check()
        store, view = self._project(project)
        done = self._actions.do(action, store, view, number, request.form)
        page = "dashboard.versions" if action in ("promote", "rollback") else "dashboard.project"
        return redirect(url_for(page, project=project, done=done), code=303)

    def failed(self, error: MaskwrightError) -> tuple[str, int]:
        """A page that says what is wrong."""
        log.warning("%s %s: %s: %s", request.method, request.path, type(error).__name__, error)
        status = error.status if error.status < 500 else 503
        return render_template("fault.html", error=error, refused=request.method == "POST"), status

    def _project(self, project: int) -> tuple[CorrectionsStore, ProjectView]:
        store = self._actions.store_if_any()
        if store is None:
            raise NotFound("there is no project yet; connect one with: maskwright connect")
        return store, ProjectView.of(store, store.project_row(project))


def _page(template: str, **values: Any) -> str:
    return render_template(template, done=DONE.get(request.args.get("done", "")), **values)


def _secured(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response
