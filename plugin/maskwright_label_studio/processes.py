"""Processes that we start: recognised after the fact, and ended politely."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path


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


def is_running(child: Child) -> bool:
    """Whether this very process lives."""
    if child.popen is not None:
        return child.popen.poll() is None
    return bool(child.born) and _born(child.pid) == child.born


def stop_process(child: Child, *, grace_s: float) -> None:
    """End the process: SIGTERM, and SIGKILL after ``grace_s`` seconds."""
    for number, patience in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        if not is_running(child):
            return
        try:
            os.kill(child.pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience
        while is_running(child) and time.monotonic() < deadline:
            time.sleep(0.05)


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
