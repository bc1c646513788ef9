"""What language models are asked: templates and domains that travel with the package, with a project's own words.

What was read off a picture (tags, captions, phrases) is written as JSON between named marks into messages of the user
and never into the system's, without any ``<``: whatever a picture says, it can neither close the marks nor write the
control words of a chat format.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from maskwright.errors import InvalidInput
from maskwright.models.protocols import Message

PROMPTS = Path(__file__).parent / "prompts"
_DOMAINS = "domains"
_PLACEHOLDER = re.compile(r"\{([a-z]+)\}")
_READ_OFF = frozenset({"tags", "caption", "phrase"})
_OWN = frozenset({"labels", "domain", "label", "siblings"})
_PARTS = ("system", "user")
_MOST_CHARACTERS = 20_000
_DATA = re.compile(r"<(tags|caption|phrase)>([^<]*)</\1>")


@dataclass(frozen=True)
class Template:
    """One question.

    Attributes:
        name: As its file.
        system: What the model is told to do; may hold ``{labels}``, ``{domain}``, ``{label}``, ``{siblings}``.
        user: What it is given; may also hold ``{tags}``, ``{caption}``, ``{phrase}``.
        schema: JSON Schema of the answer; ``"{labels}"`` in place of an enum's list stands for the labels.
    """

    name: str
    system: str
    user: str
    schema: Mapping[str, Any]

    @property
    def placeholders(self) -> frozenset[str]:
        """What the two parts take in."""
        return frozenset(_PLACEHOLDER.findall(f"{self.system}\n{self.user}"))


@dataclass(frozen=True)
class Question:
    """A question ready to be asked.

    Attributes:
        messages: The system's and the user's.
        schema: JSON Schema of the answer.
        version: Changes with the template, the domain and the project's own words, not with what was filled in.
    """

    messages: tuple[Message, ...]
    schema: Mapping[str, Any]
    version: str


@cache
def templates() -> Mapping[str, Template]:
    """Every template of the package by name."""
    found = {}
    for path in sorted(PROMPTS.glob("*.json")):
        if path.stem != _DOMAINS:
            document = json.loads(path.read_text("utf-8"))
            system, user = ("\n".join(document[part]) for part in _PARTS)
            found[path.stem] = Template(path.stem, system, user, document["schema"])
    return MappingProxyType(found)


@cache
def domains() -> Mapping[str, str]:
    """What a model is told about the pictures of each domain, by the domain's name."""
    document = json.loads((PROMPTS / f"{_DOMAINS}.json").read_text("utf-8"))
    return MappingProxyType({name: " ".join([entry["setting"], *entry["hints"]]) for name, entry in document.items()})


class PromptSet:
    """The questions of a project.

    Args:
        domain: One of ``domains()``.
        overrides: The project's own words: ``{"pre-refinement": {"system": "...", "user": "..."}}``, either part may be
            missing, and ``{"domain": "..."}`` for what is told about its pictures in place of the domain's text.

    Raises:
        InvalidInput: If the domain is unknown or an override cannot be used; the message names the place.
    """

    def __init__(self, domain: str = "general", overrides: Mapping[str, Any] | None = None) -> None:
        if domain not in domains():
            raise InvalidInput(f"unknown domain {domain!r} of prompts; known: {', '.join(domains())}")
        self.domain = domain
        own = dict(overrides or {})
        told = own.pop("domain", domains()[domain])
        self._told = _checked_text(told, "prompts: domain", _NOTHING)
        self._templates = dict(templates())
        for name, parts in own.items():
            self._templates[name] = _overridden(name, parts)

    @property
    def version(self) -> str:
        """``prompts-`` + 8 hex digits of everything that the questions say."""
        return f"prompts-{_digest([self._told, *(_content(one) for one in self._templates.values())])}"

    def template(self, name: str) -> Template:
        """The project's template of a name.

        Raises:
            InvalidInput: If there is none.
        """
        if name not in self._templates:
            raise InvalidInput(f"no prompt {name!r}; there are {', '.join(self._templates)}")
        return self._templates[name]

    def question(
        self,
        name: str,
        *,
        labels: Sequence[str] = (),
        tags: Sequence[str] = (),
        caption: str = "",
        phrase: str = "",
        label: str = "",
        siblings: Sequence[str] = (),
        images: Sequence[bytes] = (),
    ) -> Question:
        """Fill a template in.

        Args:
            name: Of the template.
            labels: The project's classes.
            tags: Words read off the picture, or off many (then ``"dog (12 pictures)"``).
            caption: Sentence read off the picture.
            phrase: A detector's word for an object.
            label: The class asked about.
            siblings: Classes easily taken for it.
            images: Encoded JPEG or PNG pictures that go with the user's message.

        Raises:
            InvalidInput: If there is no such template, or its answer is one of the labels and there are none.
        """
        template = self.template(name)
        values = {
            "domain": self._told,
            "labels": _json(list(labels)),
            "label": _json(label),
            "siblings": _json(list(siblings)),
            **{kind: f"<{kind}>{_json(data)}</{kind}>" for kind, data in _data(tags, caption, phrase).items()},
        }
        system, user = (
            _PLACEHOLDER.sub(lambda found: values[found[1]], part) for part in (template.system, template.user)
        )
        messages = Message("system", system), Message("user", user, tuple(images))
        schema = _filled(template.schema, list(dict.fromkeys(labels)), name)
        return Question(messages, schema, f"{name}-{_digest([self._told, _content(template)])}")


def read_data(messages: Sequence[Message]) -> dict[str, Any]:
    """What a question says about the picture: ``tags``, ``caption`` and ``phrase``, those that it holds."""
    found: dict[str, Any] = {}
    for message in messages:
        if message.role == "user":
            for kind, text in _DATA.findall(message.content):
                try:
                    found.setdefault(kind, json.loads(text))
                except ValueError:
                    continue
    return found


_NOTHING: frozenset[str] = frozenset()


def _data(tags: Sequence[str], caption: str, phrase: str) -> dict[str, Any]:
    return {"tags": list(tags), "caption": caption, "phrase": phrase}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c").encode("utf-8", "replace").decode()


def _filled(part: Any, labels: list[str], name: str) -> Any:
    """A copy of a schema with the labels in their places, and null beside them where the type allows it."""
    if isinstance(part, Mapping):
        filled = {key: _filled(value, labels, name) for key, value in part.items()}
        if part.get("enum") == "{labels}":
            if not labels:
                raise InvalidInput(f"prompt {name!r} asks for classes of a label set, and there are none")
            filled["enum"] = [*labels, None] if "null" in part.get("type", ()) else labels
        return filled
    return [_filled(item, labels, name) for item in part] if isinstance(part, list) else part


def _overridden(name: str, parts: object) -> Template:
    if name not in templates():
        raise InvalidInput(f"prompts: unknown prompt {name!r}; there are {', '.join(templates())}, and 'domain'")
    if not isinstance(parts, Mapping) or not parts or not set(parts) <= set(_PARTS):
        raise InvalidInput(f"prompts: {name}: write an object with 'system', 'user' or both, each a text")
    base = templates()[name]
    system = _checked_text(parts.get("system", base.system), f"prompts: {name}.system", _OWN)
    user = _checked_text(parts.get("user", base.user), f"prompts: {name}.user", _OWN | _READ_OFF)
    made = Template(name, system, user, base.schema)
    lost = (base.placeholders - made.placeholders) - {"domain", "siblings"}
    if lost:
        raise InvalidInput(f"prompts: {name}: it lacks {', '.join(f'{{{one}}}' for one in sorted(lost))}")
    return made


def _checked_text(value: object, where: str, allowed: frozenset[str]) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput(f"{where}: write a text")
    if len(value) > _MOST_CHARACTERS:
        raise InvalidInput(f"{where}: {len(value)} characters; at most {_MOST_CHARACTERS} are allowed")
    for found in _PLACEHOLDER.findall(value):
        if found in _READ_OFF and found not in allowed:
            raise InvalidInput(f"{where}: {{{found}}} was read off the picture and may stand in 'user' only")
        if found not in allowed:
            known = ", ".join(f"{{{one}}}" for one in sorted(allowed)) or "none"
            raise InvalidInput(f"{where}: unknown placeholder {{{found}}}; allowed: {known}")
    return value


def _content(template: Template) -> list[Any]:
    return [template.name, template.system, template.user, template.schema]


def _digest(content: list[Any]) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=4).hexdigest()
