"""Tiny language models of the real classes, as a user's would be; a server that misbehaves."""

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ..tiny_language import save_tiny_llava, save_tiny_qwen2, save_tiny_qwen2_5_vl


@pytest.fixture(scope="session")
def language_folder(tmp_path_factory):
    return save_tiny_qwen2(tmp_path_factory.mktemp("language") / "tiny-qwen2")


@pytest.fixture(scope="session")
def picture_language_folder(tmp_path_factory):
    return save_tiny_llava(tmp_path_factory.mktemp("language") / "tiny-llava")


@pytest.fixture(scope="session")
def film_language_folder(tmp_path_factory):
    return save_tiny_qwen2_5_vl(tmp_path_factory.mktemp("language") / "tiny-qwen2.5-vl")


class ScriptedServer:
    """Answers requests with what a test put into ``script``, the last entry for ever; keeps what it was asked."""

    def __init__(self):
        self.script, self.requests, self.headers = [], [], []
        self.closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append(json.loads(body))
                outer.headers.append(dict(self.headers))
                step = outer.script.pop(0) if len(outer.script) > 1 else outer.script[0]
                self.close_connection = True
                with contextlib.suppress(OSError):  # the client had enough
                    step(self, outer)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self):
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    # What a server may do with a request.

    @staticmethod
    def reply(status, body, **headers):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()

        def step(handler, server):
            handler.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                handler.send_header(name.replace("_", "-"), value)
            handler.end_headers()
            handler.wfile.write(data)

        return step

    @classmethod
    def says(cls, text, finish="stop", usage=None, refusal=None):
        content = text if isinstance(text, str) or text is None else json.dumps(text)
        message = {"role": "assistant", "content": content, "refusal": refusal}
        body = {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}
        return cls.reply(200, {**body, "usage": usage} if usage else body)

    @staticmethod
    def hangs(handler, server):
        server.closing.wait(30)

    @staticmethod
    def drips(handler, server):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not server.closing.wait(0.05):
            handler.wfile.write(b" ")

    @staticmethod
    def drips_headers(handler, server):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not server.closing.wait(0.05):
            handler.wfile.write(b"x")

    @staticmethod
    def breaks_off(handler, server):
        handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"choices": [')

    @staticmethod
    def floods(handler, server):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        end = time.monotonic() + 10
        while time.monotonic() < end:
            handler.wfile.write(b"x" * 65536)

    @classmethod
    def unless(cls, is_taken, refusal, then):
        """Refuse with 400 and these words what a function of the request's body does not take."""

        def step(handler, server):
            body = server.requests[-1]
            chosen = then if is_taken(body) else cls.reply(400, {"error": {"message": refusal}})
            chosen(handler, server)

        return step


@pytest.fixture
def server():
    made = ScriptedServer()
    yield made
    made.close()
