"""Training, validation and test part: decided by hashing, so that the same rule gives the same parts everywhere.

What belongs together (near-duplicate images, or tasks with the same value of a field) forms a group and goes to one
part. The part follows from the seed and the name of the group alone. The name of a group of images is the key of its
oldest image, that is the first in the natural order of keys, in which later tasks come later. So images added later
never move others, with one exception: an image that resembles two groups joins them, and the younger one follows the
older one to its part.
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
IMAGE = "image"
_FIELD = "field:"
_NAMES: tuple[str, ...] = get_args(Split)
_FORM = "write it as train=0.8,val=0.1,test=0.1,seed=0"


@dataclass(frozen=True)
class SplitRule:
    """How images are shared out.

    Attributes:
        shares: (part, share) each, in the order train, val, test; the shares add up to 1.
        seed: Another seed gives other parts.
        by: ``content`` (near-duplicates stay together), ``image`` (each for itself) or ``field:<name>`` (tasks with
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
        if self.by not in (CONTENT, IMAGE) and not self.field:
            raise InvalidInput(f"a split is by content, by image or by field:NAME, not by {self.by!r}")
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
    """A sort key under which numbers in texts count as numbers: ``1/9/0`` comes before ``1/10/0``."""
    return tuple(
        (not p.isascii() or not p.isdigit(), int(p) if p.isascii() and p.isdigit() else 0, p) for p in _parts(key)
    )


def _parts(key: str) -> list[str]:
    return re.split(r"([0-9]+)", key)


def assign(rule: SplitRule, keys: Sequence[str], together: Iterable[Sequence[str]] = ()) -> dict[str, Split]:
    """Share out images.

    Args:
        rule: With ``by`` field, use ``split_of(group_of_field(...))`` instead.
        keys: Keys of all images.
        together: Lists of keys that belong in one group, e.g. of near-duplicates
            (:func:`maskwright.images.similar.near_duplicates`).  Lists that share a key are joined.

    Returns:
        The part of each image, in the order of ``keys``.
    """
    leader = {key: key for key in keys}

    def find(key: str) -> str:
        while leader[key] != key:
            leader[key] = leader[leader[key]]
            key = leader[key]
        return key

    for group in together:
        for key in group[1:]:
            first, second = sorted((find(group[0]), find(key)), key=natural_order)
            leader[second] = first
    parts = {name: rule.split_of(name) for name in {find(key) for key in keys}}
    return {key: parts[find(key)] for key in keys}
