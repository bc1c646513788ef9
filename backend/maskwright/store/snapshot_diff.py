"""What changed from one snapshot to another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Line = Mapping[str, Any]
Drawn = tuple[int, int, bool]
"""(task, annotation number, is draft)."""


@dataclass(frozen=True)
class SnapshotDiff:
    """What the second of two snapshots has that the first has not, and the reverse.

    Attributes:
        added: Task numbers that only the second has.
        removed: Task numbers that only the first has.
        changed: Task numbers of both with other fields, split, corrections or proposals.
        corrections_added: (task, annotation number, is draft) that only the second has.
        corrections_removed: Those that only the first has.
        corrections_changed: Those of both in another state.
        label_set_changed: Whether the classes or their order differ.
        selection_changed: Whether the ways of choosing differ.
    """

    added: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()
    changed: tuple[int, ...] = ()
    corrections_added: tuple[Drawn, ...] = ()
    corrections_removed: tuple[Drawn, ...] = ()
    corrections_changed: tuple[Drawn, ...] = ()
    label_set_changed: bool = False
    selection_changed: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether both hold the same."""
        return self == SnapshotDiff()


def compare(
    first: Iterator[Line], second: Iterator[Line], *, label_set_changed: bool = False, selection_changed: bool = False
) -> SnapshotDiff:
    """Compare the manifests of two snapshots, both in the order of tasks, holding one line of each at a time."""
    tasks: dict[str, list[int]] = {"added": [], "removed": [], "changed": []}
    drawn: dict[str, list[Drawn]] = {"added": [], "removed": [], "changed": []}
    for old, new in _side_by_side(first, second):
        task = int((old or new or {})["task"])
        before, after = _states(old), _states(new)
        drawn["added"] += [(task, *key) for key in after if key not in before]
        drawn["removed"] += [(task, *key) for key in before if key not in after]
        drawn["changed"] += [(task, *key) for key in after if key in before and before[key] != after[key]]
        if old is None:
            tasks["added"].append(task)
        elif new is None:
            tasks["removed"].append(task)
        elif old != new:
            tasks["changed"].append(task)
    names = ("added", "removed", "changed")
    numbers, states = [tuple(tasks[name]) for name in names], [tuple(drawn[name]) for name in names]
    return SnapshotDiff(
        numbers[0], numbers[1], numbers[2], states[0], states[1], states[2], label_set_changed, selection_changed
    )


def _states(line: Line | None) -> dict[tuple[int, bool], list[Any]]:
    return {} if line is None else {(state[0], state[1]): state[2:] for state in line["corrections"]}


def _side_by_side(first: Iterator[Line], second: Iterator[Line]) -> Iterator[tuple[Line | None, Line | None]]:
    old, new = next(first, None), next(second, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old["task"] < new["task"]):
            yield old, None
            old = next(first, None)
        elif old is None or new["task"] < old["task"]:
            yield None, new
            new = next(second, None)
        else:
            yield old, new
            old, new = next(first, None), next(second, None)
