"""Servers that belong to a folder: started once, found again, told from strangers, ended politely."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from maskwright.errors import InvalidInput, Unreachable
from maskwright_label_studio.processes import Child, ManagedServer, free_port

SERVER = """
import http.server, signal, sys
signal.signal(signal.SIGTERM, {term})
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'{secret}')
    def log_message(self, *a): pass
http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), Answer).serve_forever()
"""


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as response:
            return response.read() == b"ours"
    except OSError:
        return False


def managed(folder: Path) -> ManagedServer:
    return ManagedServer("the server", state_file=folder / "state.json", log=folder / "log", answers=answers)


def command(port: int, *, secret: str = "ours", term: str = "lambda *a: sys.exit(0)") -> list[str]:
    return [sys.executable, "-c", SERVER.replace("{secret}", secret).replace("{term}", term), str(port)]


def spawn(server: ManagedServer, folder: Path, limit_s: float = 20, **changes: str) -> int:
    port = free_port()
    server.spawn(command(port, **changes), port=port, environment=dict(os.environ), folder=folder, limit_s=limit_s)
    return port


def dead_process() -> Child:
    process = subprocess.Popen([sys.executable, "-c", ""])
    child = Child.of(process.pid)
    process.wait()
    return child


@pytest.fixture
def server(tmp_path):
    made = managed(tmp_path)
    yield made
    made.stop()


def test_a_server_is_started_and_ended(server, tmp_path):
    port = spawn(server, tmp_path)
    assert server.owned
    assert server.is_running
    assert answers(port)
    server.stop()
    server.stop()
    assert not answers(port)
    assert not (tmp_path / "state.json").exists()


def test_a_second_run_uses_the_server_of_a_living_first_and_leaves_it_running(server, tmp_path):
    port = spawn(server, tmp_path)
    second = managed(tmp_path)
    assert second.find()
    assert second.port == port
    assert not second.owned
    second.stop()
    assert answers(port)


def test_a_server_whose_owner_died_is_taken_over_and_ended_by_the_next_run(server, tmp_path):
    port = spawn(server, tmp_path)
    state = json.loads((tmp_path / "state.json").read_text())
    gone = dead_process()
    (tmp_path / "state.json").write_text(json.dumps(state | {"owner_pid": gone.pid, "owner_born": "long ago"}))
    second = managed(tmp_path)
    assert second.find()
    assert second.owned
    # The first one is our own child here, so it has to be waited for before it is gone.
    os.kill(state["pid"], signal.SIGTERM)
    server.stop()
    second.stop()
    assert not answers(port)


def test_a_number_that_now_belongs_to_another_process_is_left_alone(tmp_path):
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        state = {"port": free_port(), "pid": stranger.pid, "born": "long ago", "owner_pid": 1, "owner_born": "long ago"}
        (tmp_path / "state.json").write_text(json.dumps(state))
        assert not managed(tmp_path).find()
        assert stranger.poll() is None
        assert not (tmp_path / "state.json").exists()
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"pid": "x"}'])
def test_a_damaged_memory_counts_as_none(tmp_path, text):
    (tmp_path / "state.json").write_text(text)
    assert not managed(tmp_path).find()


def test_a_server_that_dies_is_reported_with_its_last_words(server, tmp_path):
    with pytest.raises(Unreachable, match="stopped; its log ends: no room"):
        server.spawn(
            [sys.executable, "-c", "import sys; sys.exit('no room')"], port=free_port(), environment=dict(os.environ),
            folder=tmp_path, limit_s=20,
        )  # fmt: skip
    assert not (tmp_path / "state.json").exists()


def test_a_stranger_on_the_port_is_not_taken_for_ours(server, tmp_path):
    with pytest.raises(Unreachable, match="did not answer within 2 s"):
        spawn(server, tmp_path, limit_s=2, secret="theirs")
    assert not server.is_running


def test_a_server_that_ignores_sigterm_is_killed(tmp_path):
    process = subprocess.Popen(command(free_port(), term="signal.SIG_IGN"))
    time.sleep(0.5)
    Child.of(process.pid, popen=process).stop(grace_s=0.3)
    assert process.poll() is not None


def test_a_free_port_is_the_preferred_one_if_nobody_listens_there():
    preferred = free_port()
    assert free_port(preferred) == preferred
    with socket.create_server(("127.0.0.1", preferred)):
        assert free_port(preferred) != preferred


def test_starting_twice_at_the_same_time_is_refused(server, tmp_path):
    spawn(server, tmp_path)
    deaf = ManagedServer("it", state_file=tmp_path / "state.json", log=tmp_path / "log", answers=lambda port: False)
    with pytest.raises(InvalidInput, match="wait for it"):
        deaf.find()
