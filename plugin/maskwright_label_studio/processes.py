"""Servers that we start as processes: found again by a later run, told from strangers, and ended politely."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maskwright.errors import InvalidInput, Unreachable
from maskwright.store.artifacts import write_atomically

HOST = "127.0.0.1"
GRACE_S = 15.0


@dataclass(frozen=True)
class Child:
    """A process, told from a later one with the same number by when it was born.

    Attributes:
        pid: Its number.
        born: When it started, in the system's own words; empty if that cannot be told.
    """

    pid: int
    born: str
    popen: subprocess.Popen[bytes] | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, pid: int, *, popen: subprocess.Popen[bytes] | None = None) -> Child:
        """The process that has this number now."""
        return cls(pid, _born(pid), popen)

    @property
    def is_running(self) -> bool:
        """Whether this very process lives."""
        if self.popen is not None:
            return self.popen.poll() is None
        return bool(self.born) and _born(self.pid) == self.born

    def stop(self, grace_s: float = GRACE_S) -> None:
        """End it: SIGTERM, and SIGKILL after ``grace_s`` seconds."""
        for number, patience in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
            if not self.is_running:
                return
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return
            deadline = time.monotonic() + patience
            while self.is_running and time.monotonic() < deadline:
                time.sleep(0.05)


class ManagedServer:
    """One HTTP server on loopback that belongs to a folder, whichever run of ours started it.

    A server left behind is taken over if the run that owned it is gone, used and left running if its owner lives, and
    ended if it does not answer.

    Args:
        name: What messages call it.
        state_file: Where it is remembered while it runs.
        log: Where its output goes.
        answers: Whether it answers on a port, and is truly ours.
    """

    def __init__(self, name: str, *, state_file: Path, log: Path, answers: Callable[[int], bool]) -> None:
        self._name, self._state_file, self.log, self._answers = name, state_file, log, answers
        self._child: Child | None = None
        self.port = 0
        self.owned = False

    def find(self) -> bool:
        """Take over or use what is running already; False if there is nothing.

        Raises:
            InvalidInput: If another run is in the middle of starting it.
        """
        try:
            state: dict[str, Any] = json.loads(self._state_file.read_text())
            child = Child(int(state["pid"]), str(state["born"]))
            owner = Child(int(state["owner_pid"]), str(state["owner_born"]))
            port = int(state["port"])
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if child.is_running and self._answers(port):
            self._child, self.port, self.owned = child, port, not owner.is_running
            if self.owned:
                self._remember()
            return True
        if child.is_running and owner.is_running:
            raise InvalidInput(f"another run is just starting or stopping {self._name}; wait for it and try again")
        child.stop()
        self._state_file.unlink(missing_ok=True)
        return False

    def spawn(
        self, command: Sequence[str], *, port: int, environment: Mapping[str, str], folder: Path, limit_s: float
    ) -> None:
        """Start it and return when it answers on ``port``.

        Raises:
            Unreachable: If it ends or stays silent for ``limit_s`` seconds; the message closes with its last words.
        """
        # A session of its own: Ctrl-C must reach us only, so that servers end in the right order.
        with self.log.open("ab") as sink:
            process = subprocess.Popen(
                list(command), env=dict(environment), stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT,
                cwd=folder, start_new_session=True,
            )  # fmt: skip
        self._child, self.port, self.owned = Child.of(process.pid, popen=process), port, True
        try:
            self._remember()
            self._wait(process, limit_s)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it if it is ours to end; harmless when it is not running."""
        if self._child is not None and self.owned:
            self._child.stop()
            self._state_file.unlink(missing_ok=True)
        self._child, self.owned = None, False

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._child is not None and self._child.is_running

    def _remember(self) -> None:
        assert self._child is not None
        owner = Child.of(os.getpid())
        state = {"port": self.port, "pid": self._child.pid, "born": self._child.born,
                 "owner_pid": owner.pid, "owner_born": owner.born}  # fmt: skip
        write_atomically(self._state_file, json.dumps(state).encode(), mode=0o600)

    def _wait(self, process: subprocess.Popen[bytes], limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while process.poll() is None and time.monotonic() < deadline:
            if self._answers(self.port):
                return
            time.sleep(0.3)
        why = "stopped" if process.poll() is not None else f"did not answer within {limit_s:.0f} s"
        last = " | ".join(self.log.read_text(errors="replace").strip().splitlines()[-3:])
        raise Unreachable(f"{self._name} {why}; its log ends: {last[-600:]}")


def free_port(preferred: int = 0) -> int:
    """``preferred`` if nothing listens there on loopback, else a port that is free now."""
    for port in (preferred, 0):
        try:
            with socket.create_server((HOST, port)) as held:
                return int(held.getsockname()[1])
        except OSError:
            continue
    raise InvalidInput(f"no port of {HOST} is free")


def _born(pid: int) -> str:
    try:
        # Linux, proc(5): the name in parentheses may hold spaces; after it come the state and, as 20th, the start.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    except (OSError, IndexError):
        pass
    if Path("/proc/self/stat").exists():
        return ""
    seen = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return seen.stdout.strip()
