"""Running the application: a bound socket, a pool of threads, and an end that lets started answers finish."""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

from maskwright.errors import InvalidInput, MaskwrightError, Refused
from maskwright.settings import LOOPBACK_HOSTS, Settings

if TYPE_CHECKING:
    from flask import Flask

    from maskwright.assist.assistant import Assistant
    from maskwright.assist.services import Services
    from maskwright.server.metrics import Metrics

log = logging.getLogger(__name__)

DRAIN_S = 10.0
RETRY_S = 60.0
_SPARE_BYTES = 1024**2


def check_bind(settings: Settings) -> None:
    """Refuse an address beyond loopback for a server without credentials.

    Raises:
        Refused: Naming the settings that would allow it.
    """
    if settings.host in LOOPBACK_HOSTS or settings.has_credentials or settings.allow_unauthenticated_bind:
        return
    raise Refused(
        f"refusing to listen on {settings.host} without credentials: set MASKWRIGHT_USERNAME and MASKWRIGHT_PASSWORD, "
        "or MASKWRIGHT_BEARER_TOKEN; behind a proxy that checks them, set MASKWRIGHT_ALLOW_UNAUTHENTICATED_BIND=true"
    )


class WebServer:
    """A WSGI application on one bound socket.

    Args:
        app: The application.
        host: Address or name to bind.
        port: Port to bind; 0 takes a free one.
        threads: Requests answered at the same time.
        max_request_bytes: Largest request body.

    Raises:
        InvalidInput: If the address cannot be bound.
    """

    def __init__(self, app: Flask, *, host: str, port: int, threads: int, max_request_bytes: int) -> None:
        from waitress.server import create_server

        self._socket = _bind(host, port)
        self._map: dict[int, Any] = {}
        self._server = create_server(
            app, map=self._map, sockets=[self._socket], threads=threads, ident=None, asyncore_use_poll=True,
            clear_untrusted_proxy_headers=True, channel_timeout=130, connection_limit=1000,
            # Beyond the application's own limit only by a little: its JSON answer is clearer than the server's.
            max_request_body_size=max_request_bytes + _SPARE_BYTES,
        )  # fmt: skip
        self._stop = threading.Event()
        self.host, self.port = host, int(self._socket.getsockname()[1])

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def run(self) -> None:
        """Serve until ``stop``; then accept nothing new, and finish what was begun for at most ten seconds."""
        try:
            while not self._stop.is_set():
                self._turn(1.0)
            self._server.accepting = False
            self._server.del_channel()
            self._socket.close()
            deadline = time.monotonic() + DRAIN_S
            while self._pending() and time.monotonic() < deadline:
                self._turn(0.1)
        finally:
            self._server.task_dispatcher.shutdown(timeout=1)
            for channel in list(self._map.values()):
                channel.close()
            self._socket.close()

    def stop(self) -> None:
        """End ``run`` soon; from any thread or signal handler, as often as one likes."""
        if not self._stop.is_set():
            self._stop.set()
            self._server.pull_trigger()

    def _turn(self, timeout: float) -> None:
        self._server.asyncore.loop(timeout=timeout, use_poll=True, map=self._map, count=1)

    def _pending(self) -> bool:
        channels = list(self._server.active_channels.values())
        return any(channel.requests or channel.total_outbufs_len for channel in channels)


def serve(settings: Settings, *, started: Callable[[str], None] | None = None) -> None:
    """Serve every installed platform until SIGTERM or SIGINT.

    Args:
        settings: Of this process.
        started: Called with the server's URL once it accepts connections.

    Raises:
        Refused: See ``check_bind``.
        InvalidInput: If the model URI is malformed.
        InvalidInput: If the address cannot be bound.
    """
    from maskwright.models.uri import parse_model_uri
    from maskwright.server.app import create_app
    from maskwright.server.metrics import Metrics
    from maskwright.server.platforms import installed_platforms

    check_bind(settings)
    parse_model_uri(settings.model)
    metrics = Metrics()
    services = build_services(settings, metrics)
    ending = threading.Event()
    # Loaded while the server already answers: /health tells how far it is, and who clicks first waits for this load.
    threading.Thread(target=_load_model, args=(services.assistant, ending), name="load-model", daemon=True).start()
    app = create_app(services, metrics, installed_platforms())
    try:
        server = WebServer(
            app, host=settings.host, port=settings.port,
            threads=settings.threads, max_request_bytes=settings.max_request_bytes,
        )  # fmt: skip

        def end(_signal: int, _frame: FrameType | None) -> None:
            server.stop()

        previous = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            tell_blueprints(app, "start")
            if started is not None:
                started(server.url)
            server.run()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
    finally:
        ending.set()
        tell_blueprints(app, "close")
        services.jobs.close()
        services.assistant.close()
        services.store.close()


def tell_blueprints(app: Flask, name: str) -> None:
    """Call ``start()`` or ``close()`` of every blueprint that has it: platforms may run things behind the requests."""
    for blueprint in app.blueprints.values():
        if (method := getattr(blueprint, name, None)) is not None:
            method()


def build_services(settings: Settings, metrics: Metrics) -> Services:
    """What does the work of one process, measured by ``metrics``; loads no model."""
    from maskwright.assist.assistant import Assistant
    from maskwright.assist.jobs import BackgroundJobs
    from maskwright.assist.services import Services
    from maskwright.server.notices import NoticeBoard
    from maskwright.server.work_queue import WorkQueue

    board = NoticeBoard(WorkQueue(settings))
    services = Services(
        settings=settings,
        assistant=Assistant(settings, observe=metrics.observe),
        jobs=BackgroundJobs(max_pending=settings.queue_size),
        observe=metrics.observe,
        notice=board,
    )
    board.attach(services.store)
    return services


def _load_model(assistant: Assistant, ending: threading.Event) -> None:
    """Load the default model; while that fails (no network yet, a folder not mounted), try again now and then."""
    while not ending.is_set():
        try:
            assistant.segmenter()
            return
        except MaskwrightError as error:
            log.error("the default model is not available: %s", error)
        ending.wait(RETRY_S)


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]  # fmt: skip
        return socket.create_server(address[:2], family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InvalidInput(
            f"cannot listen on {host} port {port}: {reason}; choose another with --host and --port"
        ) from None
