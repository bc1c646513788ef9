"""A ``maskwright serve`` process of our own on loopback, guarded by a random password that nobody else knows."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from maskwright.store.artifacts import write_atomically
from maskwright_label_studio.processes import HOST, ManagedServer, free_port

PREFERRED_PORT = 9090
BOOT_LIMIT_S = 120.0
USER = "label-studio"


class LocalBackend:
    """A running backend, as a context manager; found again by later runs like ``LocalLabelStudio``.

    Args:
        data_dir: Its password and log; made if missing.
        settings: ``MASKWRIGHT_*`` variables for it, over those of this process.
        port: Port to prefer; another one is taken if it is not free.

    Raises:
        Unreachable: If it does not come up; the message ends with its last words.
    """

    def __init__(self, data_dir: Path, *, settings: Mapping[str, str], port: int = PREFERRED_PORT) -> None:
        self.data_dir = data_dir.expanduser().absolute()
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._settings, self._preferred = dict(settings), port
        self.username, self.password = USER, self._load_password()
        self._server = ManagedServer(
            "the backend", state_file=self.data_dir / "backend.json", log=self.data_dir / "backend.log",
            answers=self._answers,
        )  # fmt: skip

    @property
    def url(self) -> str:
        """Base URL without a slash at its end."""
        return f"http://{HOST}:{self._server.port}"

    @property
    def log(self) -> Path:
        """What the server writes."""
        return self._server.log

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._server.is_running

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start, or find what is running; return when it answers."""
        if self._server.find():
            return
        port = free_port(self._preferred)
        command = [sys.executable, "-m", "maskwright.cli", "serve", "--host", HOST, "--port", str(port)]
        environment = os.environ | self._settings
        environment |= {"MASKWRIGHT_USERNAME": self.username, "MASKWRIGHT_PASSWORD": self.password}
        self._server.spawn(command, port=port, environment=environment, folder=self.data_dir, limit_s=BOOT_LIMIT_S)

    def stop(self) -> None:
        """End the server if it is ours to end; harmless when it is not running."""
        self._server.stop()

    def _answers(self, port: int) -> bool:
        url = f"http://{HOST}:{port}/health"
        try:
            with httpx.Client(timeout=5.0, trust_env=False) as client:
                # Nobody else asks for credentials and takes this password.
                return (
                    client.get(url).status_code == httpx.codes.UNAUTHORIZED
                    and client.get(url, auth=(self.username, self.password)).status_code != httpx.codes.UNAUTHORIZED
                )
        except httpx.HTTPError:
            return False

    def _load_password(self) -> str:
        path = self.data_dir / "backend-login.json"
        try:
            return str(json.loads(path.read_text())["password"])
        except (OSError, ValueError, KeyError, TypeError):
            password = secrets.token_urlsafe(18)
            write_atomically(path, json.dumps({"username": USER, "password": password}).encode(), mode=0o600)
            return password
