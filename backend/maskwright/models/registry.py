"""Models by URI: each loaded once per process, when first needed, whatever the number of threads that ask."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping
from concurrent.futures import Future

from maskwright.errors import MaskwrightError, ModelUnavailable
from maskwright.models.checkpoints import Fingerprints, fetch, locate
from maskwright.models.device import ComputeDevice, bound_threads, choose_device
from maskwright.models.families import FAMILIES, Family, ModelDescription
from maskwright.models.protocols import Segmenter
from maskwright.models.uri import ModelURI, parse_model_uri
from maskwright.settings import Settings

__all__ = ["ModelDescription", "ModelRegistry"]


class ModelRegistry:
    """Loads segmenters and keeps them. Safe under threads; one per process.

    Args:
        settings: Device, threads, default model, and whether the hub may be asked.
        families: Table of what loads each scheme.
    """

    def __init__(self, settings: Settings, *, families: Mapping[str, Family] = FAMILIES) -> None:
        self._settings = settings
        self._families = families
        self._fingerprints = Fingerprints()
        self._loads: dict[tuple[Family, str], Future[Segmenter]] = {}
        self._lock = threading.Lock()
        self._load_count = 0
        self._device: ComputeDevice | None = None

    @property
    def load_count(self) -> int:
        """Successful loads so far; equal to the number of different models in use."""
        return self._load_count

    def segmenter(self, uri: str | None = None) -> Segmenter:
        """The segmenter that a URI names, loaded on first use; None names the default of the settings.

        Threads that ask while it loads wait for that one load. A failed load is not kept: the next call tries again.

        Raises:
            InvalidInput: If the URI is malformed.
            ModelUnavailable: If the model cannot be had or loaded; the message says why and what to do.
        """
        parsed, family = self._resolve(uri)
        key = (family, str(parsed))
        with self._lock:
            future = self._loads.get(key)
            mine = future is None
            if future is None:
                future = self._loads[key] = Future()
        if not mine:
            return future.result()
        try:
            segmenter = self._load(parsed, family)
        except BaseException as error:
            with self._lock:
                del self._loads[key]
            future.set_exception(error)
            raise
        with self._lock:
            self._load_count += 1
        future.set_result(segmenter)
        return segmenter

    def describe(self, uri: str | None = None) -> ModelDescription:
        """Name and versions of a model without loading its weights and without a connection.

        Equal to what the loaded segmenter reports, with one exception: for a hub model that is not in the local
        cache the revision's text stands for the commit, which is known once the model is there.

        Raises:
            InvalidInput: If the URI is malformed.
            ModelUnavailable: If it names a file or folder that is not there or cannot be used.
        """
        parsed, family = self._resolve(uri)
        with self._lock:
            future = self._loads.get((family, str(parsed)))
        if future is not None and future.done() and future.exception() is None:
            return _description_of(future.result())
        if not family.has_weights:
            return _description_of(self.segmenter(uri))
        return family.describe(locate(parsed, self._fingerprints), self._compute_device())

    def loaded(self) -> tuple[ModelDescription, ...]:
        """The models in memory, in the order in which they were first asked for."""
        with self._lock:
            futures = list(self._loads.values())
        return tuple(_description_of(f.result()) for f in futures if f.done() and f.exception() is None)

    def _resolve(self, uri: str | None) -> tuple[ModelURI, Family]:
        parsed = parse_model_uri(self._settings.model if uri is None else uri)
        if parsed.adapter is not None:
            raise ModelUnavailable(
                f"model {parsed}: adapters come with the learning loop, which this version does not have; "
                f"drop '+adapter:{parsed.adapter}'"
            )
        return parsed, self._families[parsed.scheme]

    def _compute_device(self) -> ComputeDevice:
        with self._lock:
            if self._device is None:
                self._device = choose_device(self._settings)
            return self._device

    def _load(self, uri: ModelURI, family: Family) -> Segmenter:
        try:
            loader = getattr(importlib.import_module(family.module), family.loader)
            if not family.has_weights:
                return _checked(loader())
            device = self._compute_device()
            found = locate(uri, self._fingerprints)
            family.describe(found, device)  # refuses another family's folder before anything is downloaded
            checkpoint = fetch(found, self._fingerprints, offline=self._settings.offline)
            bound_threads(self._settings)
            return _checked(loader(checkpoint, family.describe(checkpoint, device), device))
        except MaskwrightError:
            raise
        except Exception as error:
            # The library's own text may hold paths of this machine, so it stays in the chained exception.
            raise ModelUnavailable(
                f"model {uri}: its weights could not be loaded ({type(error).__name__}); "
                "see the server's log, and check that the files are complete"
            ) from error


def _checked(segmenter: object) -> Segmenter:
    if not isinstance(segmenter, Segmenter):
        raise TypeError(f"{type(segmenter).__name__} does not implement Segmenter")
    return segmenter


def _description_of(segmenter: Segmenter) -> ModelDescription:
    return ModelDescription(segmenter.name, segmenter.version, segmenter.embedding_version, segmenter.embedding_nbytes)
