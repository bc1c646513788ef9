"""What a phrase asks for, as a value: a thing, how many of it, where, beside what, and which not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from maskwright.errors import InvalidInput

Place = Literal[
    "left", "right", "top", "bottom", "top left", "top right", "bottom left", "bottom right", "middle"
]  # fmt: skip
Extreme = Literal["biggest", "smallest", "tallest", "shortest", "widest", "narrowest"]
Order = Place | Extreme
"""From which end things are counted; a picture's top left is where its first pixel is."""
Relation = Literal["left of", "right of", "above", "below", "next to", "on", "in", "between"]

PLACES: tuple[Place, ...] = get_args(Place)
EXTREMES: tuple[Extreme, ...] = get_args(Extreme)
RELATIONS: tuple[Relation, ...] = get_args(Relation)


@dataclass(frozen=True)
class Expression:
    """One thing, or several of a kind.

    Attributes:
        noun: What it is called, with its attributes; empty for "the left one", whose kind is known from elsewhere.
        count: How many are meant, or None for all there are.
        order: From which end they are counted; None = the likeliest ones. With all of them, a place means that part of
            the picture, and an extreme those that come near it.
        rank: 1 = the first from that end.
        within: Part of the picture in which they are counted, as in "the biggest dog on the left".
        relation: How they stand to the anchors, or None.
        anchors: Two for "between A and B", else one.
        excluded: Those that are not meant.

    Raises:
        InvalidInput: If a number is below 1, or relation and anchors do not go together.
    """

    noun: str
    count: int | None = 1
    order: Order | None = None
    rank: int = 1
    relation: Relation | None = None
    anchors: tuple[Expression, ...] = ()
    excluded: tuple[Expression, ...] = ()
    within: Place | None = None

    def __post_init__(self) -> None:
        if self.rank < 1 or (self.count is not None and self.count < 1):
            raise InvalidInput(f"things are counted from 1, not {min(self.rank, self.count or self.rank)}")
        if (self.relation is None) != (not self.anchors) or len(self.anchors) > (self.relation == "between") + 1:
            raise InvalidInput("a relation has something to stand to: two things for 'between', else one")
