"""Asking a language model until its answer is valid: the one place of tries, temperatures, deadlines and charges."""

from __future__ import annotations

import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from maskwright.errors import ModelUnavailable
from maskwright.models.language.budget import FREE, Budget, Price, Usage, estimate_usage
from maskwright.models.language.schema import InvalidAnswer, read_answer
from maskwright.models.protocols import Message
from maskwright.store.connection import Deadline

_log = logging.getLogger(__name__)
TEMPERATURES = (0.0, 0.1, 0.2)
"""Of the first try and the next ones (Huang et al., BMVC 2024)."""
_MOST_REPEATED = 2000


@dataclass(frozen=True)
class Completion:
    """What a model wrote to one request.

    Attributes:
        text: The answer.
        usage: Its tokens.
        is_cut_off: Whether it ended at the most tokens allowed.
    """

    text: str
    usage: Usage
    is_cut_off: bool = False


class AskingModel(ABC):
    """A language model that answers in JSON, made of one that completes conversations.

    Args:
        name: Readable.
        version: Name + short hash of everything that changes its answers.
        seconds: Longest time for one answer with all its tries.
        price: What its tokens cost.
        budget: Checked and charged whoever asks.
    """

    def __init__(
        self, name: str, version: str, seconds: float, *, price: Price = FREE, budget: Budget | None = None
    ) -> None:
        self.name, self.version = name, version
        self._seconds, self._price = seconds, price
        self._own = () if budget is None else (budget,)

    @abstractmethod
    def _complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], temperature: float, deadline: Deadline
    ) -> Completion:
        """One request.

        Raises:
            InvalidAnswer: If asking again may help.
            ModelUnavailable: If it will not.
            TimeoutError: If the deadline passes.
        """

    def answer(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> dict[str, Any]:
        """An object valid under ``schema``.

        Raises:
            ModelUnavailable: If there is none within the time and the tries; the message says why.
        """
        return self.ask(messages, schema)

    def ask(
        self, messages: Sequence[Message], schema: Mapping[str, Any], budgets: Sequence[Budget] = ()
    ) -> dict[str, Any]:
        """As ``answer``; every budget is checked before, and charged after, each request.

        Raises:
            ModelUnavailable: If there is no valid answer within the time and the tries, or a budget is spent.
        """
        budgets = (*self._own, *budgets)
        for budget in budgets:
            budget.check()
        seconds = min([self._seconds, *(budget.seconds_left for budget in budgets)])
        deadline = Deadline(seconds)
        conversation, fault = tuple(messages), ""
        for attempt, temperature in enumerate(TEMPERATURES, start=1):
            for budget in budgets:
                budget.check()
            text = ""
            try:
                completion = self._charged(conversation, schema, temperature, deadline, budgets)
                text = completion.text
                return _read(completion, schema)
            except InvalidAnswer as error:
                fault = str(error)
                _log.warning("language model %s, try %d: %s", self.name, attempt, fault)
                conversation = (*messages, *_shown(text, fault)) if text else tuple(messages)
            except TimeoutError:
                why = f"; before that, {fault}" if fault else ""
                raise ModelUnavailable(
                    f"language model {self.name} did not answer within {seconds:.3g} s{why}"
                ) from None
        raise ModelUnavailable(
            f"language model {self.name} gave no usable answer in {len(TEMPERATURES)} tries: {fault}"
        )

    def _charged(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any],
        temperature: float,
        deadline: Deadline,
        budgets: Sequence[Budget],
    ) -> Completion:
        started, usage = time.monotonic(), Usage()
        try:
            completion = self._complete(messages, schema, temperature, deadline)
            usage = completion.usage
            return completion
        except (InvalidAnswer, TimeoutError):
            usage = estimate_usage(messages, "")  # it was read, as far as is known, and what is read is paid for
            raise
        finally:
            for budget in budgets:
                budget.charge(usage, time.monotonic() - started, self._price)


def with_schema_told(messages: Sequence[Message], schema: Mapping[str, Any]) -> list[Message]:
    """The conversation with the form of the answer in its system message, for models that cannot be forced to it."""
    told = f"Answer with one JSON object and nothing else. It follows this JSON Schema: {json.dumps(schema)}"
    if messages and messages[0].role == "system":
        return [replace(messages[0], content=f"{messages[0].content}\n\n{told}"), *messages[1:]]
    return [Message("system", told), *messages]


def _read(completion: Completion, schema: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return read_answer(completion.text, schema)
    except InvalidAnswer:
        if completion.is_cut_off:
            raise InvalidAnswer("the answer was cut off at the most tokens allowed; answer more briefly") from None
        raise


def _shown(text: str, fault: str) -> tuple[Message, Message]:
    """The answer that could not be used, and why."""
    return (
        Message("assistant", text[:_MOST_REPEATED]),
        Message("user", f"That answer cannot be used: {fault}. Answer again, with one valid JSON object only."),
    )
