"""Models of the stages around the segmenter, by URI: taggers, captioners, language models, detectors, dense features.

As with segmenters, each is loaded once per process, when first needed, whatever the number of threads that ask.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Any, Protocol, cast, runtime_checkable

from maskwright.errors import InvalidInput, MaskwrightError, ModelUnavailable
from maskwright.models.checkpoints import Checkpoint, Fingerprints, fetch, locate
from maskwright.models.device import ComputeDevice, bound_threads, choose_device
from maskwright.models.kept import KeptModels
from maskwright.models.language.answers_cache import CachedModel, kept_answers
from maskwright.models.language.prompt_sets import PromptSet
from maskwright.models.protocols import Captioner, DenseFeatures, Detector, LanguageModel, Tagger
from maskwright.models.uri import ModelURI, Role, parse_model_uri
from maskwright.settings import Settings

VECTORS_FOLDER = "tag-vectors"
"""Below the home folder."""


@runtime_checkable
class KeepsVectors(Protocol):
    """A model that computes vectors of many words once, and keeps them in a folder."""

    def keep_vectors(self, folder: Path) -> None:
        """Name the folder."""
        ...


@runtime_checkable
class Bounded(Protocol):
    """A model on this machine whose answers take as long, and become as long, as they are allowed to."""

    def bound(self, *, seconds: float, max_tokens: int) -> None:
        """Say how long."""
        ...


@dataclass(frozen=True)
class StageDescription:
    """Name and version of a model, as it carries them; known without its weights.

    Attributes:
        name: Readable.
        version: Name + short hash of everything that changes its answers.
    """

    name: str
    version: str


@dataclass(frozen=True)
class StageFamily:
    """What loads the models of a scheme for a role.

    Attributes:
        module: Imported on first use.
        loader: Name of a function in it, by what the scheme's location is. Nothing: ``() -> model``. A hub id, folder
            or file: ``(Checkpoint, StageDescription, ComputeDevice) -> model``. A server:
            ``(ModelURI, StageDescription, Settings) -> model``.
        model_types: ``model_type`` values of ``config.json`` that it can load; empty = not checked.
        revision: Counts changes of our code that change its answers.
    """

    module: str
    loader: str
    model_types: frozenset[str] = frozenset()
    revision: int = 1

    def describe(self, checkpoint: Checkpoint, device: ComputeDevice) -> StageDescription:
        """Name and version of a checkpoint.

        Raises:
            ModelUnavailable: If it is known to be another family's.
        """
        found = checkpoint.config.get("model_type")
        if checkpoint.config and self.model_types and found not in self.model_types:
            raise ModelUnavailable(
                f"model {checkpoint.uri}: its config.json says model_type {found!r}, "
                f"but '{checkpoint.uri.scheme}:' loads {' or '.join(sorted(self.model_types))}"
            )
        return _described(checkpoint.uri, f"{checkpoint.fingerprint};{device.dtype}", self.revision)


_CLIP = frozenset({"clip", "metaclip_2"})
_SIGLIP = frozenset({"siglip", "siglip2"})
_D, _P, _V, _L = (f"maskwright.models.{name}" for name in ("describers", "dense", "detectors", "language"))
STAGES: Mapping[tuple[Role, str], StageFamily] = MappingProxyType(
    {
        ("tagger", "embedded"): StageFamily("maskwright.models.tagger", "ImageNetTagger"),
        ("tagger", "clip"): StageFamily(f"{_D}.vocabulary", "load_clip_tagger", _CLIP, revision=2),
        ("tagger", "siglip"): StageFamily(f"{_D}.vocabulary", "load_siglip_tagger", _SIGLIP, revision=2),
        ("tagger", "florence2"): StageFamily(f"{_D}.florence2", "load_florence2", frozenset({"florence2"})),
        ("tagger", "ram"): StageFamily(f"{_D}.ram", "load_ram"),
        ("captioner", "blip"): StageFamily(f"{_D}.blip", "load_blip", frozenset({"blip"})),
        ("captioner", "blip2"): StageFamily(f"{_D}.blip", "load_blip2", frozenset({"blip-2"})),
        ("captioner", "florence2"): StageFamily(f"{_D}.florence2", "load_florence2", frozenset({"florence2"})),
        ("language", "sentence-matcher"): StageFamily(f"{_L}.matcher", "SentenceMatcher"),
        ("language", "hf"): StageFamily(f"{_L}.local", "load_local"),
        ("language", "openai"): StageFamily(f"{_L}.openai_server", "connect"),
        ("detector", "embedded"): StageFamily(f"{_V}.embedded", "EmbeddedDetector"),
        ("detector", "grounding-dino"): StageFamily(
            f"{_V}.grounding_dino", "load_grounding_dino", frozenset({"grounding-dino", "mm-grounding-dino"})
        ),
        ("detector", "owlv2"): StageFamily(f"{_V}.owlv2", "load_owlv2", frozenset({"owlv2"})),
        ("detector", "omdet-turbo"): StageFamily(f"{_V}.omdet_turbo", "load_omdet_turbo", frozenset({"omdet-turbo"})),
        ("detector", "sam3"): StageFamily(
            f"{_V}.sam3_concepts", "load_sam3_concepts", frozenset({"sam3", "sam3_video"})
        ),
        ("dense", "maskclip"): StageFamily(f"{_P}.maskclip", "load_maskclip", _CLIP),
        ("dense", "gem"): StageFamily(f"{_P}.gem", "load_gem", _CLIP),
        ("dense", "sclip"): StageFamily(f"{_P}.gem", "load_sclip", _CLIP),
        ("dense", "naclip"): StageFamily(f"{_P}.gem", "load_naclip", _CLIP),
        ("dense", "clearclip"): StageFamily(f"{_P}.gem", "load_clearclip", _CLIP),
        ("dense", "siglip"): StageFamily(f"{_P}.siglip", "load_siglip_dense", _SIGLIP),
        ("dense", "clipseg"): StageFamily(f"{_P}.clipseg", "load_clipseg", frozenset({"clipseg"})),
        ("dense", "dino"): StageFamily(f"{_P}.dino", "load_dino", frozenset({"vit"})),
        ("dense", "dinov2"): StageFamily(f"{_P}.dino", "load_dino", frozenset({"dinov2", "dinov2_with_registers"})),
        ("dense", "dinov3"): StageFamily(f"{_P}.dino", "load_dino", frozenset({"dinov3_vit"})),
        ("dense", "diffusion"): StageFamily(f"{_P}.diffusion", "load_diffusion"),
    }
)
"""Family of each role and scheme. Language models that read pictures also tag and caption; see ``describers.vlm``."""


_Key = tuple[StageFamily, str, bool]


class Stages:
    """Loads models of stages and keeps those that were used last. Safe under threads; one per process.

    A model that plays two parts (Florence-2 tags and captions) is one object, and one that somebody still uses is not
    loaded a second time. Answers of language models that take long are kept under the home folder, and so are the
    vectors of a tagger's words.

    Args:
        settings: Device, threads, home, how many models are kept, and whether the hub may be asked.
        families: Table of what loads each scheme.
    """

    def __init__(self, settings: Settings, *, families: Mapping[tuple[Role, str], StageFamily] = STAGES) -> None:
        self._settings = settings
        self._families = families
        self._fingerprints = Fingerprints()
        self._models = KeptModels(settings.stage_models)
        self._answers = kept_answers(settings)

    def tagger(self, uri: str) -> Tagger:
        """See ``model``."""
        return cast(Tagger, self.model("tagger", uri))

    def captioner(self, uri: str) -> Captioner:
        """See ``model``."""
        return cast(Captioner, self.model("captioner", uri))

    def language(self, uri: str) -> LanguageModel:
        """See ``model``."""
        return cast(LanguageModel, self.model("language", uri))

    def detector(self, uri: str, *, recall: bool = False) -> Detector:
        """See ``model``.

        Args:
            uri: Names it.
            recall: Miss less and be wrong more often, for where a later step refuses what is wrong.
        """
        made = self.model("detector", uri)
        return cast(Detector, made.for_recall() if recall else made)

    def dense(self, uri: str) -> DenseFeatures:
        """See ``model``."""
        return cast(DenseFeatures, self.model("dense", uri))

    def model(self, role: Role, uri: str) -> Any:
        """The model that a URI names for a role, loaded on first use; see ``KeptModels``.

        Raises:
            InvalidInput: If the URI is malformed, or names nothing (``none``).
            ModelUnavailable: If the model cannot be had or loaded; the message says why and what to do.
        """
        parsed = self._parsed(role, uri)
        return self._models.get_or_load(self._key(role, parsed), lambda: self._load(role, parsed))

    def missing(self) -> list[str]:
        """Why models that were asked for could not be had, those that are not tried again yet."""
        return self._models.missing()

    def describe(self, role: Role, uri: str) -> StageDescription:
        """Name and version without loading weights and without a connection.

        Raises:
            InvalidInput: If the URI is malformed, or names nothing (``none``).
            ModelUnavailable: If it names a file or folder that is not there or cannot be used.
        """
        parsed = self._parsed(role, uri)
        made = self._models.find(self._key(role, parsed))
        if made is not None:
            return StageDescription(made.name, made.version)
        if is_reader(role, parsed.scheme):
            language = self.describe("language", uri)
            return replace(language, version=f"{language.version}-{PromptSet().version}")
        family = self._family(role, parsed)
        if parsed.kind in ("none", "packaged"):
            made = self.model(role, uri)  # they load nothing before they are asked
            return StageDescription(made.name, made.version)
        if parsed.kind == "server":
            return _described(parsed, parsed.server, family.revision)
        return family.describe(locate(parsed, self._fingerprints), choose_device(self._settings))

    def _parsed(self, role: Role, uri: str) -> ModelURI:
        parsed = parse_model_uri(uri, role)
        if parsed.scheme == "none":
            raise InvalidInput(f"{role} 'none' names no model: the stage is switched off")
        if parsed.scheme == "embedded" and parsed.location:
            raise InvalidInput(f"{role} {uri!r}: '{parsed.scheme}' takes nothing after it here")
        return parsed

    def _key(self, role: Role, uri: ModelURI) -> _Key:
        return self._family(role, uri), str(uri), is_reader(role, uri.scheme)

    def _family(self, role: Role, uri: ModelURI) -> StageFamily:
        if is_reader(role, uri.scheme):
            return self._families["language", uri.scheme]
        return self._families[role, uri.scheme]

    def _load(self, role: Role, uri: ModelURI) -> Any:
        family = self._family(role, uri)
        try:
            if is_reader(role, uri.scheme):
                describer = importlib.import_module(f"{_D}.vlm")
                return describer.PictureReader(self.language(str(uri)))
            loader = getattr(importlib.import_module(family.module), family.loader)
            if uri.kind in ("none", "packaged"):
                return loader()
            if uri.kind == "server":
                server = loader(uri, _described(uri, uri.server, family.revision), self._settings)
                return CachedModel(server, self._answers)
            device = choose_device(self._settings)
            found = locate(uri, self._fingerprints)
            family.describe(found, device)  # refuses another family's folder before anything is downloaded
            checkpoint = fetch(found, self._fingerprints, offline=self._settings.offline)
            bound_threads(self._settings)
            return self._finished(role, loader(checkpoint, family.describe(checkpoint, device), device))
        except MaskwrightError:
            raise
        except Exception as error:
            # The library's own text may hold paths of this machine, so it stays in the chained exception.
            raise ModelUnavailable(
                f"{role} {uri} could not be loaded ({type(error).__name__}); see the server's log"
            ) from error

    def _finished(self, role: Role, made: Any) -> Any:
        """A model whose slow work is kept under the home folder, within the bounds that are set."""
        if role == "language":
            if isinstance(made, Bounded):
                made.bound(seconds=self._settings.language_timeout_s, max_tokens=self._settings.language_max_tokens)
            return CachedModel(made, self._answers)
        if isinstance(made, KeepsVectors):
            made.keep_vectors(self._settings.home / VECTORS_FOLDER)
        return made


def is_reader(role: Role, scheme: str) -> bool:
    """Whether a language model that reads pictures plays the part."""
    return role in ("tagger", "captioner") and scheme in ("hf", "openai")


def _described(uri: ModelURI, content: str, revision: int) -> StageDescription:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", PurePath(uri.location).name).strip("-") or uri.scheme
    digest = blake2b(f"{uri.scheme};{uri.location};{content};{revision}".encode(), digest_size=4).hexdigest()
    return StageDescription(name, f"{name}-{digest}")
