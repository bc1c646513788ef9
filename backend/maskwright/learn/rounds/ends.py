"""How rounds end, and what is left of them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskwright.learn.gate.held_out import Parts
from maskwright.learn.gate.verdict import Verdict
from maskwright.learn.rounds.corpus import Corpus
from maskwright.store.rounds import RoundState
from maskwright.store.snapshots import Snapshot


@dataclass(frozen=True)
class End:
    """How a round is to end.

    Attributes:
        state: As what.
        reason: Why, for a person.
        verdict: Of the gate as JSON values, if it was asked.
    """

    state: RoundState
    reason: str
    verdict: dict[str, Any] | None = None


def end_of(verdict: Verdict) -> End:
    """The end that a verdict means."""
    states = {"promote": RoundState.PROMOTED, "refuse": RoundState.REFUSED, "not enough data": RoundState.UNDECIDED}
    return End(states[verdict.outcome], verdict.reason, verdict.to_json())


def nothing_to_learn(snapshot: Snapshot, corpus: Corpus, parts: Parts) -> End:
    """The end of a round without an image to learn from; the reason tells what is missing."""
    if not snapshot.corrections:
        reason = "nobody has submitted an annotation yet."
    elif not corpus.images:
        first = f" The first problem: {corpus.problems[0]}" if corpus.problems else ""
        reason = f"of {snapshot.tasks} annotated tasks no image could be used.{first}"
    else:
        reason = (
            f"of {len(corpus.images)} corrected images {len(parts.held_out)} are held out, and the others hold no "
            "object to learn from; label more images."
        )
    return End(RoundState.UNDECIDED, f"Not enough data: {reason}")


def forget_work(folder: Path) -> None:
    """Delete what only a round at work needs; its pictures stay."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.suffix != ".png":
            path.unlink(missing_ok=True)
