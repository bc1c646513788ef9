"""A Label Studio of our own on loopback: started from its own virtual environment, and stopped with us.

What its settings do is recorded in the contract with Label Studio 1.23.2: protection against private addresses is
switched off only for the server that is started here, and it calls nobody.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from maskwright.errors import InvalidInput
from maskwright.store.artifacts import write_atomically
from maskwright_label_studio.processes import HOST, ManagedServer, free_port

BOOT_LIMIT_S = 240.0
VIRTUAL_ENVIRONMENT = ".venv-label-studio"


@dataclass(frozen=True)
class Login:
    """Who may enter: a person by ``username`` and ``password``, a program by the legacy API ``token``."""

    username: str
    password: str
    token: str

    @classmethod
    def load_or_create(cls, path: Path) -> Login:
        """The login kept in ``path``, made at random on the first call; only the owner may read the file."""
        if path.exists():
            try:
                return cls(**json.loads(path.read_text()))
            except (ValueError, TypeError):
                raise InvalidInput(f"{path} is damaged; delete the folder that holds it and start again") from None
        login = cls("admin@example.com", secrets.token_urlsafe(12), secrets.token_hex(20))
        write_atomically(path, json.dumps(asdict(login), indent=1).encode(), mode=0o600)
        return login


def find_executable(given: Path | None) -> Path | None:
    """The ``label-studio`` program: the given file, else the one beside the running virtual environment, else on PATH.

    Raises:
        InvalidInput: If a file was given and it is not there.
    """
    if given is not None:
        found = given.expanduser().absolute()
        if not found.is_file():
            raise InvalidInput(f"there is no Label Studio program {given}; give the path of 'label-studio' itself")
        return found
    beside = Path(sys.prefix).parent / VIRTUAL_ENVIRONMENT / "bin" / "label-studio"
    if beside.is_file():
        return beside
    on_path = shutil.which("label-studio")
    return Path(on_path) if on_path else None


class LocalLabelStudio:
    """A running Label Studio, as a context manager.

    What an earlier run left running in ``data_dir`` is found again, see ``ManagedServer``.

    Args:
        data_dir: Its database, uploads, secrets and log; made if missing, kept afterwards.
        executable: The ``label-studio`` program; None looks for it, see ``find_executable``.
        port: Port to prefer; another one is taken if it is not free.
        prepared: A data folder of a stopped server to begin with where ``data_dir`` is empty: saves the minute that the
            first start takes.
        settings: More environment variables for it.

    Raises:
        InvalidInput: If the program is missing.
        Unreachable: If it does not come up; the message ends with its last words.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        executable: Path | None = None,
        port: int = 0,
        prepared: Path | None = None,
        settings: Mapping[str, str] | None = None,
        boot_limit_s: float = BOOT_LIMIT_S,
    ) -> None:
        program = executable or find_executable(None)
        if program is None:
            raise InvalidInput(
                "Label Studio is not installed beside this environment: run 'make install', or install it into a "
                "virtual environment of its own and give its path with --label-studio"
            )
        self._program, self._settings, self._limit = program, dict(settings or {}), boot_limit_s
        self.data_dir = data_dir.expanduser().absolute()
        if prepared is not None and not (self.data_dir.exists() and any(self.data_dir.iterdir())):
            shutil.copytree(prepared, self.data_dir, dirs_exist_ok=True, ignore=shutil.ignore_patterns("server.json"))
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._login = Login.load_or_create(self.data_dir / "login.json")
        self._preferred = port
        self._server = ManagedServer(
            "Label Studio", state_file=self.data_dir / "server.json", log=self.data_dir / "label-studio.log",
            answers=self._answers,
        )  # fmt: skip

    @property
    def url(self) -> str:
        """Base URL without a slash at its end."""
        return f"http://{HOST}:{self._server.port}"

    @property
    def owned(self) -> bool:
        """Whether ``stop`` will end it."""
        return self._server.owned

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._server.is_running

    @property
    def username(self) -> str:
        """Login name of the only user, who owns everything."""
        return self._login.username

    @property
    def password(self) -> str:
        """The user's password."""
        return self._login.password

    @property
    def token(self) -> str:
        """The user's legacy API token: 'Authorization: Token ...'."""
        return self._login.token

    @property
    def log(self) -> Path:
        """What the server writes."""
        return self._server.log

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
        command = [str(self._program), "start", "--no-browser", "--internal-host", HOST, "--port", str(port),
                   "--enable-legacy-api-token", "--agree-fix-sqlite", "--log-level", "WARNING"]  # fmt: skip
        self._server.spawn(
            command, port=port, environment=self._environment(port), folder=self.data_dir, limit_s=self._limit
        )

    def stop(self) -> None:
        """End the server if it is ours to end; harmless when it is not running."""
        self._server.stop()

    def _answers(self, port: int) -> bool:
        # Label Studio moves to another port when its own is taken: only the one that knows the token is ours.
        try:
            with httpx.Client(base_url=f"http://{HOST}:{port}", timeout=10.0, trust_env=False) as client:
                if client.get("/health").json().get("status") != "UP":
                    return False
                headers = {"Authorization": f"Token {self.token}"}
                return client.get("/api/current-user/whoami", headers=headers).status_code == httpx.codes.OK
        except (httpx.HTTPError, ValueError, AttributeError):
            return False

    def _environment(self, port: int) -> dict[str, str]:
        # Nothing is inherited that its settings could mistake for theirs: it looks up bare names such as HOST or DEBUG.
        kept = {name: os.environ[name] for name in ("TMPDIR", "TZ", "LD_LIBRARY_PATH") if name in os.environ}
        home = self.data_dir / "home"
        home.mkdir(exist_ok=True)
        path = os.pathsep.join([str(self._program.parent), os.environ.get("PATH", os.defpath)])
        return kept | {
            "PATH": path,
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "LABEL_STUDIO_BASE_DATA_DIR": str(self.data_dir),
            "LABEL_STUDIO_HOST": f"http://{HOST}:{port}",
            "LABEL_STUDIO_USERNAME": self.username,
            "LABEL_STUDIO_PASSWORD": self.password,
            "LABEL_STUDIO_USER_TOKEN": self.token,
            "LABEL_STUDIO_ML_BLOCK_LOCAL_IP": "false",
            "LABEL_STUDIO_SSRF_PROTECTION_ENABLED": "false",
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
            "LABEL_STUDIO_COLLECT_ANALYTICS": "false",
            "LABEL_STUDIO_LATEST_VERSION_CHECK": "false",
            "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
            "SENTRY_DSN": "",
            "FRONTEND_SENTRY_DSN": "",
        } | self._settings  # fmt: skip
