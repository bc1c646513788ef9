"""The Flask application: authentication, limits, errors, health, metrics, pages, and the protocol of every platform."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from flask import Flask, Response

from maskwright.errors import MaskwrightError
from maskwright.labels import LabelSet
from maskwright.server.answers import install_answers
from maskwright.server.auth import install_auth
from maskwright.server.dashboard.blueprint import Dashboard
from maskwright.server.learning_state import LearningState
from maskwright.server.metrics import Metrics
from maskwright.server.platforms import Platform

if TYPE_CHECKING:
    from maskwright.assist.services import Services


def create_app(services: Services, metrics: Metrics, platforms: Sequence[Platform]) -> Flask:
    """The application that serves ``services`` to ``platforms``.

    Args:
        services: What does the work; ``metrics.observe`` should be its observer.
        metrics: Where requests are counted; answers ``/metrics``.
        platforms: Platforms whose blueprints are mounted, see ``Platform.blueprint`` for public rules. A blueprint's
            ``state()``, if it has one, gives numbers for ``/metrics``.
    """
    app = Flask("maskwright", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = services.settings.max_request_bytes
    app.config["MAX_FORM_MEMORY_SIZE"] = services.settings.max_request_bytes
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.url_map.strict_slashes = False
    install_answers(app)
    metrics.install(app)
    blueprints = [platform.blueprint(services) for platform in platforms]
    install_auth(app, services.settings, {rule for b in blueprints for rule in getattr(b, "public_rules", ())})

    learning = LearningState(services.store)

    @app.get("/health")
    def health() -> tuple[dict[str, Any], int]:
        state, status = describe_health(services)
        return {**state, "learning": learning()}, status

    @app.after_request
    def harden(response: Response) -> Response:
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    # Blueprints come after the routes above, so that no platform can take /health or /metrics over.
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
        if (state := getattr(blueprint, "state", None)) is not None:
            metrics.watch(f"maskwright_{blueprint.name}", state)
    app.register_blueprint(Dashboard(services))
    metrics.watch("maskwright", lambda: {**describe_state(services), "learning": learning()})
    return app


def describe_health(services: Services) -> tuple[dict[str, Any], int]:
    """The answer of ``/health`` and its status: 503 while the default model is known not to work, else 200.

    Loads nothing and waits for nothing: platforms give it a second. ``model`` is the default model's URI, ``version``
    its version once something is loaded, ``loaded`` whether that is so, and ``degraded`` why it does not work.
    """
    state = services.assistant.health()
    loaded = bool(state.pop("loaded", ()))
    version = None
    if loaded:
        with suppress(MaskwrightError):
            version = services.assistant.model_version(LabelSet(()))
    reason = state.get("degraded")
    status = "DEGRADED" if reason else "UP"
    return {"status": status, "version": version, "loaded": loaded, **state}, 503 if reason else 200


def describe_state(services: Services) -> dict[str, Any]:
    """Numbers for ``/metrics``: queue depths, caches, jobs."""
    state = services.assistant.health()
    jobs = Counter(str(job.state) for job in services.jobs.jobs())
    return {**state, "loaded": len(state.get("loaded", ())), "jobs": jobs}
