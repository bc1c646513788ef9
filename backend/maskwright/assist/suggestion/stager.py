"""What a process keeps for pre-annotation in stages: models, answers about phrases, and whose turn at the device it is.

Images are pre-annotated in stages where the settings or the project name other models for it than a fresh machine's, or
where the project says how it is to be done.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from maskwright.assist.encode_queue import Priority
from maskwright.assist.everything import Encode, never_cancelled
from maskwright.assist.preannotate import Preannotation, PreannotationOptions
from maskwright.assist.suggestion.context import Context, staged_version
from maskwright.assist.suggestion.described import DescriptorMemo
from maskwright.assist.suggestion.in_flight import Device
from maskwright.assist.suggestion.learnt import support_version
from maskwright.assist.suggestion.loading import load_models
from maskwright.assist.suggestion.memo import PhraseMemo
from maskwright.assist.suggestion.suggest import all_bounded, image_budget
from maskwright.assist.suggestion.thresholds import USUAL, ClassThresholds
from maskwright.assist.suggestion.values import StageModels, StageOptions
from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.images import Image
from maskwright.labels import LabelSet
from maskwright.models.protocols import DenseFeatures, Detector, RegionClassifier, Segmenter
from maskwright.models.roles import asks_for_stages, configured, setting_of
from maskwright.models.stages import Stages
from maskwright.models.uri import ModelURI, Role, parse_model_uri
from maskwright.settings import Settings

PARTS: tuple[Role, ...] = ("tagger", "captioner", "language", "detector", "dense")
"""What models play around the segmenter."""
_URGENT = 10**12
"""Turns that an image goes ahead which a person waits for."""


def usual_thresholds(support: str) -> ClassThresholds:
    """What the support of pixels means where nothing was learnt."""
    return USUAL


@dataclass(frozen=True)
class ProjectStages:
    """What a project says of the stages.

    Attributes:
        uris: Its own models in place of those that are set, by part.
        options: How it is done; None = as usual, where anything else asks for stages.
        thresholds: Given the ``support_version`` of the models, what support means for each class; raises nothing.
    """

    uris: Mapping[Role, str] = field(default_factory=dict)
    options: StageOptions | None = None
    thresholds: Callable[[str], ClassThresholds] = usual_thresholds


NO_STAGES = ProjectStages()
"""A project that leaves everything to the settings."""


class Stager:
    """Pre-annotates in stages. Safe under threads; loads nothing before the first image.

    Args:
        settings: Name the models, and servers that may be asked.
        stages: Loads and keeps them; its own by default.
    """

    def __init__(self, settings: Settings, stages: Stages | None = None) -> None:
        self._settings = settings
        self._stages = Stages(settings) if stages is None else stages
        self._memo, self._descriptors = PhraseMemo(), DescriptorMemo()
        self._device, self._numbers = Device(), itertools.count()

    def is_staged(self, project: ProjectStages = NO_STAGES) -> bool:
        """Whether images of a project are pre-annotated in stages.

        Raises:
            InvalidInput: If a URI is malformed, or names a server that the operator has not set; or if money is bounded
                where nothing has a price.
        """
        return asks_for_stages(self._named(project)) or project.options is not None

    def version(self, base: str, project: ProjectStages = NO_STAGES) -> str:
        """The version of a project's pre-annotations; ``base`` itself where they are not made in stages.

        Loads no weights and contacts nobody. A model that is not there changes the version, and does so again when it
        comes.

        Args:
            base: Version of the segmenter and of what classifies regions.
            project: What the project says.

        Raises:
            InvalidInput: As ``is_staged``, or if the project's prompts cannot be used.
        """
        if not self.is_staged(project):
            return base
        options, named = project.options or StageOptions(), self._named(project)
        unused = set() if options.caption else {"captioner"}
        versions = [None if part in unused else self._described(part, named[part]) for part in PARTS]
        return staged_version(base, versions, options)

    def preannotate(
        self,
        image: Image,
        labels: LabelSet,
        limits: PreannotationOptions,
        project: ProjectStages,
        *,
        segmenter: Segmenter,
        encode: Encode,
        classifier: RegionClassifier | None,
        model_version: str,
        priority: Priority = Priority.BACKGROUND,
        observe: Callable[[str, float], None] = lambda stage, seconds: None,
        cancelled: Callable[[], bool] = never_cancelled,
    ) -> Preannotation:
        """See ``preannotate_in_stages``. Of the images under way at once, one has the device, the first that came;
        those that a person waits for come before.

        Args:
            image: The image.
            labels: The project's classes.
            limits: What the project wants.
            project: How, and by which models.
            segmenter: Draws the masks.
            encode: Gives the embedding of a window of this image.
            classifier: Gives regions their classes where no dense features can.
            model_version: From ``version``.
            priority: Interactive where a person waits.
            observe: Told the seconds of each stage.
            cancelled: Asked between stages.

        Raises:
            Cancelled: As soon as ``cancelled`` says so, or if this is closed.
            InvalidInput: As ``version``, or if nothing could find or classify regions.
            Busy: If too many images wait to be encoded.
        """
        from maskwright.assist.suggestion.staged import preannotate_in_stages  # only those who use it wait for it

        options = project.options or StageOptions()
        named, budget = self._named(project), image_budget(options)
        models, missing = load_models(self._stages, self._settings, options, named)
        support = support_version(_version(models.detector), _version(models.dense), _version(classifier), options)
        number = next(self._numbers) - (_URGENT if priority is Priority.INTERACTIVE else 0)
        lacks_words = _lacks_words(models, named, options)
        context = Context(
            all_bounded(models, budget),
            segmenter,
            encode,
            self._memo,
            model_version,
            classifier,
            project.thresholds(support),
            self._device.turn(number),
            observe,
            cancelled,
            lacks_words,
            self._settings.tile_size,
            self._settings.tile_halo,
            self._descriptors,
            models.language,
        )
        found = preannotate_in_stages(image, labels, limits, options, context)
        return replace(
            found,
            problems=(*missing, *found.problems),
            support_version=support,
            is_degraded=found.is_degraded or lacks_words or budget.spent.unanswered > 0,
        )

    def uri(self, part: Role, project: ProjectStages = NO_STAGES) -> str:
        """What plays a part; "none" where it is switched off. Errors as ``is_staged``."""
        return self._named(project)[part]

    def model(self, part: Role, project: ProjectStages = NO_STAGES) -> Any:
        """What plays a part, loaded on first use.

        Raises:
            InvalidInput: As ``is_staged``, or if the part is switched off.
            ModelUnavailable: If the model cannot be had or loaded.
        """
        return self._stages.model(part, self.uri(part, project))

    def state(self) -> dict[str, Any]:
        """The models that are set, by part, and ``missing``: why those asked for could not be had. Loads nothing."""
        named = configured(self._settings)
        return {**{part: named[part] for part in PARTS}, "missing": self._stages.missing()}

    def close(self) -> None:
        """Cancel the images that wait for their turn. Repeatable."""
        self._device.close()

    def _named(self, project: ProjectStages) -> dict[Role, str]:
        """The URI of each part; what a project names comes over the network."""
        options = project.options
        if options is not None and options.language_money is not None and not self._settings.has_prices:
            raise InvalidInput(
                "language_money bounds nothing: neither MASKWRIGHT_LANGUAGE_PRICE_PROMPT nor "
                "MASKWRIGHT_LANGUAGE_PRICE_COMPLETION is set; set them, or bound language_tokens"
            )
        named = configured(self._settings)
        own = {part: _parsed(part, uri) for part, uri in project.uris.items()}
        if any(uri.server for uri in own.values()):
            known = self._servers(named)
            for part, uri in own.items():
                if uri.server and uri.server not in known:
                    raise InvalidInput(
                        f"{part}: neither MASKWRIGHT_LANGUAGE_SERVER nor {setting_of(part)} names the server of "
                        f"{str(uri)!r}; a project may only ask servers that the operator has set"
                    )
        return named | {part: str(uri) for part, uri in own.items()}

    def _servers(self, named: Mapping[Role, str]) -> set[str]:
        settings = self._settings
        servers = {_parsed(part, named[part]).server for part in PARTS}
        # The address that is there by default is a public company's: nobody has chosen it yet.
        if settings.language_api_key.get_secret_value() or "language_server" in settings.model_fields_set:
            servers.add(settings.language_server.rstrip("/"))
        return servers

    def _described(self, part: Role, uri: str) -> str | None:
        if uri == "none":
            return None
        try:
            return self._stages.describe(part, uri).version
        except ModelUnavailable:
            return f"{uri} is missing"


def _lacks_words(models: StageModels, named: Mapping[Role, str], options: StageOptions) -> bool:
    """Whether a model that reads images or infers classes from words was asked for and cannot be had."""
    asked: dict[Role, bool] = {"tagger": True, "captioner": options.caption, "language": options.pre_refinement}
    return any(asked[part] and named[part] != "none" and getattr(models, part) is None for part in asked)


def _version(model: Detector | DenseFeatures | RegionClassifier | None) -> str | None:
    return None if model is None else model.version


def _parsed(part: Role, uri: str) -> ModelURI:
    return ModelURI("none") if uri.strip() == "none" else parse_model_uri(uri, part)
