"""Training, validation and test part: decided by hashing, so that the same rule gives the same parts everywhere.

Tasks that belong together (their images are near-duplicates, or they share the value of a field) form a group and go to
one part; the images of one task always stay together. The part follows from the seed and the name of the group alone.
The name of a group by content is that of its oldest task, that is the first in the natural order of names, in which
later tasks come later. So tasks added later never move others, with one exception: a task that resembles two groups
joins them, and the younger group follows the older one to its part.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, get_args

from maskwright.errors import InvalidInput
from maskwright.export.records import Split

CONTENT = "content"
TASK = "task"
_FIELD = "field:"
_NAMES: tuple[str, ...] = get_args(Split)
_FORM = "write it as train=0.8,val=0.1,test=0.1,seed=0"


@dataclass(frozen=True)
class SplitRule:
    """How tasks are shared out.

    Attributes:
        shares: (part, share) each, in the order train, val, test; the shares add up to 1.
        seed: Another seed gives other parts.
        by: ``content`` (near-duplicates stay together), ``task`` (each for itself) or ``field:<name>`` (tasks with
            the same value of that field stay together).

    Raises:
        InvalidInput: If a part is unknown or named twice, the shares do not add up to 1, or ``by`` is none of these.
    """

    shares: tuple[tuple[Split, Fraction], ...]
    seed: int = 0
    by: str = CONTENT

    def __post_init__(self) -> None:
        names = [name for name, _ in self.shares]
        if len(set(names)) < len(names) or not set(names) <= set(_NAMES):
            raise InvalidInput(f"a split names each of train, val and test at most once; {_FORM}")
        if any(share < 0 for _, share in self.shares) or sum(share for _, share in self.shares) != 1:
            raise InvalidInput(f"the shares of a split add up to 1; {_FORM}")
        if self.by not in (CONTENT, TASK) and not self.field:
            raise InvalidInput(f"a split is by content, by task or by field:NAME, not by {self.by!r}")
        ordered = tuple(sorted(self.shares, key=lambda item: _NAMES.index(item[0])))
        object.__setattr__(self, "shares", ordered)

    @classmethod
    def parse(cls, text: str, by: str = CONTENT) -> SplitRule:
        """From ``train=0.8,val=0.1,test=0.1,seed=0``; without ``seed`` it is 0.

        Raises:
            InvalidInput: As for the class, or if the text has not this form.
        """
        shares: list[tuple[Any, Fraction]] = []
        seed = 0
        for part in text.split(","):
            name, _, number = (word.strip() for word in part.partition("="))
            try:
                if name == "seed":
                    seed = int(number)
                else:
                    shares.append((name, Fraction(number)))
            except (ValueError, ZeroDivisionError):
                raise InvalidInput(f"{part!r} is not a part of a split; {_FORM}") from None
        return cls(tuple(shares), seed, by)

    @property
    def field(self) -> str:
        """The task field that groups, or empty."""
        return self.by[len(_FIELD) :] if self.by.startswith(_FIELD) else ""

    def split_of(self, group: str) -> Split:
        """The part of a group, from its name and the seed alone."""
        digest = hashlib.blake2b(f"{self.seed}\x1f{group}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
        place = Fraction(int.from_bytes(digest), 1 << 64)
        reached = Fraction(0)
        for name, share in self.shares:
            reached += share
            if place < reached:
                return name
        raise AssertionError("shares add up to 1")

    def group_of_field(self, task: str, data: Mapping[str, Any]) -> str:
        """The name of the group of a task by its field.

        Raises:
            InvalidInput: If the task does not have the field.
        """
        value = data.get(self.field)
        if value is None or value == "":
            known = ", ".join(sorted(map(str, data))[:20])
            raise InvalidInput(f"task {task} has no {self.field!r} to split by; its fields are: {known or 'none'}")
        return f"{self.by}\x1f{value}"

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {"shares": {name: str(share) for name, share in self.shares}, "seed": self.seed, "by": self.by}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SplitRule:
        """The reverse of :meth:`to_json`.

        Raises:
            InvalidInput: As for the class.
        """
        shares: list[tuple[Any, Fraction]] = [(name, Fraction(share)) for name, share in value["shares"].items()]
        return cls(tuple(shares), value["seed"], value["by"])


def natural_order(key: str) -> tuple[tuple[bool, int, str], ...]:
    """A sort key under which numbers in texts count as numbers: ``1/9`` comes before ``1/10``."""
    parts = [(part.isascii() and part.isdigit(), part) for part in re.split(r"([0-9]+)", key)]
    return tuple((not is_number, int(part) if is_number else 0, part) for is_number, part in parts)


def task_name(project: str, task: str) -> str:
    """What a task that is a group for itself is called, whatever exports it."""
    return f"{project}/{task}"


def leaders(names: Iterable[str], together: Iterable[Sequence[str]]) -> dict[str, str]:
    """The name of each task's group: that of its oldest task.

    Args:
        names: Names of all tasks, see :func:`task_name`.
        together: Lists of names that belong in one group. Lists that share a name are joined.
    """
    ordered = sorted(set(names), key=natural_order)
    place = {name: n for n, name in enumerate(ordered)}
    leader = list(range(len(ordered)))

    def find(n: int) -> int:
        while leader[n] != n:
            leader[n] = leader[leader[n]]
            n = leader[n]
        return n

    for group in together:
        for name in group[1:]:
            older, younger = sorted((find(place[group[0]]), find(place[name])))
            leader[younger] = older
    return {name: ordered[find(n)] for name, n in place.items()}
