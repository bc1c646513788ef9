"""One set of regions from several people's: what a majority of them drew, or what is most likely true (STAPLE)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations

from maskwright.export.agreement import Agreement
from maskwright.export.matching import Matching, match
from maskwright.export.staple import staple
from maskwright.masks import Mask, runs
from maskwright.regions import Provenance, Region

Regions = Sequence[Region]


def majority(people: Sequence[Regions], matching: Matching | None = None) -> tuple[Region, ...]:
    """Objects that more than half of the people drew, with the pixels that more than half of all people gave them.

    The class is the one that most of its drawers chose; of equally many, the one that stands first in the list of
    people. So with two people an object stays if both drew it, its pixels are those they share, and its class is the
    first one's. The score is the share of people who drew it.

    Args:
        people: The regions of each, in the order of drawing, masks of one size; in a tie the first has the say.
        matching: ``match(people)`` where it is at hand.
    """
    return _merged(people, matching, lambda masks: held_by_most(masks, len(people)))


def most_likely(people: Sequence[Regions], matching: Matching | None = None) -> tuple[Region, ...]:
    """As :func:`majority`, but with the pixels that STAPLE finds from the masks of those who drew the object.

    Those who did not draw it have no say about its outline.
    """
    return _merged(people, matching, lambda masks: staple(masks).mask)


def held_by_most(masks: Sequence[Mask], people: int) -> Mask:
    """The pixels that more than half of so many people hold; who has no mask holds none."""
    enough = people // 2 + 1
    return Mask(masks[0].size, runs.combine([m.edges for m in masks], [n >= enough for n in range(len(masks) + 1)]))


def _merged(
    people: Sequence[Regions], matching: Matching | None, pixels: Callable[[Sequence[Mask]], Mask]
) -> tuple[Region, ...]:
    if len(people) < 2:
        return tuple(people[0]) if people else ()
    found = []
    for group in (matching or match(people)).groups:
        if 2 * len(group) <= len(people):
            continue
        drawn = [people[person][i] for person, i in group.items()]
        mask = pixels([region.mask for region in drawn])
        if not mask.is_empty:
            found.append(_joined(drawn, mask, len(drawn) / len(people)))
    return tuple(found)


def _joined(drawn: Sequence[Region], mask: Mask, score: float) -> Region:
    first = drawn[0]
    # Not the first one's: who comes first changes with the next edit, and ids are made from this.
    person, key = min((region.provenance.person or "", region.key) for region in drawn)
    versions = dict.fromkeys(region.provenance.model_version for region in drawn)
    return replace(
        first,
        mask=mask,
        label=Counter(region.label for region in drawn).most_common(1)[0][0],
        score=score,
        provenance=Provenance("person", model_version=next(iter(versions)) if len(versions) == 1 else None),
        class_scores={},
        key=f"{person}:{key}",
        outlines=(),
        is_crowd=2 * sum(region.is_crowd for region in drawn) > len(drawn),
    )


def agreement(people: Sequence[Regions], names: Sequence[str], matching: Matching | None = None) -> Agreement:
    """How far the people agree on one image; each two of them are compared.

    Args:
        people: The regions of each, masks of one size.
        names: What the people are called.
        matching: ``match(people)`` where it is at hand.
    """
    matching = matching or match(people)
    of_class = [_by_class(regions) for regions in people]
    classes: dict[tuple[str, str], Counter[tuple[str, str]]] = {}
    shared, either, votes = Counter[str](), Counter[str](), Counter[str]()
    objects = matched = iou = rated = concord = 0
    for a, b in combinations(range(len(people)), 2):
        pairs = matching.pairs[a, b]
        objects += len(people[a]) + len(people[b])
        matched += len(pairs)
        iou += sum(Agreement.billionths(value) for _, _, value in pairs)
        (first, one), (second, two) = sorted([(names[a], a), (names[b], b)])
        table = classes.setdefault((first, second), Counter())
        for i, j, _ in pairs:
            found = {a: people[a][i].label or "", b: people[b][j].label or ""}
            table[found[one], found[two]] += 1
        for label in of_class[a].keys() | of_class[b].keys():
            mine, theirs = of_class[a].get(label), of_class[b].get(label)
            either[label] += (mine.area if mine else 0) + (theirs.area if theirs else 0)
            shared[label] += 2 * mine.intersection_area(theirs) if mine and theirs else 0
    for group in matching.groups:
        if len(group) > 1:
            given = Counter(people[person][i].label or "" for person, i in group.items())
            rated += 1
            votes.update(given)
            same = sum(n * (n - 1) for n in given.values())
            concord += Agreement.billionths(same / (len(group) * (len(group) - 1)))
    return Agreement(
        images=1, comparisons=len(matching.pairs), objects=objects, matched=matched, iou_billionths=iou,
        classes={key: dict(table) for key, table in classes.items() if table}, rated=rated,
        concord_billionths=concord, votes=dict(votes), shared=dict(shared), either=dict(either),
    )  # fmt: skip


def _by_class(regions: Regions) -> dict[str, Mask]:
    found: dict[str, list[Mask]] = {}
    for region in regions:
        found.setdefault(region.label or "", []).append(region.mask)
    return {label: masks[0].union(*masks[1:]) if len(masks) > 1 else masks[0] for label, masks in found.items()}
