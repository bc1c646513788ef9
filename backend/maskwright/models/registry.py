"""Models by URI: each loaded once per process, when first needed, whatever the number of threads that ask."""

from __future__ import annotations

import importlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace

from maskwright.errors import MaskwrightError, ModelUnavailable
from maskwright.models.adapters.serving import adapted_description, adapted_segmenter, base_identity
from maskwright.models.adapters.shelf import AdapterShelf
from maskwright.models.checkpoints import Fingerprints, fetch, locate
from maskwright.models.device import ComputeDevice, bound_threads, choose_device
from maskwright.models.families import FAMILIES, Family, ModelDescription
from maskwright.models.protocols import Segmenter
from maskwright.models.uri import ModelURI, parse_model_uri
from maskwright.settings import Settings

__all__ = ["ModelDescription", "ModelRegistry"]

MOST_ADAPTED = 8
"""Adapted copies kept in memory. One costs what its adapter changes: a decoder of SAM 16 MB, queries and values of
ViT-B 85 MB."""


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A segmenter, and what identifies the weights of its base; empty for an engine without weights."""

    segmenter: Segmenter
    identity: str


_Key = tuple[Family, str]


class ModelRegistry:
    """Loads segmenters and keeps them. Safe under threads; one per process.

    A base model is loaded once and stays. With an adapter on it (``+adapter:<id>``) it shares every unchanged tensor;
    of adapted copies the latest used are kept. Class heads (``+classes:<id>``) are no segmenter's business: URIs that
    differ in nothing else name the same one.

    Args:
        settings: Device, threads, default model, home, and whether the hub may be asked.
        families: Table of what loads each scheme.
        most_adapted: Adapted copies that are kept.
    """

    def __init__(
        self, settings: Settings, *, families: Mapping[str, Family] = FAMILIES, most_adapted: int = MOST_ADAPTED
    ) -> None:
        self._settings = settings
        self._families = families
        self._most_adapted = max(1, most_adapted)
        self._fingerprints = Fingerprints()
        self._loads: OrderedDict[_Key, Future[_Loaded]] = OrderedDict()
        self._adapted: OrderedDict[_Key, Future[_Loaded]] = OrderedDict()
        self._lock = threading.Lock()
        self._load_count = 0
        self._device: ComputeDevice | None = None
        self.adapters = AdapterShelf(settings.home / "adapters")

    @property
    def load_count(self) -> int:
        """Successful loads of base models so far; equal to the number of different ones in use."""
        return self._load_count

    def segmenter(self, uri: str | None = None) -> Segmenter:
        """The segmenter that a URI names, loaded on first use; None names the default of the settings.

        Threads that ask while it loads wait for that one load. A failed load is not kept: the next call tries again.

        Raises:
            InvalidInput: If the URI is malformed.
            ModelUnavailable: If the model or its adapter cannot be had or loaded; the message says why and what to do.
        """
        parsed, family = self._resolve(uri)
        if parsed.adapter is None:
            return self._base(parsed, family).segmenter
        key, identifier = (family, str(parsed)), parsed.adapter
        made = self._once(self._adapted, key, lambda: self._adapt(_without_adapter(parsed), family, identifier))
        with self._lock:
            if key in self._adapted:
                self._adapted.move_to_end(key)
            # Whoever is using a copy keeps it until done; one that is being made is not given up.
            for old in [k for k, f in self._adapted.items() if f.done()][: -self._most_adapted]:
                del self._adapted[old]
        return made.segmenter

    def base_identity(self, uri: str | None = None) -> str:
        """What identifies the base weights that a URI names; adapters carry it, and fit no other. Loads the model.

        Raises:
            InvalidInput: If the URI is malformed.
            ModelUnavailable: If the model cannot be had or loaded.
        """
        parsed, family = self._resolve(uri)
        return self._base(_without_adapter(parsed), family).identity

    def describe(self, uri: str | None = None) -> ModelDescription:
        """Name and versions of a model without loading its weights and without a connection.

        Equal to what the loaded segmenter reports, with one exception: for a hub model that is not in the local
        cache the revision's text stands for the commit, which is known once the model is there.

        Raises:
            InvalidInput: If the URI is malformed.
            ModelUnavailable: If it names a file, folder or adapter that is not there or cannot be used.
        """
        parsed, family = self._resolve(uri)
        table = self._loads if parsed.adapter is None else self._adapted
        with self._lock:
            future = table.get((family, str(parsed)))
        if future is not None and future.done() and future.exception() is None:
            return _description_of(future.result().segmenter)
        if parsed.adapter is not None:
            return self._describe_adapted(_without_adapter(parsed), family, parsed.adapter)
        if not family.has_weights:
            return _description_of(self.segmenter(uri))
        return family.describe(locate(parsed, self._fingerprints), self._compute_device())

    def loaded(self) -> tuple[ModelDescription, ...]:
        """The models in memory: bases in the order in which they were first asked for, then adapted copies."""
        with self._lock:
            futures = [*self._loads.values(), *self._adapted.values()]
        return tuple(_description_of(f.result().segmenter) for f in futures if f.done() and f.exception() is None)

    def _resolve(self, uri: str | None) -> tuple[ModelURI, Family]:
        parsed = replace(parse_model_uri(self._settings.model if uri is None else uri), classes=None)
        family = self._families[parsed.scheme]
        if parsed.adapter is not None and not family.has_weights:
            raise ModelUnavailable(
                f"model {parsed}: '{parsed.scheme}' has no weights that an adapter could change; "
                f"drop '+adapter:{parsed.adapter}'"
            )
        return parsed, family

    def _base(self, uri: ModelURI, family: Family) -> _Loaded:
        def load() -> _Loaded:
            loaded = self._load(uri, family)
            with self._lock:
                self._load_count += 1
            return loaded

        return self._once(self._loads, (family, str(uri)), load)

    def _once(self, table: OrderedDict[_Key, Future[_Loaded]], key: _Key, make: Callable[[], _Loaded]) -> _Loaded:
        """What ``make`` returns, made once for all threads that ask for a key while it is in the table."""
        with self._lock:
            future = table.get(key)
            mine = future is None
            if future is None:
                future = table[key] = Future()
        if not mine:
            return future.result()
        try:
            made = make()
        except BaseException as error:
            with self._lock:
                del table[key]
            future.set_exception(error)
            raise
        future.set_result(made)
        return made

    def _adapt(self, uri: ModelURI, family: Family, identifier: str) -> _Loaded:
        base = self._base(uri, family)
        try:
            adapted = adapted_segmenter(base.segmenter, base.identity, identifier, self.adapters)
        except MaskwrightError:
            raise
        except Exception as error:
            raise ModelUnavailable(
                f"model {uri}: adapter {identifier} could not be used ({type(error).__name__}); see the server's log"
            ) from error
        return _Loaded(adapted, base.identity)

    def _describe_adapted(self, uri: ModelURI, family: Family, identifier: str) -> ModelDescription:
        with self._lock:
            future = self._loads.get((family, str(uri)))
        if future is not None and future.done() and future.exception() is None:
            identity: str | None = future.result().identity
        else:
            found = locate(uri, self._fingerprints)
            # A hub model that is not here yet has no content to compare with.
            identity = None if found.path is None else base_identity(found)
        return adapted_description(self.describe(str(uri)), self.adapters.summary(identifier, base=identity))

    def _compute_device(self) -> ComputeDevice:
        with self._lock:
            if self._device is None:
                self._device = choose_device(self._settings)
            return self._device

    def _load(self, uri: ModelURI, family: Family) -> _Loaded:
        try:
            loader = getattr(importlib.import_module(family.module), family.loader)
            if not family.has_weights:
                return _Loaded(_checked(loader()), "")
            device = self._compute_device()
            found = locate(uri, self._fingerprints)
            family.describe(found, device)  # refuses another family's folder before anything is downloaded
            checkpoint = fetch(found, self._fingerprints, offline=self._settings.offline)
            bound_threads(self._settings)
            segmenter = _checked(loader(checkpoint, family.describe(checkpoint, device), device))
            return _Loaded(segmenter, base_identity(checkpoint))
        except MaskwrightError:
            raise
        except Exception as error:
            # The library's own text may hold paths of this machine, so it stays in the chained exception.
            raise ModelUnavailable(
                f"model {uri}: its weights could not be loaded ({type(error).__name__}); "
                "see the server's log, and check that the files are complete"
            ) from error


def _without_adapter(uri: ModelURI) -> ModelURI:
    return replace(uri, adapter=None)


def _checked(segmenter: object) -> Segmenter:
    if not isinstance(segmenter, Segmenter):
        raise TypeError(f"{type(segmenter).__name__} does not implement Segmenter")
    return segmenter


def _description_of(segmenter: Segmenter) -> ModelDescription:
    return ModelDescription(segmenter.name, segmenter.version, segmenter.embedding_version, segmenter.embedding_nbytes)
