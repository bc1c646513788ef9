"""A Label Studio of our own on loopback: started from its own virtual environment, and stopped with us.

What its settings do is recorded in the contract with Label Studio 1.23.2: protection against private addresses is
switched off only for the server that is started here, and it calls nobody.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from maskwright.errors import InvalidInput, Unreachable
from maskwright.store.artifacts import write_atomically
from maskwright_label_studio.processes import Child, is_running, stop_process

HOST = "127.0.0.1"
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


def free_port(preferred: int = 0, host: str = HOST) -> int:
    """``preferred`` if nothing listens there, else a port that is free now."""
    for port in (preferred, 0):
        try:
            with socket.create_server((host, port)) as held:
                return int(held.getsockname()[1])
        except OSError:
            continue
    raise InvalidInput(f"no port of {host} is free")


class LocalLabelStudio:
    """A running Label Studio, as a context manager.

    A server that an earlier run left behind in ``data_dir`` is taken over if its owner is gone, used and left running
    if its owner lives, and started afresh if it does not answer.

    Args:
        data_dir: Its database, uploads, secrets and log; made if missing, kept afterwards.
        executable: The ``label-studio`` program; None looks for it, see ``find_executable``.
        port: Port to listen on; 0 takes a free one. Label Studio would silently move to another one if it were taken.
        prepared: A data folder of a stopped server to begin with where ``data_dir`` is empty: saves the minute that the
            first start takes.
        settings: More environment variables for it.

    Raises:
        InvalidInput: If the program is missing or the port is taken.
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
        self._wanted_port, self.port = port, 0
        self._child: Child | None = None
        self.owned = False

    @property
    def url(self) -> str:
        """Base URL without a slash at its end."""
        return f"http://{HOST}:{self.port}"

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
        return self.data_dir / "label-studio.log"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start, or find what is running; return when it answers."""
        if self._reuse():
            return
        if self._wanted_port and free_port(self._wanted_port) != self._wanted_port:
            raise InvalidInput(f"port {self._wanted_port} is taken; choose another one for Label Studio")
        self.port = self._wanted_port or free_port()
        command = [str(self._program), "start", "--no-browser", "--internal-host", HOST, "--port", str(self.port),
                   "--enable-legacy-api-token", "--agree-fix-sqlite", "--log-level", "WARNING"]  # fmt: skip
        # A session of its own: Ctrl-C must reach us only, so that the two servers end in the right order.
        with self.log.open("ab") as sink:
            process = subprocess.Popen(
                command, env=self._environment(), stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT,
                cwd=self.data_dir, start_new_session=True,
            )  # fmt: skip
        self._child, self.owned = Child.of(process.pid, popen=process), True
        self._remember()
        try:
            self._wait(process)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server if it is ours to end; harmless when it is not running."""
        if self._child is not None and self.owned:
            stop_process(self._child, grace_s=10.0)
            self._state_file.unlink(missing_ok=True)
        self._child, self.owned = None, False

    def answers(self, timeout: float = 2.0) -> bool:
        """Whether our server, and no other, answers at ``url``: no other knows the token."""
        try:
            with httpx.Client(base_url=self.url, timeout=timeout, trust_env=False) as client:
                if client.get("/health").json().get("status") != "UP":
                    return False
                headers = {"Authorization": f"Token {self.token}"}
                return client.get("/api/current-user/whoami", headers=headers).status_code == httpx.codes.OK
        except (httpx.HTTPError, ValueError, AttributeError):
            return False

    @property
    def _state_file(self) -> Path:
        return self.data_dir / "server.json"

    def _remember(self) -> None:
        assert self._child is not None
        owner = Child.of(os.getpid())
        state = {"port": self.port, "pid": self._child.pid, "born": self._child.born,
                 "owner_pid": owner.pid, "owner_born": owner.born}  # fmt: skip
        write_atomically(self._state_file, json.dumps(state).encode(), mode=0o600)

    def _reuse(self) -> bool:
        try:
            state: dict[str, Any] = json.loads(self._state_file.read_text())
            child = Child(int(state["pid"]), str(state["born"]))
            owner = Child(int(state["owner_pid"]), str(state["owner_born"]))
            self.port = int(state["port"])
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if not is_running(child):
            self._state_file.unlink(missing_ok=True)
            return False
        if self.answers(timeout=10.0):
            self._child, self.owned = child, not is_running(owner)
            if self.owned:
                self._remember()
            return True
        if is_running(owner):
            raise InvalidInput(f"another run is just starting Label Studio in {self.data_dir.name}; wait for it")
        stop_process(child, grace_s=10.0)
        self._state_file.unlink(missing_ok=True)
        return False

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + self._limit
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            if self.answers():
                return
            time.sleep(0.3)
        why = "stopped" if process.poll() is not None else f"did not answer within {self._limit:.0f} s"
        last = " | ".join(self.log.read_text(errors="replace").strip().splitlines()[-3:])
        raise Unreachable(f"Label Studio {why}; its log ends: {last[-600:]}")

    def _environment(self) -> dict[str, str]:
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
            "LABEL_STUDIO_HOST": self.url,
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
