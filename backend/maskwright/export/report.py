"""What an export wrote, for whoever started it."""

from __future__ import annotations

from dataclasses import dataclass

from maskwright.export.tally import Tally


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote.

    Attributes:
        format: Name of the format.
        tally: What was counted.
        index: Relative path of the file that a loader opens.
        files: How many files were written.
        resumed_tasks: Tasks whose work an earlier, interrupted run had done.
        seconds: How long it took.
    """

    format: str
    tally: Tally
    index: str
    files: int
    resumed_tasks: int = 0
    seconds: float = 0.0
