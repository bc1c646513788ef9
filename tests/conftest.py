"""A real PostgreSQL for the tests that need one."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import uuid
import warnings
from pathlib import Path

import pytest


def postgres_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: path.parts[-3])
    if found:
        return found[-1].parent
    there = shutil.which("initdb")
    return Path(there).parent if there else None


@pytest.fixture(scope="session")
def postgres_server():
    """A PostgreSQL of its own on a socket in a temporary folder: where it listens, as URL without a database."""
    programs = postgres_programs()
    if programs is None:
        warnings.warn("PostgreSQL is not installed: the store is tested on SQLite only", stacklevel=1)
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))  # short: a socket's path is bounded
    prefix = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        prefix = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres")
    data = folder / "data"
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off -c max_connections=100"

    def call(*arguments):
        subprocess.run([*prefix, *arguments], check=True, capture_output=True, cwd=folder, timeout=120)

    call(programs / "initdb", "-D", data, "-U", "tester", "--auth=trust", "--locale=C.UTF-8", "-N")
    try:
        call(programs / "pg_ctl", "-D", data, "-o", options, "-w", "-l", folder / "log", "start")
        yield f"postgresql://tester@/{{}}?host={folder}"
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            call(programs / "pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server):
    """URL of an empty database."""
    import psycopg

    name = f"store_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_server.format("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield postgres_server.format(name)
    with psycopg.connect(postgres_server.format("postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
