"""A real PostgreSQL and a real Redis for the tests that need one; and which tests may run beside each other."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
import warnings
from pathlib import Path

import pytest

# As in the command: tests and the servers that they start share two cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if processes := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // int(processes), 1)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Files stay whole, and all that use the real Label Studio run in one process."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "tests/e2e" if file.startswith("tests/e2e/") else file

    return Scheduling(config, log)


def pytest_collection_modifyitems(items):
    """What takes longest comes first, so that no process waits for another in the end."""
    items.sort(key=lambda item: item.path.relative_to(Path(__file__).parent).parts[0] != "e2e")


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


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    """URL of a Redis of its own, guarded by a password."""
    # Debian's tools bring the same program under another name; it is what its first argument says.
    program = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    if program is None:
        warnings.warn("Redis is not installed: the workers' queue is tested on SQLite only", stacklevel=1)
        pytest.skip("Redis is not installed (Debian: redis-tools)")
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    options = [
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--requirepass",
        "sesame",
        "--dir",
        tmp_path_factory.mktemp("redis"),
    ]
    process = subprocess.Popen(
        ["redis-server", "--port", str(port), *options], executable=program, stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert process.poll() is None, "Redis ended"
            assert time.monotonic() < deadline, "Redis does not answer"
            time.sleep(0.05)
        yield f"redis://:sesame@127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def redis_url(redis_server):
    """URL of an empty Redis."""
    import redis

    redis.Redis.from_url(redis_server).flushall()
    return redis_server
