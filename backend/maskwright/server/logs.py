"""What a process that serves or works writes about itself."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maskwright.settings import Settings


def start_logging(settings: Settings) -> None:
    """Log to standard error at the level of ``settings``; libraries that log every request stay quiet."""
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    for noisy in ("httpx", "httpcore", "urllib3", "waitress.queue", "alembic.runtime.plugins", "huey"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))
