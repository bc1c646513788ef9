"""The words for ImageNet's 1000 classes, and what each of them is a kind of.

The table ``data/imagenet_words.tsv`` was derived from WordNet 3.0 (its licence is in the file's head).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

CLASSES = 1000
CLOTHING = "n03051540"


@dataclass(frozen=True)
class Concept:
    """One meaning (a WordNet synset).

    Attributes:
        offset: WordNet 3.0 identifier, e.g. ``n02123045``.
        words: Synonyms, the most usual first.
        kinds: Offsets of the concepts that this one is directly a kind of.
    """

    offset: str
    words: tuple[str, ...]
    kinds: tuple[str, ...]


WEARER = Concept("wearer", ("person", "human", "man", "woman", "people"), ())
"""Added to what clothing is a kind of: ImageNet has no class for people, and its pictures of clothes show them worn."""


@dataclass(frozen=True)
class Vocabulary:
    """ImageNet's classes and the concepts above them.

    Attributes:
        concepts: Every concept; the first 1000 are the classes in the order of a classifier's outputs.
    """

    concepts: tuple[Concept, ...]

    @property
    def classes(self) -> tuple[Concept, ...]:
        """The 1000 classes in the order of a classifier's outputs."""
        return self.concepts[:CLASSES]

    @property
    def tags(self) -> tuple[str, ...]:
        """One readable, unique word per class; two classes of one word are told apart by what they are a kind of."""
        by_offset = {concept.offset: concept for concept in self.concepts}
        seen = Counter(concept.words[0] for concept in self.classes)
        return tuple(
            c.words[0] if seen[c.words[0]] == 1 else f"{c.words[0]} ({by_offset[c.kinds[0]].words[0]})"
            for c in self.classes
        )

    def distances(self) -> tuple[dict[int, int], ...]:
        """For each class: index of every concept that it is a kind of -> least number of steps up to it (itself: 0)."""
        index = {concept.offset: i for i, concept in enumerate(self.concepts)}
        found: list[dict[int, int]] = []
        for start in range(CLASSES):
            steps = {start: 0}
            frontier = [start]
            while frontier:
                above = [index[kind] for i in frontier for kind in self.concepts[i].kinds]
                depth = steps[frontier[0]] + 1
                frontier = [i for i in dict.fromkeys(above) if i not in steps]
                steps.update(dict.fromkeys(frontier, depth))
            found.append(steps)
        return tuple(found)


@cache
def vocabulary() -> Vocabulary:
    """The table, read once."""
    text = resources.files("maskwright.models").joinpath("data/imagenet_words.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    concepts = [Concept(o, tuple(words.split(";")), tuple(filter(None, kinds.split(";")))) for o, words, kinds in rows]
    return Vocabulary(
        (*(replace(c, kinds=(*c.kinds, WEARER.offset)) if c.offset == CLOTHING else c for c in concepts), WEARER)
    )
