"""Language models behind a server of the OpenAI protocol: vLLM, Ollama, llama.cpp and hosted ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeGuard

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.language.asking import AskingModel, Completion
from maskwright.models.language.budget import FREE, Budget, Price, Usage, estimate_usage
from maskwright.models.language.daily_money import DailyMoney
from maskwright.models.language.dialect import Dialect, Form
from maskwright.models.language.exchange import Reply, post_patiently, quoted, words_of
from maskwright.models.language.schema import InvalidAnswer
from maskwright.models.protocols import Message
from maskwright.models.uri import ModelURI
from maskwright.settings import Settings
from maskwright.store.connection import Deadline
from maskwright.store.remote import parse_url

if TYPE_CHECKING:
    from maskwright.models.stages import StageDescription

_REFUSED_FORM = frozenset({400, 404, 415, 422, 501})
_SCHEMAS_REFUSED = 2
"""Different schemas that a server refuses before it is taken to know none; each costs a refusal."""
_SCHEMAS_KEPT = 256
"""Of how many schemas it is remembered that they were refused."""
_LARGEST_PORT = 65535
_MOST_TOKENS = 2**31
"""Of one request; a larger figure is a server's mistake."""


class OpenAIServer(AskingModel):
    """A model of a server. Keeps no connection open, so that threads share it freely.

    Args:
        name: Readable.
        version: Name + short hash of everything that changes its answers.
        model: As the server calls it.
        server: Base URL, such as ``https://host/v1``.
        api_key: Sent as bearer token; empty = none.
        seconds: Longest time for one answer, with all its tries, even if the server hangs or sends byte after byte.
        max_tokens: Most tokens of an answer.
        price: What its tokens cost.
        budget: Checked and charged whoever asks.

    Raises:
        InvalidInput: If the address is malformed, or the key cannot be one.
    """

    def __init__(
        self,
        name: str,
        version: str,
        model: str,
        server: str,
        *,
        api_key: str = "",
        seconds: float = 30.0,
        max_tokens: int = 1024,
        price: Price = FREE,
        budget: Budget | None = None,
    ) -> None:
        super().__init__(name, version, seconds, price=price, budget=budget)
        if (parse_url(server).port or 0) > _LARGEST_PORT:
            raise InvalidInput(f"the address of the language model's server names no port: {server}")
        if not (api_key.isascii() and api_key.isprintable()):
            raise InvalidInput("the API key of language models holds a character that no key has; copy it again")
        self._model, self._server, self._max_tokens = model, server, max_tokens
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._dialect = Dialect()
        self._takes_schemas = False
        self._refused: dict[str, Form] = {}
        """In which form schemas were taken that were refused as such."""

    def _complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], temperature: float, deadline: Deadline
    ) -> Completion:
        key = hashlib.blake2b(json.dumps(schema, sort_keys=True).encode(), digest_size=16).hexdigest()
        dialect = replace(self._dialect, form=self._form(key))
        while True:
            payload = dialect.payload(self._model, messages, schema, temperature, self._max_tokens)
            try:
                reply = post_patiently(f"{self._server}/chat/completions", payload, self._headers, deadline)
            except ModelUnavailable as error:
                raise ModelUnavailable(f"language model {self.name}: {self._server}: {error}") from error
            if reply.status == 200:
                self._dialect = dialect
                if dialect.form == "json_schema":
                    self._takes_schemas = True
                elif len(self._refused) < _SCHEMAS_KEPT:
                    self._refused[key] = dialect.form
                return _completion(reply, messages)
            words = words_of(reply)
            simpler = dialect.simpler(words) if reply.status in _REFUSED_FORM else None
            if simpler is None:
                refusal = _refusal(reply.status, words, has_key=bool(self._headers))
                raise ModelUnavailable(f"language model {self.name}: {self._server} {refusal}")
            dialect = simpler

    def _form(self, key: str) -> Form:
        """How to ask for an answer under a schema: one odd schema does not speak against all others."""
        if key in self._refused:
            return self._refused[key]
        is_refusing = not self._takes_schemas and len(self._refused) >= _SCHEMAS_REFUSED
        return self._dialect.form if is_refusing else "json_schema"


def connect(uri: ModelURI, description: StageDescription, settings: Settings) -> OpenAIServer:
    """The model that a URI names; it is connected to when asked.

    The API key goes to the server that the operator set for it and to no other, and so do prices: a server that takes
    no key takes no money.
    """
    holds_key = uri.server == settings.language_server.rstrip("/")
    price = Price(settings.language_price_prompt, settings.language_price_completion) if holds_key else FREE
    return OpenAIServer(
        description.name,
        description.version,
        uri.location,
        uri.server,
        api_key=settings.language_api_key.get_secret_value() if holds_key else "",
        seconds=settings.language_timeout_s,
        max_tokens=settings.language_max_tokens,
        price=price,
        budget=None if price == FREE else DailyMoney(settings.home, settings.language_money or None),
    )


def _completion(reply: Reply, messages: Sequence[Message]) -> Completion:
    try:
        document = json.loads(reply.body)
        choice = document["choices"][0]
        message = choice["message"]
        text, refusal = message.get("content"), message.get("refusal")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise InvalidAnswer("the server's reply is not a chat completion") from None
    if isinstance(refusal, str) and refusal and not text:
        raise InvalidAnswer(f"the model refuses: {quoted(refusal)}")
    if not isinstance(text, str):
        text = ""
    return Completion(text, _usage(document, messages, text), choice.get("finish_reason") == "length")


def _usage(document: Mapping[str, Any], messages: Sequence[Message], text: str) -> Usage:
    told = document.get("usage")
    if isinstance(told, dict):
        prompt, completion = told.get("prompt_tokens"), told.get("completion_tokens")
        if _is_count(prompt) and _is_count(completion):
            return Usage(prompt, completion)
    return estimate_usage(messages, text)


def _is_count(told: object) -> TypeGuard[int]:
    return type(told) is int and 0 <= told <= _MOST_TOKENS


def _refusal(status: int, words: str, *, has_key: bool) -> str:
    if status in (401, 403) and has_key:
        return f"refuses access (HTTP {status}); check MASKWRIGHT_LANGUAGE_API_KEY"
    if status in (401, 403):
        return (
            f"refuses access (HTTP {status}) and was sent no API key: set MASKWRIGHT_LANGUAGE_API_KEY, and "
            "MASKWRIGHT_LANGUAGE_SERVER to this address, since no other server is sent the key"
        )
    if 300 <= status < 400:
        return f"redirects (HTTP {status}); name the address it redirects to"
    return f"refuses the request (HTTP {status}){': ' + words if words else ''}"
