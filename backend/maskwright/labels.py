"""Label sets: the ordered classes of a project, with aliases and descriptors."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from maskwright.errors import InvalidInput


def _fold(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().strip()


@dataclass(frozen=True)
class LabelClass:
    """One class of a project.

    Attributes:
        name: As the platform spells it; any Unicode.
        aliases: Other words for the same thing, used when a model has to recognise it.
        descriptors: Sentences that say how it looks.
    """

    name: str
    aliases: tuple[str, ...] = ()
    descriptors: tuple[str, ...] = ()

    @property
    def phrases(self) -> tuple[str, ...]:
        """What a text encoder should be asked: the aliases where there are any, else the name."""
        return self.aliases or (self.name,)


@dataclass(frozen=True)
class LabelSet:
    """Ordered classes with unique names.

    Raises:
        InvalidInput: On a blank or repeated class name.
    """

    classes: tuple[LabelClass, ...]

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for item in self.classes:
            if not item.name.strip():
                raise InvalidInput("a class name is blank; every class of a label set needs a name")
            if item.name in seen:
                raise InvalidInput(f"the class {item.name!r} is listed twice; class names must be unique")
            seen.add(item.name)

    @classmethod
    def of(cls, names: Iterable[str]) -> LabelSet:
        """A label set from bare names, in order."""
        return cls(tuple(LabelClass(name) for name in names))

    def __iter__(self) -> Iterator[LabelClass]:
        return iter(self.classes)

    def __len__(self) -> int:
        return len(self.classes)

    def __contains__(self, name: object) -> bool:
        return any(item.name == name for item in self.classes)

    @property
    def names(self) -> tuple[str, ...]:
        """The class names in order."""
        return tuple(item.name for item in self.classes)

    def find(self, word: str) -> LabelClass | None:
        """The class that ``word`` means: exact name first, then name or alias without regard to case and width."""
        for item in self.classes:
            if item.name == word:
                return item
        folded = _fold(word)
        for item in self.classes:
            if folded == _fold(item.name) or folded in map(_fold, item.aliases):
                return item
        return None

    def without_descriptors(self) -> LabelSet:
        """The same classes by their names and aliases alone."""
        return LabelSet(tuple(replace(item, descriptors=()) for item in self.classes))

    def content_hash(self) -> str:
        """16 hex digits that change with any name, alias, descriptor or their order."""
        text = repr([(c.name, c.aliases, c.descriptors) for c in self.classes])
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
