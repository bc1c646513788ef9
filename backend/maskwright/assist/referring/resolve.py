"""Which of the things that could be meant are meant. It knows no models: whoever finds things by words is handed in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

from maskwright.assist.referring.expressions import Expression
from maskwright.assist.referring.grammar import bare, of_kind, singular
from maskwright.assist.referring.relations import belonging, ordered, strength
from maskwright.masks import Mask

SAME = 0.5
"""IoU from which two masks are the same thing."""
MOST_ANCHORS = 30
"""Of each of two kinds of things, the surest, that others are looked for between."""
LIKELY = 0.5
"""A thing counts if it is at least this part as sure as the surest of its kind."""


@dataclass(frozen=True, eq=False)
class Found:
    """Something that words may mean.

    Attributes:
        mask: Not empty.
        score: How sure it is, in [0, 1].
        is_judged: Whether it was found good enough already, however much surer others of its kind are.
    """

    mask: Mask
    score: float
    is_judged: bool = False


Find = Callable[[tuple[str, ...]], Sequence[Found]]
"""Everything in a picture that one of some words for the same thing means, in any order."""


@dataclass(frozen=True, eq=False)
class Meant:
    """What an expression means in a picture.

    Attributes:
        found: In the order that was asked for, else best first; empty where nothing of the kind is there.
        reason: Why nothing, or less than was asked for, was found; empty if all is well.
    """

    found: tuple[Found, ...]
    reason: str = ""


def resolve(expression: Expression, find: Find, size: tuple[int, int], also: Sequence[str] = ()) -> Meant:
    """Find what an expression means.

    Args:
        expression: What is asked for.
        find: Asked once for every noun, with its singular where it is a plural.
        size: (H, W) of the image.
        also: Words for the class that the person has chosen. They are the noun of "the left one", the kind of "the red
            one", and other words for a noun that is one of them. "The red car" means less than they do: there they
            help only if nothing is found without them.
    """
    return _resolve(expression, _Kept(find), size, tuple(also))


class _Kept:
    """Asks for the same words once, and keeps the likely answers, each thing once, best first."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._answers: dict[tuple[str, ...], list[Found]] = {}

    def __call__(self, words: tuple[str, ...]) -> list[Found]:
        if words not in self._answers:
            best: list[Found] = []
            for item in sorted(self._find(words), key=lambda item: -item.score):
                likely = not best or item.is_judged or item.score >= LIKELY * best[0].score
                if likely and not item.mask.is_empty and not any(_is_same(item, other) for other in best):
                    best.append(item)
            self._answers[words] = best
        return list(self._answers[words])


def _resolve(expression: Expression, find: _Kept, size: tuple[int, int], also: tuple[str, ...]) -> Meant:
    own = tuple(kind for word in also if (kind := of_kind(expression.noun, word))) or _words(expression.noun)
    if not own and not also:
        return Meant((), "the phrase does not say what kind of thing is meant; name it, or choose a class")
    name = repr((*own, *also)[0])
    if not own or _share(own, also):
        found = find(tuple(dict.fromkeys((*own, *also))))
    else:
        found = find(own) or (find(also) if also else [])
    if not found:
        return Meant((), f"nothing was found that looks like {name}")
    for other in expression.excluded:
        kind = of_kind(other.noun, also[0]) if also else None
        same = not other.noun or _share(_words(other.noun), own)
        out = _resolve(replace(other, noun=kind or other.noun), find, size, also if same else ()).found
        found = [item for item in found if not any(_is_same(item, gone) for gone in out)]
    if not found:
        return Meant((), f"every {name} that was found is excluded")
    if expression.within is not None:
        there = belonging([item.mask for item in found], expression.within, size)
        if not there:
            return Meant((), f"{len(found)} {name} found, but none at the {expression.within}")
        found = [found[i] for i in there]
    if expression.relation is not None:
        return _related(expression, found, find, size, name)
    return _chosen(expression, found, size, name)


def _related(expression: Expression, found: list[Found], find: _Kept, size: tuple[int, int], name: str) -> Meant:
    assert expression.relation is not None
    anchors = [_resolve(anchor, find, size, ()) for anchor in expression.anchors]
    for anchor in anchors:
        if not anchor.found:
            return Meant((), f"{anchor.reason}, so nothing can be {expression.relation} it")
    holding = _holding(expression, found, anchors)
    if not holding and any(map(_is_plain, expression.anchors)):
        # The bench that is meant need not be the surest one.
        any_of = [replace(anchor, count=None) if _is_plain(anchor) else anchor for anchor in expression.anchors]
        holding = _holding(expression, found, [_resolve(anchor, find, size, ()) for anchor in any_of])
    if not holding:
        things = " and ".join(repr(anchor.noun) for anchor in expression.anchors)
        return Meant((), f"{len(found)} {name} found, but none {expression.relation} {things}")
    return _chosen(expression, holding, size, name)


def _is_plain(anchor: Expression) -> bool:
    """Whether nothing says which one of its kind is meant."""
    return anchor.count == 1 and anchor.rank == 1 and anchor.order is None


def _holding(expression: Expression, found: list[Found], anchors: Sequence[Meant]) -> list[Found]:
    """Those that stand in the relation to some of the anchors, best first."""
    groups: list[tuple[Found, ...]] = [(item,) for item in anchors[0].found]
    if expression.relation == "between":
        surest = [anchor.found[:MOST_ANCHORS] for anchor in anchors]
        groups = list(product(*surest) if len(surest) == 2 else combinations(surest[0], 2))
    strengths = [max((_strength(expression, item, group) for group in groups), default=0.0) for item in found]
    return [found[i] for i in sorted(range(len(found)), key=lambda i: -strengths[i]) if strengths[i] > 0]


def _strength(expression: Expression, item: Found, group: tuple[Found, ...]) -> float:
    assert expression.relation is not None
    if any(_is_same(item, anchor) for anchor in group):
        return 0.0
    return strength(expression.relation, item.mask, [anchor.mask for anchor in group])


def _chosen(expression: Expression, found: list[Found], size: tuple[int, int], name: str) -> Meant:
    """As many as are asked for, from the end that is asked for; of those in no order, the first."""
    masks = [item.mask for item in found]
    order, count = expression.order, expression.count
    if order is not None:
        if count is None:
            there = belonging(masks, order, size)
            reason = "" if there else f"{len(found)} {name} found, but none at the {order}"
            return Meant(tuple(found[i] for i in there), reason)
        found = [found[i] for i in ordered(masks, order, size)]
    if count is None:
        return Meant(tuple(found))
    start = expression.rank - 1
    chosen = tuple(found[start : start + count])
    if len(chosen) == count:
        return Meant(chosen)
    return Meant(chosen, f"only {len(found)} {name} found; {start + count} would be needed")


def _share(words: Sequence[str], others: Sequence[str]) -> bool:
    return not {*map(bare, words)}.isdisjoint(map(bare, others))


def _words(noun: str) -> tuple[str, ...]:
    return tuple(word for word in (noun, singular(noun)) if word)


def _is_same(one: Found, other: Found) -> bool:
    return one.mask.iou(other.mask) >= SAME
