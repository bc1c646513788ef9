"""What words name and what looks like an example, found or shown with the models that an assistant has."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.assist.discovery import SeesObjects
from maskwright.assist.encode_queue import Priority
from maskwright.assist.encoding import EmbeddingService
from maskwright.assist.fewshot import Learnt, Similar, Support, find_similar, learn_supports
from maskwright.assist.fewshot_candidates import DescribesRegions
from maskwright.assist.refer import Referred, refer_regions
from maskwright.assist.referring.finders import finder_by_classes, finder_by_detector, finder_by_looks
from maskwright.assist.referring.resolve import Find
from maskwright.assist.seen import DenseOnce, RegionsOnce, SeenPictures
from maskwright.assist.suggestion.stager import NO_STAGES, ProjectStages, Stager
from maskwright.assist.suggestion.suggest import bounded
from maskwright.assist.suggestion.values import StageOptions
from maskwright.assist.text4seg import finder_by_text
from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.images import Image
from maskwright.labels import LabelSet
from maskwright.models.dense.pooling import heat_maps
from maskwright.models.dense.region_classes import knows_words, shown_where
from maskwright.models.language.budget import Budget, BudgetedModel
from maskwright.models.language.prompt_sets import PromptSet
from maskwright.models.protocols import LanguageModel, Message, RegionClassifier, Segmenter
from maskwright.models.text4seg import TextSegmenter
from maskwright.models.uri import Role, parse_model_uri
from maskwright.regions import Region
from maskwright.store.lru import ByteBoundedCache

LEARNT_BYTES = 64 * 1024**2
"""What examples taught is kept up to this size: the next picture is mostly compared with the same ones."""


@dataclass(frozen=True)
class Wanted:
    """A phrase, the class of what it names, and words for that class, its noun too where it is one of them."""

    phrase: str
    label: str
    also: tuple[str, ...] = ()


class Finding:
    """Finds regions by words and by example. Safe under threads; loads nothing before it is asked.

    Args:
        embeddings: Gives image embeddings.
        segmenter: The segmenter that a URI names; None = the settings' default.
        classifier: Tells where an image shows what words mean.
        features: Compares regions where no dense features are set.
        stager: Has the language model, the detector and the dense features that are set.
        annotated: Gives the regions of an image with their classes, by the segmenter that a URI names.
        tile_size: Longest side of an image in which anything is found, in pixels.
    """

    def __init__(
        self,
        embeddings: EmbeddingService,
        segmenter: Callable[[str | None], Segmenter],
        classifier: RegionClassifier,
        features: DescribesRegions,
        stager: Stager,
        annotated: Callable[[Image, LabelSet, str | None], Sequence[Region]],
        *,
        tile_size: int,
    ) -> None:
        self._embeddings, self._segmenter = embeddings, segmenter
        self._classifier, self._features, self._stager = classifier, features, stager
        self._annotated, self._tile_size, self._seen = annotated, tile_size, SeenPictures()
        self._learnt: ByteBoundedCache[Hashable, Learnt] = ByteBoundedCache(LEARNT_BYTES, _nbytes)

    def by_words(
        self,
        image: Image,
        wanted: Sequence[Wanted],
        *,
        labels: LabelSet | None = None,
        model: str | None = None,
        stages: ProjectStages = NO_STAGES,
        described: bool = False,
        model_version: str | None = None,
    ) -> Referred:
        """The regions that phrases name, each once; see ``refer_regions``.

        A detector that is set finds them; else what pre-annotation sees of the project's classes, and the classifier
        for everything else. A language model that is set reads what the grammar of phrases does not understand.

        Args:
            image: The image.
            wanted: At least one phrase.
            labels: The project's classes on this image; None = any words are as good as others.
            model: Model URI of the segmenter; None = the settings' default.
            stages: What the project says of the other models.
            described: Whether the language model finds them instead, by describing the image cell by cell.
            model_version: Written into the regions' provenance.

        Raises:
            InvalidInput: If the image is too large, there is no phrase, a model that the project names may not be used,
                or ``described`` is asked for without a language model.
            ModelUnavailable: If the segmenter or, with ``described``, the language model cannot be had.
            Busy: If too many images wait to be encoded.
        """
        options = stages.options or StageOptions()
        prompts = PromptSet(options.domain, options.prompts)
        reads = self._stager.uri("language", stages) != "none"
        language = bounded(_WhenAsked(lambda: self._part("language", stages)), options) if reads else None
        find, reasons = self._finder(image, labels, model, stages, prompts, described)
        regions: dict[str, Region] = {}
        for one in wanted:
            found = refer_regions(
                one.phrase,
                find,
                image.size,
                label=one.label,
                also=one.also,
                language=language,
                prompts=prompts,
                model_version=model_version,
            )
            for region in found.regions:
                regions.setdefault(region.mask.content_hash(), region)
            reasons += found.reasons
        return Referred(tuple(regions.values()), tuple(reasons))

    def by_example(
        self,
        image: Image,
        supports: Sequence[Support],
        *,
        label: str | None = None,
        model: str | None = None,
        stages: ProjectStages = NO_STAGES,
        model_version: str | None = None,
        priority: Priority = Priority.INTERACTIVE,
    ) -> Similar:
        """What looks like outlined objects; see ``find_similar``.

        Args:
            image: The image, one of the supports' or another.
            supports: What was outlined, and where.
            label: The class of the regions.
            model: Model URI of the segmenter; None = the settings' default.
            stages: What the project says of the other models.
            model_version: Written into the regions' provenance.
            priority: Interactive where a person waits.

        Raises:
            InvalidInput: If the image is too large, the supports cannot be used, or a model that the project names may
                not be.
            ModelUnavailable: If the segmenter cannot be had.
            Busy: If too many images wait to be encoded.
        """
        dense, missing = None, []
        if self._stager.uri("dense", stages) != "none":
            try:
                dense = DenseOnce(self._part("dense", stages), self._seen)
            except ModelUnavailable as error:
                missing.append(f"likes are found without dense features: {error}")
        regions = RegionsOnce(self._features, self._seen) if dense is None else None
        known = self._learnt.get_or_load(
            (self._features.version if dense is None else dense.version, _signature(supports)),
            lambda: learn_supports(supports, dense=dense, regions=regions),
        )
        segmenter = self._segmenter(model)
        found = find_similar(
            image,
            known,
            segmenter=segmenter,
            encode=self._embeddings.windows(segmenter, image, priority=priority),
            dense=dense,
            regions=regions,
            label=label,
            model_version=model_version,
            tile_size=self._tile_size,
            proposals=lambda propose: self._seen.once(image.pixels, ("proposals", segmenter.version), propose),
        )
        return Similar(found.regions, (*missing, *found.warnings))

    def heat_maps(
        self, image: Image, labels: LabelSet, *, stages: ProjectStages = NO_STAGES
    ) -> dict[str, NDArray[np.float32]]:
        """Where the dense features see each class; of features without words, where they attend, as ``attention``.

        Each map is stretched by itself: it says where a class is rather than elsewhere, not whether it is there.

        Args:
            image: The image.
            labels: Classes to show.
            stages: What the project says of the models.

        Returns:
            By name (h, w) float32 in [0, 1] on a grid laid over the image.

        Raises:
            InvalidInput: If no dense features are set, or they know neither words nor where to attend.
            ModelUnavailable: If they cannot be had.
        """
        if self._stager.uri("dense", stages) == "none":
            raise InvalidInput("heat maps need dense features; set MASKWRIGHT_DENSE, such as gem: and a CLIP model")
        dense = self._part("dense", stages)
        if not knows_words(dense) and isinstance(dense, SeesObjects):
            return {"attention": heat_maps(dense.attention(image.pixels)[..., None])[..., 0]}
        maps = heat_maps(shown_where(dense, image.pixels, [item.phrases for item in labels]))
        return {name: maps[..., column] for column, name in enumerate(labels.names)}

    def _finder(
        self,
        image: Image,
        labels: LabelSet | None,
        model: str | None,
        stages: ProjectStages,
        prompts: PromptSet,
        described: bool,
    ) -> tuple[Find, list[str]]:
        """Who finds things by words, and why it is not whom was asked for."""
        segmenter = self._segmenter(model)
        encode = self._embeddings.windows(segmenter, image, priority=Priority.INTERACTIVE)
        if described:
            reader = self._reader(stages, prompts)
            return finder_by_text(image, reader, segmenter=segmenter, encode=encode), []
        missing: list[str] = []
        if self._stager.uri("detector", stages) not in ("embedded", "none"):
            try:
                detector = self._part("detector", stages)
                return finder_by_detector(
                    image, detector=detector, segmenter=segmenter, encode=encode, tile_size=self._tile_size
                ), []
            except ModelUnavailable as error:
                missing.append(f"phrases are found without the detector: {error}")
        looks = finder_by_looks(
            image, segmenter=segmenter, encode=encode, classifier=self._classifier, tile_size=self._tile_size
        )
        if labels is None or not len(labels):
            return looks, missing
        key = ("annotated", labels.content_hash(), segmenter.version, model)  # a URI names what tells classes apart

        def regions() -> Sequence[Region]:
            return self._seen.once(image.pixels, key, lambda: self._annotated(image, labels, model))

        return finder_by_classes(labels, regions, looks), missing

    def _reader(self, stages: ProjectStages, prompts: PromptSet) -> TextSegmenter:
        uri = self._stager.uri("language", stages)
        if uri == "none":
            raise InvalidInput("a picture is described by a language model that reads pictures, and none is set")
        held = parse_model_uri(uri, "language").scheme == "hf"
        return TextSegmenter(self._part("language", stages), prompts=prompts, constrained=held)

    def _part(self, role: Role, stages: ProjectStages) -> Any:
        return self._stager.model(role, stages)


class _WhenAsked:
    """Implements ``LanguageModel`` with one that is loaded by the first question: most phrases need none."""

    name = version = "when-asked"

    def __init__(self, load: Callable[[], LanguageModel]) -> None:
        self._load = load

    def answer(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> dict[str, Any]:
        return self.ask(messages, schema)

    def ask(
        self, messages: Sequence[Message], schema: Mapping[str, Any], budgets: Sequence[Budget] = ()
    ) -> dict[str, Any]:
        return BudgetedModel(self._load(), *budgets).answer(messages, schema)


def _signature(supports: Sequence[Support]) -> Hashable:
    return tuple(
        (
            one.image.key,
            tuple(mask.content_hash() for mask in one.masks),
            tuple(m.content_hash() for m in one.negatives),
        )
        for one in supports
    )


def _nbytes(learnt: Learnt) -> int:
    masks = sum(len(mask.counts) for group in (learnt.own, learnt.not_wanted) for of in group.values() for mask in of)
    places = learnt.likeness.wanted.nbytes + learnt.likeness.others.nbytes if learnt.likeness is not None else 0
    return masks + places + learnt.wanted.nbytes + learnt.unwanted.nbytes
