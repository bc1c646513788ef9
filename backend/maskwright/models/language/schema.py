"""What a language model wrote, as the JSON object that was asked for: found in its prose, checked, faults in words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from jsonschema.exceptions import ValidationError, best_match  # type: ignore[import-untyped]

MOST_CHARACTERS = 256 * 1024
"""Longer answers are refused unread."""
_MOST_OBJECTS = 64
_MOST_SHOWN = 200
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)


class InvalidAnswer(Exception):
    """The answer cannot be used; the message is one sentence that the model may be shown."""


def find_fault(value: object, schema: Mapping[str, Any]) -> str | None:
    """What is wrong with a value under a JSON Schema (draft 2020-12): one sentence with its path; None if nothing."""
    try:
        error = best_match(Draft202012Validator(schema).iter_errors(value))
    except RecursionError:
        return "the answer is nested too deeply"
    return None if error is None else _sentence(error)


def read_answer(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The first JSON object in a text that is valid under a schema, whatever stands around it.

    Prose, code fences and thoughts between ``<think>`` tags are passed over.

    Raises:
        InvalidAnswer: If there is none; the message says what is wrong with the last object that is there.
    """
    if len(text) > MOST_CHARACTERS:
        raise InvalidAnswer(f"the answer is longer than {MOST_CHARACTERS} characters")
    fault: str | None = None
    for value in _objects(_without_thoughts(text)):
        fault = find_fault(value, schema)
        if fault is None:
            return value
    raise InvalidAnswer(fault or "the answer holds no JSON object")


def _without_thoughts(text: str) -> str:
    """A text without its thoughts, in time that grows with its length: each mark that is searched has its end."""
    before, end, after = text.rpartition("</think>")
    return _THOUGHT.sub("", before + end) + after


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The outermost JSON objects of a text, from left to right."""
    decoder = json.JSONDecoder(parse_constant=_refuse)
    place = -1
    for _ in range(_MOST_OBJECTS):
        place = text.find("{", place + 1)
        if place < 0:
            return
        try:
            value, end = decoder.raw_decode(text, place)
            # Refuses what no file can hold: half a surrogate pair, and numbers beyond the largest.
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, RecursionError):
            continue
        yield value
        place = end - 1


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _sentence(error: ValidationError) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    if error.validator == "enum":
        message = f"{json.dumps(error.instance, ensure_ascii=False)[:_MOST_SHOWN]} is not one of the values allowed"
    else:
        message = error.message if len(error.message) <= _MOST_SHOWN else f"{error.message[:_MOST_SHOWN]}..."
    return f"at {path}: {message}" if path else message
