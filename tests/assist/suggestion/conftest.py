"""A language model that says what a test wants it to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from maskwright.models.language.prompt_sets import read_data


class Scripted:
    """Answers every question alike, or as a function of what the question says about the picture.

    Errors among the answers are raised. ``asked`` holds what each question said about the picture.
    """

    name = "scripted"

    def __init__(self, answer: Any) -> None:
        self.version = "scripted-1"
        self._answer = answer
        self.asked: list[dict[str, Any]] = []

    def answer(self, messages: Any, schema: Any) -> Any:
        data = read_data(messages)
        self.asked.append(data)
        answer = self._answer(data) if callable(self._answer) else self._answer
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def scripted() -> Callable[[Any], Scripted]:
    return Scripted
