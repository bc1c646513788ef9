"""How workers are woken: a message says "look", nothing more. What there is to do stands in the store.

So nothing depends on a message: one that is lost costs the minute after which workers look anyway, one that comes twice
or was forged costs a query.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from maskwright.errors import InvalidInput, Unreachable
from maskwright.settings import Settings

if TYPE_CHECKING:
    from huey.api import Huey, TaskWrapper
    from huey.registry import Message

log = logging.getLogger(__name__)

_FILE = "queue.sqlite3"
_NAME = "maskwright"
_PATIENCE_S = 5.0
_AT_ONCE = 10_000


class WorkQueue:
    """Messages to the workers, over Huey: an SQLite file under ``home``, or Redis. Safe for threads.

    Args:
        settings: Where it is; nothing is opened before it is needed.
    """

    def __init__(self, settings: Settings) -> None:
        self._url, self._file = settings.queue_url.get_secret_value(), settings.home / _FILE
        self._lock = threading.Lock()
        self._look: TaskWrapper | None = None

    @property
    def kind(self) -> str:
        """``redis`` or ``sqlite``."""
        return "redis" if self._url else "sqlite"

    def say_look(self, delay_s: float = 0.0) -> None:
        """Have a worker look now, or in so many seconds.

        Raises:
            InvalidInput: If its address is malformed.
            Unreachable: If the queue does not answer within seconds.
        """
        with self._named_errors():
            if delay_s > 0:
                self._opened().schedule(delay=delay_s)
            else:
                self._opened()()

    def heard_look(self) -> bool:
        """Take the messages that have come, and tell whether one says to look now. Waits for none.

        Raises:
            InvalidInput: If its address is malformed.
            Unreachable: If the queue does not answer within seconds.
        """
        with self._named_errors():
            huey = self._opened().huey
            heard = bool(huey.read_schedule())
            for _ in range(_AT_ONCE):
                try:
                    task = huey.dequeue()
                except ValueError as error:
                    log.warning("a message in the queue is none of ours: %s", error)
                    continue
                if task is None:
                    break
                if huey.ready_to_run(task):
                    heard = True
                else:
                    huey.add_schedule(task)
            return heard

    def count(self) -> int:
        """How many messages wait, those for later included.

        Raises:
            InvalidInput: If its address is malformed.
            Unreachable: If the queue does not answer within seconds.
        """
        with self._named_errors():
            huey = self._opened().huey
            return int(huey.pending_count()) + int(huey.scheduled_count())

    def _opened(self) -> TaskWrapper:
        with self._lock:
            if self._look is None:
                huey = self._open_redis() if self._url else self._open_sqlite()
                self._look = huey.task(name="look")(_look)
            return self._look

    def _open_sqlite(self) -> Huey:
        from huey.api import SqliteHuey

        self._file.parent.mkdir(parents=True, exist_ok=True)
        return SqliteHuey(
            _NAME, filename=str(self._file), timeout=_PATIENCE_S, results=False, serializer=JsonMessages()
        )

    def _open_redis(self) -> Huey:
        try:
            from redis import ConnectionPool
        except ModuleNotFoundError:
            raise InvalidInput(
                "MASKWRIGHT_QUEUE_URL needs the package redis: pip install 'maskwright[redis]'"
            ) from None
        from huey.api import RedisHuey

        try:
            pool = ConnectionPool.from_url(self._url, socket_timeout=_PATIENCE_S, socket_connect_timeout=_PATIENCE_S)
        except ValueError:  # whose text may hold a part of the password
            raise InvalidInput(
                "MASKWRIGHT_QUEUE_URL is malformed: write redis://host:6379/0 or the like, and what is special in a "
                "password as %2F"
            ) from None
        return RedisHuey(_NAME, connection_pool=pool, blocking=False, results=False, serializer=JsonMessages())

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise self._unreachable(error) from None
        except Exception as error:
            # Of a package that need not be installed.
            if type(error).__module__.partition(".")[0] == "redis":
                raise self._unreachable(error) from None
            raise

    def _unreachable(self, error: Exception) -> Unreachable:
        log.debug("the queue failed", exc_info=error)
        where, remedy = ("MASKWRIGHT_QUEUE_URL", "start it or mend the address") if self._url else (
            f"{_FILE} in MASKWRIGHT_HOME", "make it writable, or delete it: nothing in it is needed"
        )  # fmt: skip
        return Unreachable(f"the workers' queue does not answer ({where}: {type(error).__name__}); {remedy}")


class JsonMessages:
    """Messages as JSON: what lies in a queue that others can write must not be able to run anything."""

    def serialize(self, message: Message) -> bytes:
        """Name, id and time."""
        eta = None if message.eta is None else message.eta.isoformat()
        return json.dumps({"name": message.name, "id": message.id, "eta": eta}).encode()

    def deserialize(self, data: bytes) -> Message:
        """The reverse of ``serialize``.

        Raises:
            ValueError: If it is something else.
        """
        from huey.registry import Message

        try:
            found: dict[str, Any] = json.loads(data)
            if found["name"] != f"{__name__}.look":
                raise ValueError(f"named {str(found['name'])[:40]!r}")
            eta = None if found["eta"] is None else datetime.fromisoformat(found["eta"]).replace(tzinfo=None)
            return Message(id=str(found["id"]), name=found["name"], eta=eta, args=(), kwargs={})
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(type(error).__name__) from None


def _look() -> None:
    """What the message is called after; workers do not run messages."""
