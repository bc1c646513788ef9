"""What may be spent on a day, counted where every process of a home folder sees it and no restart forgets it."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from maskwright.models.language.budget import FREE, Budget, Price, Spent, Usage

FOLDER = "language-spent"
"""Below the home folder."""
_DAYS_KEPT = 31

_log = logging.getLogger(__name__)


class DailyMoney(Budget):
    """The money of a day (UTC); the next day has its own. Safe under threads and among processes.

    Each request adds a line to ``<year>-<month>-<day>.txt``: the time, the money, the tokens of the prompt and those of
    the completion. Where it cannot be written, the process counts for itself. Requests already in flight when the bound
    is met are finished.

    Args:
        home: The home folder.
        money: Most money, or None: it is only written down.
    """

    def __init__(self, home: Path, money: float | None) -> None:
        super().__init__("today (UTC)", money=money)
        self._folder, self._day, self._bytes_read = home / FOLDER, "", 0

    def check(self) -> None:
        """As ``Budget.check``, of what all processes spent today."""
        with self._lock:
            self._catch_up()
        super().check()

    def charge(self, usage: Usage, seconds: float, price: Price = FREE) -> None:
        """Write one request down."""
        now = datetime.now(UTC)
        line = f"{now:%H:%M:%S} {price.of(usage):.9f} {usage.prompt_tokens} {usage.completion_tokens}\n"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            target = os.open(self._folder / f"{now:%Y-%m-%d}.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(target, line.encode())  # as a whole, whoever else writes
            finally:
                os.close(target)
        except OSError as error:
            _log.warning("what language models cost is not written down: %s", error)
            super().charge(usage, seconds, price)

    def _catch_up(self) -> None:
        """Count what was written since the last look."""
        day = f"{datetime.now(UTC):%Y-%m-%d}"
        if day != self._day:
            self._day, self._bytes_read, self._spent = day, 0, Spent()
            for old in sorted(self._folder.glob("*.txt"))[:-_DAYS_KEPT]:
                old.unlink(missing_ok=True)
        try:
            with (self._folder / f"{day}.txt").open("rb") as file:
                file.seek(self._bytes_read)
                lines = file.read()
        except OSError:  # nothing was spent yet, or nothing can be written either
            return
        lines = lines[: lines.rfind(b"\n") + 1]
        self._bytes_read += len(lines)
        for line in lines.splitlines():
            spent = self._spent
            try:
                _, money, prompt, completion = line.split()
                self._spent = replace(
                    spent,
                    tokens=spent.tokens + int(prompt) + int(completion),
                    money=spent.money + float(money),
                    requests=spent.requests + 1,
                )
            except ValueError:
                _log.warning("a line of %s/%s.txt cannot be read: %r", FOLDER, day, line[:100])
