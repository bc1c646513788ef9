"""Names of models: ``scheme``, ``scheme:location``, ``scheme:location@revision``, ``openai:model@https://server/v1``.

What was learnt on top of a segmenter follows: ``+adapter:<id>`` (masks), ``+classes:<id>`` (classes of regions), or
both in this order. Every stage of the assistant names its model so; ``ROLES`` says which schemes can play which part.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from maskwright.errors import InvalidInput

LocationKind = Literal["none", "packaged", "hub", "file", "server"]
Role = Literal["segmenter", "tagger", "captioner", "language", "detector", "dense"]
"""What a model is asked for; protocols of the same names are in ``maskwright.models.protocols``."""

SCHEMES: Mapping[str, LocationKind] = MappingProxyType(
    {
        "embedded": "packaged",
        "embedded-no-nuclei": "packaged",
        "classical": "none",
        "sam": "hub",
        "sam-hq": "hub",
        "sam2": "hub",
        "sam3": "hub",
        "segment-anything": "file",
        "segment-anything-package": "file",
        "none": "none",
        "clip": "hub",
        "siglip": "hub",
        "florence2": "hub",
        "blip": "hub",
        "blip2": "hub",
        "ram": "file",
        "sentence-matcher": "none",
        "hf": "hub",
        "openai": "server",
        "grounding-dino": "hub",
        "owlv2": "hub",
        "omdet-turbo": "hub",
        "maskclip": "hub",
        "gem": "hub",
        "sclip": "hub",
        "naclip": "hub",
        "clearclip": "hub",
        "clipseg": "hub",
        "dino": "hub",
        "dinov2": "hub",
        "dinov3": "hub",
        "diffusion": "hub",
    }
)
"""Every scheme with what follows its colon: nothing, maybe a file of own weights, a hub id or folder, a checkpoint, or
a model of a server and the server's address."""

ROLES: Mapping[Role, tuple[str, ...]] = MappingProxyType(
    {
        "segmenter": (
            "embedded", "embedded-no-nuclei", "classical", "sam", "sam-hq", "sam2", "sam3", "segment-anything",
            "segment-anything-package",
        ),
        "tagger": ("embedded", "clip", "siglip", "florence2", "ram", "hf", "openai"),
        "captioner": ("none", "blip", "blip2", "florence2", "hf", "openai"),
        "language": ("none", "sentence-matcher", "hf", "openai"),
        "detector": ("embedded", "grounding-dino", "owlv2", "omdet-turbo", "sam3"),
        "dense": (
            "none", "maskclip", "gem", "sclip", "naclip", "clearclip", "siglip", "clipseg", "dino", "dinov2", "dinov3",
            "diffusion",
        ),
    }
)  # fmt: skip
"""Schemes that can play each part, the default first."""

_FORMS: Mapping[LocationKind, str] = MappingProxyType(
    {
        "none": "",
        "packaged": "[:/path/to/weights.safetensors]",
        "hub": ":<hub id or folder>[@revision]",
        "file": ":/path/to/checkpoint.pth",
        "server": ":<model>@https://<server>/v1",
    }
)
_ADAPTER_MARK, _CLASSES_MARK = "+adapter:", "+classes:"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
_REVISION = re.compile(r"[\w.-][\w./-]*", re.ASCII)
_ADAPTER_ID = re.compile(r"[\w.-]+", re.ASCII)
_SERVER = re.compile(r"s?://[\w.\[\]:-]+(/[\w./~-]*)?", re.ASCII)
"""Of a base URL what comes after ``http``; credentials and queries have no place in a name that is logged."""
_CLASSES_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class ModelURI:
    """A parsed model URI; ``str()`` gives back its canonical text.

    Attributes:
        scheme: One of ``SCHEMES``.
        location: Hub id, folder or file; empty for the engines that need none.
        revision: Branch, tag or commit on the hub, or None for ``main``.
        server: Base URL of the server that runs it, or empty.
        adapter: Identifier of a trained adapter on top of the base model, or None.
        classes: Identifier of a learnt class head beside it, or None; see ``maskwright.models.class_heads``.
    """

    scheme: str
    location: str = ""
    revision: str | None = None
    adapter: str | None = None
    classes: str | None = None
    server: str = ""

    @property
    def kind(self) -> LocationKind:
        """What the location is."""
        return SCHEMES[self.scheme]

    @property
    def is_hub_id(self) -> bool:
        """Whether the location has the form of a hub id (``owner/name``) rather than that of a path."""
        return self.kind == "hub" and not is_path(self.location) and bool(_HUB_ID.fullmatch(self.location))

    def __str__(self) -> str:
        text = f"{self.scheme}:{self.location}" if self.location else self.scheme
        text += f"@{self.revision or self.server}" if self.revision or self.server else ""
        text += f"{_ADAPTER_MARK}{self.adapter}" if self.adapter else ""
        return text + (f"{_CLASSES_MARK}{self.classes}" if self.classes else "")


def is_path(location: str) -> bool:
    """Whether a location is written as a path: absolute, relative with a leading dot, or below the home folder."""
    return location.startswith(("/", "./", "../", "~")) or location in (".", "..")


def known_form(scheme: str, role: Role = "segmenter") -> str:
    """How the models of a scheme are named for a part."""
    kind = SCHEMES[scheme]
    return scheme if kind == "packaged" and role != "segmenter" else f"{scheme}{_FORMS[kind]}"


def known_forms(role: Role = "segmenter") -> str:
    """The forms of every scheme that can play a part, for error messages and help texts."""
    return ", ".join(known_form(scheme, role) for scheme in ROLES[role])


def parse_model_uri(text: str, role: Role = "segmenter") -> ModelURI:
    """Parse a model URI.

    A location that is written as a path never carries a revision: an ``@`` in it belongs to the path.

    Raises:
        InvalidInput: If the scheme cannot play the part, or its location, revision, server, adapter or classes are
            missing or malformed.
    """
    base, mark, classes = text.strip().partition(_CLASSES_MARK)
    if mark and not _CLASSES_ID.fullmatch(classes):
        raise InvalidInput(f"model {text!r}: after '+classes:', which comes last, come 32 hex digits")
    base, mark, adapter = base.partition(_ADAPTER_MARK)
    if mark and not _ADAPTER_ID.fullmatch(adapter):
        raise InvalidInput(f"model {text!r}: after '+adapter:' comes an identifier of letters, digits, '.', '_' or '-'")
    scheme, colon, location = base.partition(":")
    if scheme not in ROLES[role]:
        what = "model" if role == "segmenter" else role
        raise InvalidInput(f"unknown {what} {text!r}; known forms: {known_forms(role)}")
    if role != "segmenter" and (adapter or classes):
        raise InvalidInput(f"{role} {text!r}: only segmenters take '+adapter:' and '+classes:'")
    kind = SCHEMES[scheme]
    if kind == "none":
        if colon:
            raise InvalidInput(f"model {text!r}: '{scheme}' takes nothing after it; write just '{scheme}'")
        return ModelURI(scheme, adapter=adapter or None, classes=classes or None)
    if kind == "packaged" and not colon:
        return ModelURI(scheme, adapter=adapter or None, classes=classes or None)
    if not location or "\0" in location:
        raise InvalidInput(f"model {text!r}: write {scheme}{_FORMS[kind]}")
    if kind == "server":
        model, _, server = location.rpartition("@http")
        if model and "@" in server:  # not repeated: what stands before it may be a password
            raise InvalidInput(
                f"model {scheme}:{model}: its server's address holds a user or a password, and names of models are "
                "logged; give the key by MASKWRIGHT_LANGUAGE_API_KEY"
            )
        if not model or not _SERVER.fullmatch(server):
            raise InvalidInput(f"model {text!r}: write {scheme}{_FORMS[kind]}")
        return ModelURI(scheme, model, server="http" + server.rstrip("/"))
    revision: str | None = None
    if kind == "hub" and not is_path(location):
        location, at, after = location.partition("@")
        if at and not _REVISION.fullmatch(after):
            raise InvalidInput(f"model {text!r}: after '@' comes a branch, a tag or a commit")
        revision = after or None
    if not location:
        raise InvalidInput(f"model {text!r}: write {scheme}{_FORMS[kind]}")
    return ModelURI(scheme, location, revision, adapter or None, classes or None)
