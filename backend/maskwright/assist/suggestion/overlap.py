"""Pixels that masks of different classes share go to the surer one (Huang et al., BMVC 2024)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from maskwright.masks import Mask


def settle_overlaps(masks: Sequence[Mask], scores: Sequence[float], groups: Sequence[Hashable]) -> list[Mask]:
    """Each mask without what surer masks of other groups hold; within a group masks may share pixels.

    The answer does not depend on the order: every mask is compared with the others as they were given. Of two equal
    scores the smaller mask is the surer one: small things lie on large ones. Of two equal masks the groups' names
    decide, so that no pixel has two of them.

    Args:
        masks: All of one size.
        scores: How sure each is.
        groups: What each one is: its class, or the phrase that found it.

    Returns:
        In the order given; some may be empty.
    """
    ranks = [
        (score, -mask.area, mask.counts, repr(group)) for mask, score, group in zip(masks, scores, groups, strict=True)
    ]
    settled: list[Mask] = []
    for mask, rank, group in zip(masks, ranks, groups, strict=True):
        surer = [
            other
            for other, rank_of_other, group_of_other in zip(masks, ranks, groups, strict=True)
            if group_of_other != group and rank_of_other > rank
        ]
        settled.append(mask.difference(*surer) if surer else mask)
    return settled
