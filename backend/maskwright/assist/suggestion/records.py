"""Suggestions as JSON, as they travel with a prediction and come back with what a person made of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from maskwright.assist.suggestion.values import Source, SourceKind, Status, Suggestion
from maskwright.errors import InvalidInput

_MOST, _LONGEST = 1000, 1000


def suggestions_to_json(suggestions: Iterable[Suggestion]) -> list[dict[str, Any]]:
    """A JSON list that ``read_suggestions`` reads."""
    return [
        {
            "label": one.label,
            "status": one.status,
            "confidence": round(one.confidence, 4),
            "implied": one.implied,
            "known": one.is_known,
            "sources": [
                {"kind": source.kind, "text": source.text, "confidence": round(source.confidence, 4)}
                for source in one.sources
            ],
        }
        for one in suggestions
    ]


def read_suggestions(document: object) -> tuple[Suggestion, ...]:
    """The suggestions of a JSON list; it may have been through many hands.

    Raises:
        InvalidInput: If it is damaged; the message names the entry.
    """
    if not isinstance(document, list) or len(document) > _MOST:
        raise InvalidInput(f"suggestions are a list of at most {_MOST} entries")
    return tuple(_suggestion(entry, f"suggestion {number}") for number, entry in enumerate(document, start=1))


def _suggestion(entry: object, where: str) -> Suggestion:
    data = _object(entry, where)
    sources = data.get("sources")
    if not isinstance(sources, list) or len(sources) > _MOST:
        raise InvalidInput(f"{where}: sources are a list of at most {_MOST} entries")
    return Suggestion(
        _text(data, "label", where),
        _choice(data, "status", get_args(Status), where),
        _share(data, where),
        tuple(_source(source, where) for source in sources),
        implied=data.get("implied") is True,
        is_known=data.get("known") is True,
    )


def _source(entry: object, where: str) -> Source:
    data = _object(entry, where)
    return Source(_choice(data, "kind", get_args(SourceKind), where), _text(data, "text", where), _share(data, where))


def _object(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{where}: it and its sources are JSON objects")
    return value


def _text(data: Mapping[str, Any], key: str, where: str) -> str:
    value = data.get(key)
    if not isinstance(value, str) or len(value) > _LONGEST:
        raise InvalidInput(f"{where}: {key} is a text of at most {_LONGEST} characters")
    return value


def _choice(data: Mapping[str, Any], key: str, values: tuple[Any, ...], where: str) -> Any:
    value = data.get(key)
    if value not in values:
        raise InvalidInput(f"{where}: {key} is one of {', '.join(values)}")
    return value


def _share(data: Mapping[str, Any], where: str) -> float:
    value = data.get("confidence")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidInput(f"{where}: confidence is a number between 0 and 1")
    return float(value)
