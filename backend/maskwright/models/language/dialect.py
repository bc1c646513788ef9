"""What servers of the OpenAI protocol differ in: how an answer's form is asked for, and names of parameters."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from maskwright.models.language.asking import with_schema_told
from maskwright.models.protocols import Message

_PNG = b"\x89PNG"
Form = Literal["json_schema", "json_object", "plain"]
_WEAKER: Mapping[Form, Form | None] = {"json_schema": "json_object", "json_object": "plain", "plain": None}


@dataclass(frozen=True)
class Dialect:
    """What a server takes.

    Attributes:
        form: The strictest way to ask for the form of an answer that it was not seen to refuse.
        tokens_field: Its name for the most tokens of an answer.
        takes_temperature: Whether it lets the temperature be set.
    """

    form: Form = "json_schema"
    tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    takes_temperature: bool = True

    def simpler(self, refusal: str) -> Dialect | None:
        """What to try after a request was refused with these words; None if nothing is left."""
        if self.tokens_field == "max_tokens" and "max_completion_tokens" in refusal:
            return replace(self, tokens_field="max_completion_tokens")
        if self.takes_temperature and "temperature" in refusal:
            return replace(self, takes_temperature=False)
        weaker = _WEAKER[self.form]
        return replace(self, form=weaker) if weaker else None

    def payload(
        self, model: str, messages: Sequence[Message], schema: Mapping[str, Any], temperature: float, max_tokens: int
    ) -> dict[str, Any]:
        """The body of a request for a chat completion."""
        turns = messages if self.form == "json_schema" else with_schema_told(messages, schema)
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": turn.role, "content": _content(turn)} for turn in turns],
            "stream": False,
            self.tokens_field: max_tokens,
        }
        if self.takes_temperature:
            body["temperature"] = temperature
        if self.form == "json_schema":
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": schema},
            }
        elif self.form == "json_object":
            body["response_format"] = {"type": "json_object"}
        return body


def _content(message: Message) -> str | list[dict[str, Any]]:
    if not message.images:
        return message.content
    pictures = [{"type": "image_url", "image_url": {"url": _data_url(image)}} for image in message.images]
    return [*pictures, {"type": "text", "text": message.content}]


def _data_url(image: bytes) -> str:
    kind = "png" if image.startswith(_PNG) else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
