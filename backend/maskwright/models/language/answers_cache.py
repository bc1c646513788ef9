"""Answers of language models kept on disk, addressed by what was asked of whom; people can see and delete them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from maskwright.errors import InvalidInput
from maskwright.models.language.budget import Budget, Metered
from maskwright.models.language.schema import find_fault
from maskwright.models.protocols import LanguageModel, Message
from maskwright.settings import Settings
from maskwright.store.artifacts import write_atomically

_log = logging.getLogger(__name__)
_FOLDER = "language"
_ROOM_MADE = 0.1
"""Share of the bound that is freed when it is met, so that the folder is not listed at every answer."""
_KEY = re.compile(r"[0-9a-f]{32}")
_LONGEST_QUESTION = 2000


@dataclass(frozen=True)
class KeptAnswer:
    """An answer as a person sees it.

    Attributes:
        key: 32 hex digits that change with the model's version, the question and its schema.
        used: When it was given last.
        model: Version of the model.
        question: The last words of what was asked; pictures are not kept.
        answer: The answer.
    """

    key: str
    used: datetime
    model: str
    question: str
    answer: Mapping[str, Any]


class AnswersCache:
    """A folder of JSON files, ``<key>.json``, bounded in bytes; the least recently used leave. Safe under threads.

    Several processes may share the folder: each counts what it wrote, and lists the folder when that meets the bound.

    Args:
        folder: Made with the first answer.
        max_bytes: Most bytes of all answers; 0 keeps none.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._total: int | None = None
        self._lock = threading.Lock()
        self._is_writable = True

    @property
    def keeps(self) -> bool:
        """Whether there is room for any answer, and it can be written."""
        return self._max_bytes > 0 and self._is_writable

    @staticmethod
    def key(version: str, messages: Sequence[Message], schema: Mapping[str, Any]) -> str:
        """32 hex digits that change with the model's version, any message or picture, and the schema."""
        turns = [
            (turn.role, turn.content, [hashlib.sha256(image).hexdigest() for image in turn.images]) for turn in messages
        ]
        text = json.dumps([version, turns, schema], sort_keys=True)  # pure ASCII, whatever the messages hold
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def get(self, key: str, schema: Mapping[str, Any]) -> dict[str, Any] | None:
        """The answer, if it is there and valid under the schema; a damaged file counts as none."""
        path = self._path(key)
        if not self._max_bytes:
            return None
        try:
            value = json.loads(path.read_bytes())["answer"]
            os.utime(path)
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None
        return value if isinstance(value, dict) and find_fault(value, schema) is None else None

    def put(self, key: str, answer: Mapping[str, Any], *, model: str = "", question: str = "") -> None:
        """Keep an answer; where the folder cannot be written this is logged once, and nothing is kept.

        Args:
            key: From ``key``.
            answer: The answer.
            model: Version of who gave it, for people.
            question: What was asked, for people.
        """
        document = {"model": model, "question": question[-_LONGEST_QUESTION:], "answer": answer}
        data = json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")
        if len(data) > self._max_bytes or not self._is_writable:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path(key), data, mode=0o600)
            self._make_room(len(data))
        except (InvalidInput, OSError) as error:
            self._is_writable = False
            _log.warning("answers of language models are not kept: %s", error)

    def answers(self) -> Iterator[KeptAnswer]:
        """All answers, the one that was used last first."""
        for used, _, path in sorted(self._entries(), reverse=True):
            try:
                document = json.loads(path.read_bytes())
                model, question, answer = document["model"], document["question"], document["answer"]
            except (OSError, ValueError, LookupError, TypeError, RecursionError):
                continue  # another process made room, or it is damaged
            yield KeptAnswer(path.stem, datetime.fromtimestamp(used / 1e9, UTC), model, question, answer)

    def forget(self, key: str) -> bool:
        """Delete an answer, so that the next question is asked anew, by whatever process; whether there was one."""
        if not _KEY.fullmatch(key) or not self._path(key).is_file():
            return False
        self._path(key).unlink(missing_ok=True)
        return True

    def clear(self) -> int:
        """Delete every answer, since answers may tell what erased images showed; returns how many there were."""
        with self._lock:
            found = list(self._folder.glob("*.json"))
            for path in found:
                path.unlink(missing_ok=True)
            self._total = 0
        return len(found)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"

    def _make_room(self, added: int) -> None:
        with self._lock:
            if self._total is not None and self._total + added <= self._max_bytes:
                self._total += added
                return
            kept = sorted(self._entries(), reverse=True)
            total = sum(size for _, size, _ in kept)
            bound = self._max_bytes if total <= self._max_bytes else self._max_bytes * (1 - _ROOM_MADE)
            while total > bound and len(kept) > 1:  # the newest, which was just written, stays
                _, size, path = kept.pop()
                path.unlink(missing_ok=True)
                total -= size
            self._total = total

    def _entries(self) -> list[tuple[int, int, Path]]:
        """(last use in ns, bytes, path) of every answer."""
        found = []
        for path in self._folder.glob("*.json"):
            try:
                status = path.stat()
            except FileNotFoundError:  # another process made room
                continue
            found.append((status.st_mtime_ns, status.st_size, path))
        return found


def kept_answers(settings: Settings) -> AnswersCache:
    """The answers under the home folder."""
    return AnswersCache(settings.home / _FOLDER, settings.language_cache_bytes)


@runtime_checkable
class KeepsAnswers(Protocol):
    """A language model that may keep its answers where people can delete them."""

    @property
    def keeps_answers(self) -> bool:
        """Whether it does."""
        ...


class CachedModel:
    """A language model that is asked the same only once.

    Args:
        model: Asked what the cache does not know.
        cache: Keeps its answers.

    Attributes:
        model: The one that is asked.
    """

    def __init__(self, model: LanguageModel, cache: AnswersCache) -> None:
        self.name, self.version = model.name, model.version
        self.model, self._cache = model, cache

    @property
    def keeps_answers(self) -> bool:
        """Whether there is room for them."""
        return self._cache.keeps

    def answer(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> dict[str, Any]:
        """An object valid under ``schema``.

        Raises:
            ModelUnavailable: If the model gives no answer.
        """
        return self.ask(messages, schema)

    def ask(
        self, messages: Sequence[Message], schema: Mapping[str, Any], budgets: Sequence[Budget] = ()
    ) -> dict[str, Any]:
        """As ``answer``; what the cache knows costs no budget anything, and is given even when one is spent.

        Raises:
            ModelUnavailable: If the model gives no answer, or a budget is spent.
        """
        key = self._cache.key(self.version, messages, schema)
        known = self._cache.get(key, schema)
        if known is not None:
            return known
        if isinstance(self.model, Metered):
            made = self.model.ask(messages, schema, budgets)
        else:
            made = self.model.answer(messages, schema)
        asked = next((message.content for message in reversed(messages) if message.role == "user"), "")
        self._cache.put(key, made, model=self.version, question=asked)
        return made
