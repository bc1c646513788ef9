"""Adapted segmenters: a loaded base with an adapter in it, sharing all that the adapter does not change.

Imports no PyTorch before a model is made.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any, Protocol, Self, runtime_checkable

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.adapters.files import AdapterSummary
from maskwright.models.adapters.shelf import AdapterShelf
from maskwright.models.checkpoints import Checkpoint
from maskwright.models.families import ModelDescription
from maskwright.models.protocols import Segmenter

_SHOWN = 8


@runtime_checkable
class Adaptable(Protocol):
    """A segmenter around one network, which an adapter may change."""

    @property
    def network(self) -> Any:
        """The network (``torch.nn.Module``), in evaluation mode; not to be changed."""
        ...

    def with_network(self, network: Any, description: ModelDescription) -> Self:
        """The same segmenter around another network of the same architecture, under another name and version."""
        ...


def base_identity(checkpoint: Checkpoint) -> str:
    """What tells the weights of one base from all others: the family and the content."""
    return f"{checkpoint.uri.scheme};{checkpoint.fingerprint}"


def adapted_description(base: ModelDescription, adapter: AdapterSummary) -> ModelDescription:
    """Name and versions of a base with an adapter.

    The embedding version stays the base's unless the adapter changes embeddings, so that cached ones stay valid.
    """
    name = f"{base.name}+{adapter.id[:_SHOWN]}"
    description = replace(base, name=name, version=f"{name}-{_hash(base.version, adapter.id)}")
    if adapter.touches_encoder:
        return replace(description, embedding_version=f"{name}-{_hash(base.embedding_version, adapter.id)}")
    return description


def adapted_segmenter(base: Segmenter, identity: str, identifier: str, shelf: AdapterShelf) -> Segmenter:
    """A loaded base with an adapter in it; the base itself does not change.

    Raises:
        ModelUnavailable: If the adapter's file is unusable or does not fit, or the base takes no adapters.
    """
    if not isinstance(base, Adaptable):
        raise ModelUnavailable(f"model {base.name} takes no adapters; drop '+adapter:{identifier}'")
    from maskwright.models.adapters.merging import adapted

    summary, tensors = shelf.read(identifier, base=identity)
    try:
        network = adapted(base.network, summary.card.config, tensors)
    except InvalidInput as error:
        raise ModelUnavailable(f"adapter {identifier} does not fit {base.name}: {error}") from error
    described = ModelDescription(base.name, base.version, base.embedding_version, base.embedding_nbytes)
    segmenter = base.with_network(network, adapted_description(described, summary))
    assert isinstance(segmenter, Segmenter)
    return segmenter


def _hash(version: str, identifier: str) -> str:
    return hashlib.blake2b(f"{version};adapter={identifier}".encode(), digest_size=4).hexdigest()
