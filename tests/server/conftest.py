"""An application whose work is done by stand-ins, so that what is tested is the server alone."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Blueprint, Flask, g, request

from maskwright import errors
from maskwright.server.app import create_app
from maskwright.server.metrics import Metrics
from maskwright.settings import Settings
from maskwright.store.opener import StoreOpener

HEALTH = {"model": "classical", "loaded": ["classical-1"], "queue": {"depth": 3}}


class StandInPlatform:
    """A platform with one route per thing that can go wrong."""

    name = "stand-in"

    def blueprint(self, _services: Any) -> Blueprint:
        blueprint = Blueprint("stand-in", __name__)
        blueprint.public_rules = frozenset({"/webhook"})

        @blueprint.post("/echo")
        def echo() -> Any:
            return {"got": request.get_json()}

        @blueprint.post("/webhook")
        def webhook() -> Any:
            return {"authenticated": g.authenticated}

        @blueprint.get("/fail/<name>")
        def fail(name: str) -> Any:
            if name == "Bug":
                raise RuntimeError("the secret is hunter2, in /srv/private/file.py")
            if name == "Busy":
                raise errors.Busy("the encoder's queue is full", retry_after=2.3)
            raise getattr(errors, name)(request.args.get("message", "No object at the clicked point"))

        @blueprint.get("/stage")
        def stage() -> Any:
            _services.observe("encode", 0.2)
            return {}

        return blueprint

    def commands(self) -> None:
        return None

    def predictions_document(self, _items: Any, _labels: Any) -> list[dict[str, Any]]:
        return []


@pytest.fixture
def make_app(tmp_path: Path) -> Callable[..., Flask]:
    def make(health: Mapping[str, Any] = HEALTH, **chosen: Any) -> Flask:
        metrics = Metrics()
        settings = Settings(_env_file=None, **{"home": tmp_path / "home"} | chosen)
        services = SimpleNamespace(
            settings=settings,
            store=StoreOpener(settings),
            assistant=SimpleNamespace(
                health=lambda: dict(health), model_version=lambda labels: "classical-0a1b", close=lambda: None
            ),
            jobs=SimpleNamespace(jobs=lambda: (), close=lambda: None),
            observe=metrics.observe,
        )
        return create_app(services, metrics, [StandInPlatform()])

    return make


@pytest.fixture
def basic() -> Callable[[str, str], dict[str, str]]:
    def header(user: str, password: str) -> dict[str, str]:
        return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}

    return header
