"""Names of models: ``scheme``, ``scheme:location``, ``scheme:location@revision``, and what was learnt on top of them:
``+adapter:<id>`` (masks), ``+classes:<id>`` (classes of regions), or both in this order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from maskwright.errors import InvalidInput

LocationKind = Literal["none", "packaged", "hub", "file"]

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
    }
)
"""Every scheme with what follows its colon: nothing, maybe a file of own weights, a hub id or folder, a checkpoint."""

_FORMS: Mapping[LocationKind, str] = MappingProxyType(
    {
        "none": "",
        "packaged": "[:/path/to/weights.safetensors]",
        "hub": ":<hub id or folder>[@revision]",
        "file": ":/path/to/checkpoint.pth",
    }
)
_ADAPTER_MARK, _CLASSES_MARK = "+adapter:", "+classes:"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
_REVISION = re.compile(r"[\w.-][\w./-]*", re.ASCII)
_ADAPTER_ID = re.compile(r"[\w.-]+", re.ASCII)
_CLASSES_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class ModelURI:
    """A parsed model URI; ``str()`` gives back its canonical text.

    Attributes:
        scheme: One of ``SCHEMES``.
        location: Hub id, folder or file; empty for the engines that need none.
        revision: Branch, tag or commit on the hub, or None for ``main``.
        adapter: Identifier of a trained adapter on top of the base model, or None.
        classes: Identifier of a learnt class head beside it, or None; see ``maskwright.models.class_heads``.
    """

    scheme: str
    location: str = ""
    revision: str | None = None
    adapter: str | None = None
    classes: str | None = None

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
        text += f"@{self.revision}" if self.revision else ""
        text += f"{_ADAPTER_MARK}{self.adapter}" if self.adapter else ""
        return text + (f"{_CLASSES_MARK}{self.classes}" if self.classes else "")


def is_path(location: str) -> bool:
    """Whether a location is written as a path: absolute, relative with a leading dot, or below the home folder."""
    return location.startswith(("/", "./", "../", "~")) or location in (".", "..")


def known_forms() -> str:
    """The forms of every scheme, for error messages and help texts."""
    return ", ".join(f"{scheme}{_FORMS[kind]}" for scheme, kind in SCHEMES.items())


def parse_model_uri(text: str) -> ModelURI:
    """Parse a model URI.

    A location that is written as a path never carries a revision: an ``@`` in it belongs to the path.

    Raises:
        InvalidInput: If the scheme is unknown, or its location, revision, adapter or classes are missing or malformed.
    """
    base, mark, classes = text.strip().partition(_CLASSES_MARK)
    if mark and not _CLASSES_ID.fullmatch(classes):
        raise InvalidInput(f"model {text!r}: after '+classes:', which comes last, come 32 hex digits")
    base, mark, adapter = base.partition(_ADAPTER_MARK)
    if mark and not _ADAPTER_ID.fullmatch(adapter):
        raise InvalidInput(f"model {text!r}: after '+adapter:' comes an identifier of letters, digits, '.', '_' or '-'")
    scheme, colon, location = base.partition(":")
    if scheme not in SCHEMES:
        raise InvalidInput(f"unknown model {text!r}; known forms: {known_forms()}")
    kind = SCHEMES[scheme]
    if kind == "none":
        if colon:
            raise InvalidInput(f"model {text!r}: '{scheme}' takes nothing after it; write just '{scheme}'")
        return ModelURI(scheme, adapter=adapter or None, classes=classes or None)
    if kind == "packaged" and not colon:
        return ModelURI(scheme, adapter=adapter or None, classes=classes or None)
    if not location or "\0" in location:
        raise InvalidInput(f"model {text!r}: write {scheme}{_FORMS[kind]}")
    revision: str | None = None
    if kind == "hub" and not is_path(location):
        location, at, after = location.partition("@")
        if at and not _REVISION.fullmatch(after):
            raise InvalidInput(f"model {text!r}: after '@' comes a branch, a tag or a commit")
        revision = after or None
    if not location:
        raise InvalidInput(f"model {text!r}: write {scheme}{_FORMS[kind]}")
    return ModelURI(scheme, location, revision, adapter or None, classes or None)
