"""What the staged pre-annotation of an image stands on, and the version that names it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace

from maskwright.assist.everything import Encode, never_cancelled
from maskwright.assist.suggestion.described import DescriptorMemo
from maskwright.assist.suggestion.memo import PhraseMemo
from maskwright.assist.suggestion.places import ClassPlaces
from maskwright.assist.suggestion.thresholds import ClassThresholds
from maskwright.assist.suggestion.values import StageModels, StageOptions
from maskwright.errors import Cancelled
from maskwright.models.language.prompt_sets import PromptSet
from maskwright.models.protocols import LanguageModel, RegionClassifier, Segmenter


@dataclass(frozen=True, eq=False)
class Context:
    """What the pre-annotation of one image stands on beside the image and the options.

    Attributes:
        models: Of the stages.
        segmenter: Draws the masks.
        encode: Gives the embedding of a window of this image.
        memo: Remembers for all images which class a phrase is.
        model_version: Written into every region's provenance.
        classifier: Checks regions where no dense features can; without a detector it gives the classes.
        thresholds: What the support of pixels means for each class.
        turn: Held while the device is used, and not while a language model is asked.
        observe: Told the seconds of the stages ``describe``, ``suggest``, ``detect``, ``refine``, ``segment`` and
            ``check``; waiting for the turn counts with ``describe`` only.
        cancelled: Asked between stages.
        lacks_words: Whether a model that reads images or infers classes from words was asked for and cannot be had.
        tile_size: Without a detector, images with a longer side are handled in tiles of this side, in pixels.
        tile_halo: Context in pixels around each tile's own part.
        descriptors: Remembers for all images what a language model said of classes.
        describing: The language model without what one image may cost; None = that of ``models``.
        places: Where the image shows classes; made while the image is worked on, where there are dense features.
    """

    models: StageModels
    segmenter: Segmenter
    encode: Encode
    memo: PhraseMemo
    model_version: str
    classifier: RegionClassifier | None = None
    thresholds: ClassThresholds = field(default_factory=ClassThresholds)
    turn: AbstractContextManager[object] = field(default_factory=nullcontext)
    observe: Callable[[str, float], None] = lambda stage, seconds: None
    cancelled: Callable[[], bool] = never_cancelled
    lacks_words: bool = False
    tile_size: int = 2048
    tile_halo: int = 128
    descriptors: DescriptorMemo = field(default_factory=DescriptorMemo)
    describing: LanguageModel | None = None
    places: ClassPlaces | None = None

    @contextmanager
    def stage(self, name: str, *, on_device: bool = True) -> Iterator[None]:
        """A stage: its turn at the device, its seconds, and whether it shall still begin."""
        with self.turn if on_device else nullcontext():
            if self.cancelled():
                raise Cancelled("pre-annotation was cancelled")
            started = time.perf_counter()
            yield
            self.observe(name, time.perf_counter() - started)


def staged_version(base: str, models: Iterable[str | None], options: StageOptions) -> str:
    """The name of ``base`` and 8 hex digits of everything that changes answers: models, questions, options.

    What an image may cost in time, tokens and money is no part of it.

    Args:
        base: Version of the segmenter and of what classifies regions: its name, ``-`` and a hash.
        models: Versions of tagger, captioner, language model, detector and dense features; None where there is none.
        options: The project's.
    """
    prompts = PromptSet(options.domain, options.prompts).version
    asked = replace(options, prompts={}, language_seconds=1.0, language_tokens=None, language_money=None)
    said = repr([base, *models, prompts, asked])
    name = base.rpartition("-")[0] or base
    return f"{name}+stages-{hashlib.blake2b(said.encode(), digest_size=4).hexdigest()}"
