"""Loading a model as the server would and asking it one small thing: does it work here, how long, how much memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from maskwright.errors import InvalidInput, MaskwrightError, ModelUnavailable
from maskwright.models.language.prompt_sets import PromptSet
from maskwright.models.protocols import RGB
from maskwright.models.registry import ModelRegistry
from maskwright.models.stages import Stages
from maskwright.models.uri import Role
from maskwright.prompts import Prompt
from maskwright.settings import Settings


@dataclass(frozen=True)
class Trial:
    """How a model did.

    Attributes:
        role: The part that it played.
        uri: As given.
        name: Of the model.
        version: Of the model.
        load_seconds: Until it could be asked.
        answer_seconds: Of its first answer; models that load late load here.
        memory_mb: By how much the process's highest use of memory grew.
        gpu_memory_mb: Highest use of the GPU's memory; 0 without one.
        answer: What it said, in short.
    """

    role: Role
    uri: str
    name: str
    version: str
    load_seconds: float
    answer_seconds: float
    memory_mb: float
    gpu_memory_mb: float
    answer: str


def try_model(settings: Settings, role: Role, uri: str) -> Trial:
    """Load a model with its real loader and have it answer once; nothing is taken from or put into a cache of answers.

    Raises:
        InvalidInput: If the URI is malformed.
        ModelUnavailable: If the model cannot be had, loaded or asked.
    """
    fresh = settings.model_copy(update={"language_cache_bytes": 0})
    before = _peak_mb()
    started = time.monotonic()
    model = ModelRegistry(fresh).segmenter(uri) if role == "segmenter" else Stages(fresh).model(role, uri)
    loaded = time.monotonic()
    try:
        answer = _ASK[role](model)
    except MaskwrightError:
        raise
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        raise ModelUnavailable(f"{role} {uri} was loaded, but failed when it was asked ({words})") from error
    return Trial(
        role,
        uri,
        model.name,
        model.version,
        round(loaded - started, 3),
        round(time.monotonic() - loaded, 3),
        round(_peak_mb() - before, 1),
        _gpu_peak_mb(),
        answer,
    )


def _picture() -> RGB:
    """(96, 128, 3): a bright square on a dark ground."""
    pixels = np.full((96, 128, 3), 40, dtype=np.uint8)
    pixels[24:72, 40:88] = 220
    return pixels


def _segment(model: Any) -> str:
    embedding = model.encode([_picture()])[0]
    candidates = model.decode(embedding, [Prompt(box=(38, 22, 90, 74))])
    mask = model.upsample(embedding, candidates.low_res_logits[0, 0])
    return f"a mask of {mask.area} pixels for a box around {48 * 48}"


def _tag(model: Any) -> str:
    return ", ".join(tag.word for tag in model.tags([_picture()], top=3)[0]) or "no word"


def _caption(model: Any) -> str:
    return model.captions([_picture()])[0] or "no word"


def _answer(model: Any) -> str:
    question = PromptSet().question("post-refinement", phrase="puppy", labels=["dog", "car"])
    return f"a puppy is: {model.answer(question.messages, question.schema)['label']}"


def _detect(model: Any) -> str:
    return f"{len(model.detect(_picture(), ['square', 'dog']).boxes)} boxes"


def _embed(model: Any) -> str:
    height, width, length = model.features(_picture()).shape
    try:
        model.text(["square"])
    except InvalidInput:
        return f"{height} x {width} vectors of length {length}, no texts"
    return f"{height} x {width} vectors of length {length}, and texts"


_ASK: Mapping[Role, Callable[[Any], str]] = MappingProxyType(
    {
        "segmenter": _segment,
        "tagger": _tag,
        "captioner": _caption,
        "language": _answer,
        "detector": _detect,
        "dense": _embed,
    }
)


def _peak_mb() -> float:
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def _gpu_peak_mb() -> float:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return 0.0
    return round(float(torch.cuda.max_memory_allocated()) / 1024**2, 1)
