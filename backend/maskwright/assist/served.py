"""Which model a project is answered with: the base it was set up with, and what was last promoted on top of it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

from maskwright.errors import MaskwrightError
from maskwright.models.uri import parse_model_uri
from maskwright.settings import Settings
from maskwright.store.corrections import CorrectionsStore
from maskwright.store.served import ServedRegister

RETRY_S = 5.0
"""Seconds for which a database that could not be read is left alone, so that clicks do not wait for it one by one."""

log = logging.getLogger(__name__)


class ServedModels:
    """Asks the store once per request, so that promotion and rollback take effect with the next. Threads may share it.

    Args:
        settings: The default model.
        open_store: Gives the corrections store.
    """

    def __init__(self, settings: Settings, open_store: Callable[[], CorrectionsStore]) -> None:
        self._default = settings.model
        self._open_store = open_store
        self._known: dict[tuple[str, str, int, str], str] = {}
        self._closed_until = 0.0

    def uri(self, platform: str, server: str, number: int | None, model: str | None) -> str | None:
        """The URI that a project's requests are answered with: ``model`` with what was promoted on it.

        While the database cannot be read, what it said last goes on being served; that is logged once.

        Args:
            platform: Name of the platform, as the store has it.
            server: Address of its server, as the store has it.
            number: The platform's number of the project; None is a project that the store cannot know.
            model: Base URI; None = the settings' default. One that names an adapter or classes itself is left alone.

        Returns:
            ``model`` itself where nothing was ever promoted.

        Raises:
            InvalidInput: If the URI is malformed.
        """
        base = parse_model_uri(self._default if model is None else model)
        if number is None or base.adapter is not None or base.classes is not None:
            return model
        key = (platform, server, number, str(base))
        if time.monotonic() >= self._closed_until:
            if self._closed_until:
                self._closed_until = math.inf  # one asks whether it is back, however long that takes
            try:
                return self._ask(key, model)
            except Exception as error:
                was_open, self._closed_until = not self._closed_until, time.monotonic() + RETRY_S
                if not isinstance(error, MaskwrightError):
                    raise
                # A person waits: better the version of a moment ago than no answer.
                if was_open:
                    log.error("which model versions are served cannot be read: %s", error)
        return self._known.get(key, model)

    def _ask(self, key: tuple[str, str, int, str], model: str | None) -> str | None:
        served = ServedRegister(self._open_store().database).lookup(*key)
        self._closed_until = 0.0
        if served is None:
            return model
        self._known[key] = served.uri
        return served.uri
