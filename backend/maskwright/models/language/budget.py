"""What asking may cost: seconds, tokens and money, for an image, a project or anything else that is counted."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from maskwright.errors import ModelUnavailable
from maskwright.models.protocols import LanguageModel, Message

_BYTES_PER_TOKEN = 4
_TOKENS_PER_IMAGE = 1000


@dataclass(frozen=True)
class Usage:
    """Tokens of one request."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True)
class Price:
    """Money per million tokens, in any one currency."""

    prompt: float = 0.0
    completion: float = 0.0

    def of(self, usage: Usage) -> float:
        """What a request costs."""
        return (self.prompt * usage.prompt_tokens + self.completion * usage.completion_tokens) / 1e6


FREE = Price()
"""Of models on this machine, and of servers whose tokens cost nothing."""


@dataclass(frozen=True)
class Spent:
    """What was used up so far: seconds of waiting, tokens both ways, money, requests; and questions in vain."""

    seconds: float = 0.0
    tokens: int = 0
    money: float = 0.0
    requests: int = 0
    unanswered: int = 0


def estimate_usage(messages: Sequence[Message], answer: str) -> Usage:
    """Tokens of a request whose server does not tell: a token per 4 bytes of text, 1,000 per picture."""
    prompt = sum(_tokens(message.content) + _TOKENS_PER_IMAGE * len(message.images) for message in messages)
    return Usage(prompt, _tokens(answer))


class Budget:
    """Bounds of what may be spent. Safe under threads; requests already in flight when a bound is met are finished.

    Args:
        of: Whose budget, for messages: ``image 12`` or ``project 3``.
        seconds: Most seconds of waiting for answers, or None.
        tokens: Most tokens, both ways, or None.
        money: Most money, or None.
    """

    def __init__(
        self,
        of: str,
        *,
        seconds: float | None = None,
        tokens: int | None = None,
        money: float | None = None,
    ) -> None:
        self._of = of
        self._seconds, self._tokens, self._money = seconds, tokens, money
        self._spent = Spent()
        self._lock = threading.Lock()

    @property
    def spent(self) -> Spent:
        """What was used up so far."""
        with self._lock:
            return self._spent

    @property
    def seconds_left(self) -> float:
        """Seconds that may still be spent; infinite without a bound."""
        return math.inf if self._seconds is None else max(self._seconds - self.spent.seconds, 0.0)

    def check(self) -> None:
        """Pass while something of everything is left.

        Raises:
            ModelUnavailable: Naming whose budget is spent, and the figures.
        """
        spent = self.spent
        bounds = (
            (spent.seconds, self._seconds, "{:.1f} of {:g} seconds"),
            (spent.tokens, self._tokens, "{:,} of {:,} tokens"),
            (spent.money, self._money, "{:.4f} of {:g} in money"),
        )
        for used, bound, figures in bounds:
            if bound is not None and used >= bound:
                raise ModelUnavailable(
                    f"the language model is not asked: the budget of {self._of} is spent, {figures.format(used, bound)}"
                )

    def charge(self, usage: Usage, seconds: float, price: Price = FREE) -> None:
        """Count one request of a model at its price."""
        with self._lock:
            spent = self._spent
            self._spent = replace(
                spent,
                seconds=spent.seconds + seconds,
                tokens=spent.tokens + usage.prompt_tokens + usage.completion_tokens,
                money=spent.money + price.of(usage),
                requests=spent.requests + 1,
            )

    def count_unanswered(self) -> None:
        """Count a question to which there is no answer."""
        with self._lock:
            self._spent = replace(self._spent, unanswered=self._spent.unanswered + 1)


@runtime_checkable
class Metered(Protocol):
    """A language model that charges budgets for what it uses."""

    def ask(
        self, messages: Sequence[Message], schema: Mapping[str, Any], budgets: Sequence[Budget] = ()
    ) -> dict[str, Any]:
        """As ``LanguageModel.answer``; every budget is checked before, and charged after, each request."""
        ...


class BudgetedModel:
    """A language model that is asked only while every one of some budgets lasts.

    Args:
        model: Asked; one that is not ``Metered`` uses seconds alone.
        budgets: Checked and charged; they count the questions that stay without an answer.

    Attributes:
        keeps_answers: Whether the model keeps its answers itself; see ``answers_cache.KeepsAnswers``.
    """

    def __init__(self, model: LanguageModel, *budgets: Budget) -> None:
        self.name, self.version = model.name, model.version
        self._model, self._budgets = model, budgets
        self.keeps_answers = bool(getattr(model, "keeps_answers", False))

    def answer(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> dict[str, Any]:
        """An object valid under ``schema``.

        Raises:
            ModelUnavailable: If a budget is spent, or the model gives no answer.
        """
        try:
            return self._answer(messages, schema)
        except ModelUnavailable:
            for budget in self._budgets:
                budget.count_unanswered()
            raise

    def _answer(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> dict[str, Any]:
        if isinstance(self._model, Metered):
            return self._model.ask(messages, schema, self._budgets)
        for budget in self._budgets:
            budget.check()
        started = time.monotonic()
        try:
            return self._model.answer(messages, schema)
        finally:
            for budget in self._budgets:
                budget.charge(Usage(), time.monotonic() - started)


def _tokens(text: str) -> int:
    return math.ceil(len(text.encode("utf-8", "replace")) / _BYTES_PER_TOKEN)
