"""The assistant of one process: everything an annotator gets, over models loaded once and bounded caches."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from maskwright.assist.classifiers import Classifiers
from maskwright.assist.encode_queue import Priority
from maskwright.assist.encoding import EmbeddingService
from maskwright.assist.everything import never_cancelled
from maskwright.assist.finding import Finding
from maskwright.assist.interact import InteractiveAnswer, Interactor
from maskwright.assist.jobs import BackgroundJobs, JobProgress
from maskwright.assist.preannotate import Preannotation, PreannotationOptions, preannotate
from maskwright.assist.refer import refer
from maskwright.assist.suggestion.stager import NO_STAGES, ProjectStages, Stager
from maskwright.errors import Busy, Cancelled, ModelUnavailable
from maskwright.images import Image
from maskwright.labels import LabelSet
from maskwright.masks import Mask
from maskwright.models.class_heads import ClassHeadShelf
from maskwright.models.learning_classifier import tag_classifier
from maskwright.models.protocols import RegionClassifier, Segmenter
from maskwright.models.registry import ModelRegistry
from maskwright.models.stages import Stages
from maskwright.prompts import Prompt
from maskwright.regions import Region
from maskwright.settings import Settings
from maskwright.store.embeddings import EmbeddingStore
from maskwright.store.lru import ByteBoundedCache

__all__ = ["Assistant", "InteractiveAnswer", "Priority"]

REVISION = 3
"""Counts changes of the rules in this package that change answers; part of every model version."""
_NO_LABELS = LabelSet(())


class Assistant:
    """Masks for prompts and regions for images. Safe under threads; makes nothing before it is asked.

    Args:
        settings: Model, sizes of caches and queues, folder of the disk cache.
        registry: Where segmenters come from; its own one by default.
        classifier: What gives regions their classes in label sets of several; by default an image tagger read through
            a sentence encoder.
        stages: Where the models of the stages around the segmenter come from; its own by default.
        observe: Told a stage's name (encode, mask_decode, upsample, propose, classify, answer) and its seconds.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        registry: ModelRegistry | None = None,
        classifier: RegionClassifier | None = None,
        stages: Stages | None = None,
        observe: Callable[[str, float], None] = lambda stage, seconds: None,
    ) -> None:
        self._settings = settings
        self._registry = registry if registry is not None else ModelRegistry(settings)
        usual, features = tag_classifier()
        self._classifier: RegionClassifier = usual if classifier is None else classifier
        self._classifiers = Classifiers(self._classifier, features, ClassHeadShelf(settings.home / "classes"))
        self._observe = observe
        store = None
        if settings.disk_cache_bytes > 0:
            store = EmbeddingStore(settings.home / "embeddings", settings.disk_cache_bytes)
        self.embeddings = EmbeddingService(
            memory_bytes=settings.memory_cache_bytes,
            store=store,
            queue_size=settings.queue_size,
            batch_size=settings.batch_size,
            observe=observe,
        )
        self._interactor = Interactor(self.embeddings, tile_size=settings.tile_size, observe=observe)
        self._images: ByteBoundedCache[Hashable, Image] = ByteBoundedCache(
            settings.image_cache_bytes, lambda image: image.nbytes
        )
        self._stager = Stager(settings, stages)
        self.finding = Finding(
            self.embeddings, self.segmenter, self._classifier, features, self._stager, self._annotated,
            tile_size=settings.tile_size,
        )  # fmt: skip
        self._warming = BackgroundJobs(workers=1, max_pending=settings.queue_size, name="warm-embeddings")
        self._fault = ""

    def model_version(self, labels: LabelSet, model: str | None = None, *, stages: ProjectStages = NO_STAGES) -> str:
        """Readable name + 8 hex digits of everything that changes answers: base, classifier, label set, our rules.

        Loads no weights and asks no hub. A label set of one class is the same whatever the classifier, unless what is
        none of that class was learnt.

        Args:
            labels: The project's classes.
            model: Model URI; None = the settings' default.
            stages: What the project says of pre-annotation in stages; by default what the settings say.

        Raises:
            InvalidInput: If the URI is malformed.
            ModelUnavailable: If it names a file, folder, adapter or class head that is not there or cannot be used.
        """
        description = self._registry.describe(model)
        classifier = self._classifiers.choose(labels, model or self._settings.model)
        version = classifier.version if classifier is not None else ""
        text = repr((REVISION, description.version, version, labels.content_hash()))
        digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
        return self._stager.version(f"{description.name}-{digest}", stages)

    def answer(
        self,
        image: Image,
        prompt: Prompt,
        *,
        labels: LabelSet | None = None,
        label: str | None = None,
        model: str | None = None,
        region_key: str | None = None,
        outline: Mask | None = None,
    ) -> InteractiveAnswer:
        """The mask that a prompt means; see ``Interactor.answer`` for the rules, and ``refer`` for a phrase alone.

        Args:
            image: The image.
            prompt: Absolute pixels of the image.
            labels: The project's classes; they take part in the model version only.
            label: The class that the person has chosen; two classes never share a region's memory.
            model: Model URI; None = the settings' default.
            region_key: Identity of the region in hand, stable from click to click. None = a question on its own.
            outline: Area around an object that was drawn in place of the prompt, of the image's size.

        Raises:
            InvalidInput: If the prompt is empty or lies outside the image, or a phrase comes with too large an image.
            ModelUnavailable: If the model cannot be had or loaded.
            Busy: If too many images wait to be encoded.
            Cancelled: If the assistant is closed.
        """
        started = time.perf_counter()
        segmenter = self.segmenter(model)
        version = self.model_version(labels if labels is not None else _NO_LABELS, model)
        if prompt.phrase and not prompt.has_spatial and prompt.mask_input is None:
            named = labels.find(label) if labels is not None and label is not None else None
            mask, score = refer(
                image, (prompt.phrase, *(named.phrases if named is not None else ())), segmenter=segmenter,
                encode=lambda window: self.embeddings.get(segmenter, image, window), classifier=self._classifier,
                tile_size=self._settings.tile_size,
            )  # fmt: skip
            self._observe("answer", time.perf_counter() - started)
            return InteractiveAnswer(mask, score, version, None)
        region = None if region_key is None else (region_key, label)
        found = self._interactor.answer(segmenter, image, prompt, region_key=region, outline=outline)
        self._observe("answer", time.perf_counter() - started)
        return InteractiveAnswer(found.mask, found.score, version, found.low_res_logits)

    def preannotate(
        self,
        image: Image,
        labels: LabelSet,
        options: PreannotationOptions = PreannotationOptions(),  # noqa: B008 - frozen
        *,
        model: str | None = None,
        stages: ProjectStages | None = NO_STAGES,
        priority: Priority = Priority.BACKGROUND,
        cancelled: Callable[[], bool] = never_cancelled,
    ) -> Preannotation:
        """Regions with classes for a whole image; see ``preannotate`` and, in stages, ``Stager``.

        Args:
            image: The image.
            labels: The project's classes.
            options: What the project wants.
            model: Model URI; None = the settings' default.
            stages: What the project says of pre-annotation in stages; by default what the settings say. None = not in
                stages, whatever the settings say.
            priority: Interactive where a person waits for it.
            cancelled: Asked between steps.

        Raises:
            Cancelled: As soon as ``cancelled`` says so, or if the assistant is closed.
            InvalidInput: If an option names a value that it cannot have.
            ModelUnavailable: If a model cannot be had or loaded.
            Busy: If too many images wait to be encoded.
        """
        version = self.model_version(labels, model, stages=stages or NO_STAGES)
        if not options.enabled or not len(labels):
            return Preannotation((), 0.0, version)
        segmenter = self.segmenter(model)
        encode = self.embeddings.windows(segmenter, image, priority=priority, cancelled=cancelled)
        classifier = self._classifiers.choose(labels, model or self._settings.model)
        if stages is not None and self.is_staged(stages):
            return self._stager.preannotate(
                image, labels, options, stages, segmenter=segmenter, encode=encode, classifier=classifier,
                model_version=version, priority=priority, observe=self._observe, cancelled=cancelled,
            )  # fmt: skip
        return preannotate(
            image, labels, options, segmenter=segmenter, encode=encode, classifier=classifier, model_version=version,
            tile_size=self._settings.tile_size, tile_halo=self._settings.tile_halo, observe=self._observe,
            cancelled=cancelled,
        )  # fmt: skip

    def _annotated(self, image: Image, labels: LabelSet, model: str | None) -> Sequence[Region]:
        """What is seen without stages, for somebody who waits: a phrase says by itself what it means."""
        found = self.preannotate(image, labels, model=model, stages=None, priority=Priority.INTERACTIVE)
        return found.regions

    def is_staged(self, stages: ProjectStages = NO_STAGES) -> bool:
        """Whether ``preannotate`` works in stages, some of which wait for answers; see ``Stager.is_staged``."""
        return self._stager.is_staged(stages)

    def warm(self, load: Callable[[], Image], *, model: str | None = None, key: str | None = None) -> bool:
        """Encode an image in the background, so that its first click finds the embedding. Returns at once.

        Images larger than the tile size are skipped: which window a click needs is not known before it comes.

        Args:
            load: Gives the image; called in a background thread. What it raises is logged.
            model: Model URI; None = the settings' default.
            key: Identity of the image; requests of one key in line are one. None = every request stands on its own.

        Returns:
            Whether it was put in line; False if the line is full, the key waits already, or the assistant is closed.
        """

        def run(progress: JobProgress) -> None:
            image = load()
            progress.check()
            if max(image.size) > self._settings.tile_size:
                return
            self.embeddings.get(
                self.segmenter(model), image, priority=Priority.BACKGROUND, cancelled=progress.cancelled
            )

        name = f"{model} {key}" if key is not None else uuid.uuid4().hex
        if self._warming.is_active(name):
            return False
        try:
            self._warming.submit(name, run)
        except (Busy, Cancelled):
            return False
        return True

    def image(self, key: Hashable, load: Callable[[], Image]) -> Image:
        """The decoded image of ``key``, loaded if it is not in memory; those who ask together share one load.

        Raises:
            Exception: What ``load`` raised, for everyone who waited; the next call loads again.
        """
        return self._images.get_or_load(key, load)

    def segmenter(self, model: str | None = None) -> Segmenter:
        """The segmenter that a URI names, loaded on first use; None = the settings' default.

        Raises:
            InvalidInput: If the URI is malformed.
            ModelUnavailable: If it cannot be had or loaded.
        """
        is_default = model in (None, self._settings.model)
        try:
            segmenter = self._registry.segmenter(model)
        except ModelUnavailable as error:
            if is_default:
                self._fault = str(error)
            raise
        if is_default:
            self._fault = ""
        return segmenter

    def health(self) -> dict[str, Any]:
        """The state of this process. Loads nothing, waits for nothing, reads no disk.

        Returns:
            ``model`` (default URI), ``loaded`` (versions in memory), ``load_count``, ``stages`` (their URIs, and what
            could not be had), ``encoder``, ``images``, ``interactions``, ``warming`` (numbers), and ``degraded`` (why
            the default model failed) where it did.
        """
        images = self._images.statistics()
        state: dict[str, Any] = {
            "model": self._settings.model,
            "loaded": [description.version for description in self._registry.loaded()],
            "load_count": self._registry.load_count,
            "stages": self._stager.state(),
            "encoder": self.embeddings.state(),
            "images": {"entries": images.entries, "bytes": images.nbytes, "hits": images.hits},
            "interactions": self._interactor.state(),
            "warming": self._warming.active,
        }
        if fault := self._fault:
            state["degraded"] = fault
        return state

    def close(self) -> None:
        """Cancel what waits, let running encodes finish, write what was encoded. Repeatable."""
        self._stager.close()
        # The encoder first: a warming job may be waiting for it.
        self.embeddings.close()
        self._warming.close()
