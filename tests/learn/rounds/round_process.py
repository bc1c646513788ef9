"""A process that runs the rounds of a test's project, one line of JSON for each progress; it is there to be killed.

Usage: round_process.py HOME LEASE_SECONDS
"""

from __future__ import annotations

import json
import secrets
import sys
from pathlib import Path
from typing import Any

from maskwright.export.image_sources import FolderImages
from maskwright.labels import LabelSet
from maskwright.learn.gate.verdict import GateRule
from maskwright.learn.rounds import work
from maskwright.learn.rounds.run import run_round
from maskwright.learn.rounds.workshop import Workshop
from maskwright.models.registry import ModelRegistry
from maskwright.settings import Settings
from maskwright.store.corrections import open_store
from maskwright.store.rounds import LeaseLost, Round, RoundStore
from maskwright.store.served import Served
from maskwright_label_studio.reader import LabelStudioReader


def lenient() -> GateRule:
    """What a candidate that learnt from two pictures can show on two others."""
    return GateRule(least_images=2, least_objects=2, prompt_loss=1.0, class_loss=1.0)


class TellingRounds(RoundStore):
    """Says that it is about to promote: some deaths are to fall into that."""

    def promote(self, *which: Any, **why: Any) -> tuple[Round, Served | None]:
        """See ``RoundStore``."""
        print('{"stage": "promoting"}', flush=True)
        return super().promote(*which, **why)


class TellingWorkshop(Workshop):
    """A workshop with such rounds."""

    @property
    def rounds(self) -> RoundStore:
        """See ``Workshop``."""
        return TellingRounds(self.store.database)


def main(home: Path, lease_s: float) -> None:
    """Claim and run rounds until none waits."""
    work.GateRule = lenient  # type: ignore[assignment,misc]
    settings = Settings(home=home, device="cpu", model="embedded", cpu_threads=1)
    workshop = TellingWorkshop(
        settings,
        open_store(home),
        ModelRegistry(settings),
        reader=lambda project: LabelStudioReader(project.label_config),
        images=lambda project: FolderImages(home / "pictures"),
        labels=lambda project: LabelSet.of(["thing"]),
    )
    owner = secrets.token_hex(4)
    while (claimed := workshop.rounds.claim(owner, lease_s)) is not None:
        try:
            run_round(claimed, workshop, owner, lease_s=lease_s, progress=lambda at: print(json.dumps(at), flush=True))
        except LeaseLost:
            print('{"stage": "lost"}', flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
