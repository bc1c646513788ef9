"""The real server in a thread of this process, for commands that talk to it over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from maskwright.settings import Settings

if TYPE_CHECKING:
    from maskwright.assist.services import Services


@contextmanager
def server_in_thread(settings: Settings) -> Iterator[tuple[str, Services]]:
    """Serve every installed platform for as long as the context lasts.

    What platforms run behind the requests (comparing with the platform, refreshing predictions) is not started.

    Yields:
        The server's URL, and what does its work.

    Raises:
        InvalidInput: If the address cannot be bound.
    """
    from maskwright.server.app import create_app
    from maskwright.server.metrics import Metrics
    from maskwright.server.platforms import installed_platforms
    from maskwright.server.serve import WebServer, build_services, tell_blueprints

    metrics = Metrics()
    services = build_services(settings, metrics)
    app = create_app(services, metrics, installed_platforms())
    try:
        server = WebServer(
            app, host=settings.host, port=settings.port,
            threads=settings.threads, max_request_bytes=settings.max_request_bytes,
        )  # fmt: skip
        thread = threading.Thread(target=server.run, name="server", daemon=True)
        thread.start()
        try:
            yield server.url, services
        finally:
            server.stop()
            thread.join()
    finally:
        tell_blueprints(app, "close")
        services.jobs.close()
        services.assistant.close()
        services.store.close()
