"""Classes renamed, merged and left out on the way from a project to a dataset; the project itself stays as it is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from maskwright.errors import InvalidInput


@dataclass(frozen=True)
class LabelMapping:
    """What becomes of classes. All changes apply at once and only once: what one gives is not changed by another.

    Attributes:
        rename: (old name, new name) each. The new name must not be another class of the project.
        merge: (old names, name of the one they become) each. That may be one of them, another class, or a new one.
        exclude: Classes whose regions are left out.

    Raises:
        InvalidInput: If a name is blank, a class has two fates, classes swap their names, or a class is left out
            while others become it.
    """

    rename: tuple[tuple[str, str], ...] = ()
    merge: tuple[tuple[tuple[str, ...], str], ...] = ()
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        fates: dict[str, str] = {}
        for old, new in self._changes():
            if not old.strip() or not new.strip():
                raise InvalidInput("a class to rename or to merge has a blank name; write OLD=NEW or A,B=NEW")
            if fates.get(old, new) != new:
                raise InvalidInput(f"the class {old!r} is to become both {fates[old]!r} and {new!r}; keep one of them")
            fates[old] = new
        targets: dict[str, str] = {}
        for old, new in self.rename:
            if targets.setdefault(new, old) != old:
                raise InvalidInput(f"{targets[new]!r} and {old!r} cannot both be renamed {new!r}; to join them: merge")
        for name in self.exclude:
            if name in fates:
                raise InvalidInput(f"the class {name!r} is to be left out and to become {fates[name]!r}; keep one")
            into = next((old for old, new in fates.items() if new == name), None)
            if into is not None:
                raise InvalidInput(
                    f"the class {into!r} is to become {name!r}, which is left out; leave {into!r} out too"
                )
        for start in fates:
            path = [start]
            while fates.get(path[-1], path[-1]) != path[-1] and path[-1] not in path[:-1]:
                path.append(fates[path[-1]])
            if len(path) > 1 and path[-1] in path[:-1]:
                raise InvalidInput(
                    f"classes change in a circle ({' -> '.join(map(repr, path))}); use a new name for one"
                )

    @classmethod
    def parse(cls, rename: Iterable[str] = (), merge: Iterable[str] = (), exclude: Iterable[str] = ()) -> LabelMapping:
        """From command-line arguments: ``OLD=NEW``, ``A,B=NEW``, ``NAME``.

        Names that hold ``=`` or ``,`` are written as JSON: ``{"OLD": "NEW"}``, ``{"NEW": ["A", "B"]}``.

        Raises:
            InvalidInput: As for the class, or if an argument has not this form.
        """
        renamed = tuple(pair for text in rename for pair in _renames(text))
        merged = tuple(item for text in merge for item in _merges(text))
        return cls(renamed, merged, tuple(exclude))

    @property
    def is_empty(self) -> bool:
        """Whether everything stays as it is."""
        return not (self.rename or self.merge or self.exclude)

    @property
    def changed(self) -> tuple[str, ...]:
        """The classes that are renamed, merged or left out."""
        return tuple(dict.fromkeys([*(old for old, _ in self._changes()), *self.exclude]))

    def apply(self, name: str) -> str | None:
        """What the class becomes; None where it is left out."""
        return self._fates.get(name, name)

    def names(self, names: Iterable[str]) -> tuple[str, ...]:
        """The classes of the dataset, in the order in which the given ones lead to them."""
        return tuple(dict.fromkeys(new for name in names if (new := self.apply(name)) is not None))

    def check(self, names: Iterable[str]) -> None:
        """See that the mapping fits a project.

        Args:
            names: All classes of the project.

        Raises:
            InvalidInput: If a class to change is not among them, or a new name is that of a class that stays.
        """
        known = list(dict.fromkeys(names))
        for name in self.changed:
            if name not in known:
                listed = ", ".join(map(repr, known[:20])) + (", ..." if len(known) > 20 else "")
                raise InvalidInput(
                    f"there is no class {name!r} to rename, merge or exclude; there are: {listed or 'none'}"
                )
        for old, new in self.rename:
            if new != old and new in known and self._fates.get(new, new) == new:
                raise InvalidInput(f"{old!r} cannot be renamed {new!r}, which is a class already; to join them: merge")

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values, the same for mappings that do the same."""
        fates = {old: new for old, new in self._changes() if old != new}
        renamed = dict(self.rename)
        return {
            "rename": {old: new for old, new in sorted(fates.items()) if old in renamed},
            "merge": {old: new for old, new in sorted(fates.items()) if old not in renamed},
            "exclude": sorted(set(self.exclude)),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LabelMapping:
        """The reverse of :meth:`to_json`.

        Raises:
            InvalidInput: As for the class.
        """
        merged: dict[str, list[str]] = {}
        for old, new in value.get("merge", {}).items():
            merged.setdefault(new, []).append(old)
        return cls(
            tuple(value.get("rename", {}).items()),
            tuple((tuple(olds), new) for new, olds in merged.items()),
            tuple(value.get("exclude", ())),
        )

    def _changes(self) -> list[tuple[str, str]]:
        return [*self.rename, *((old, new) for olds, new in self.merge for old in olds)]

    @cached_property
    def _fates(self) -> dict[str, str | None]:
        return {**dict(self._changes()), **dict.fromkeys(self.exclude)}


def _renames(text: str) -> list[tuple[str, str]]:
    if text.lstrip().startswith("{"):
        return [(old, _word(new, text)) for old, new in _object(text).items()]
    old, equals, new = text.partition("=")
    if not equals or "=" in new:
        raise InvalidInput(f'{text!r} is not of the form OLD=NEW; names with = go into JSON: {{"OLD": "NEW"}}')
    return [(old.strip(), new.strip())]


def _merges(text: str) -> list[tuple[tuple[str, ...], str]]:
    if text.lstrip().startswith("{"):
        found = []
        for new, olds in _object(text).items():
            if not isinstance(olds, list) or not olds:
                raise InvalidInput(f'{text!r} should name a list of classes: {{"NEW": ["A", "B"]}}')
            found.append((tuple(_word(old, text) for old in olds), new))
        return found
    olds_text, equals, new = text.partition("=")
    if not equals or "=" in new:
        raise InvalidInput(
            f'{text!r} is not of the form A,B=NEW; names with = or , go into JSON: {{"NEW": ["A", "B"]}}'
        )
    return [(tuple(old.strip() for old in olds_text.split(",")), new.strip())]


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"{text!r} is not valid JSON: {error}") from None
    assert isinstance(value, dict)  # it begins with {
    return value


def _word(value: object, text: str) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"{text!r} holds {value!r} where the name of a class should be")
    return value
