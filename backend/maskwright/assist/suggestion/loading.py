"""The models of a staged pre-annotation from what is set; one that cannot be had leaves the others standing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from maskwright.assist.suggestion.values import StageModels, StageOptions
from maskwright.errors import ModelUnavailable
from maskwright.models.language.prompt_sets import PromptSet
from maskwright.models.roles import configured
from maskwright.models.stages import Stages
from maskwright.models.uri import Role
from maskwright.settings import Settings


def load_models(
    stages: Stages,
    settings: Settings,
    options: StageOptions,
    uris: Mapping[Role, str] | None = None,
) -> tuple[StageModels, tuple[str, ...]]:
    """The models that are set, loaded on first use.

    A language model that tags or captions is asked in the project's words. Where a language model sorts the detector's
    phrases, the detector misses less and is wrong more often.

    Args:
        stages: Loads and keeps them.
        settings: Name them.
        options: The project's.
        uris: The project's own in place of those set.

    Returns:
        The models, and for each that cannot be had why.

    Raises:
        InvalidInput: If a URI is malformed, or the project's prompts cannot be used.
    """
    named = configured(settings) | dict(uris or {})
    prompts = PromptSet(options.domain, options.prompts)
    recall = options.post_refinement and named["language"] != "none"
    problems: list[str] = []

    def made(role: Role, load: Callable[[str], Any]) -> Any:
        if named[role] == "none":
            return None
        try:
            model = load(named[role])
        except ModelUnavailable as error:
            problems.append(str(error))
            return None
        return model.with_prompts(prompts) if hasattr(model, "with_prompts") else model

    models = StageModels(
        tagger=made("tagger", stages.tagger),
        captioner=made("captioner", stages.captioner) if options.caption else None,
        language=made("language", stages.language),
        detector=made("detector", lambda uri: stages.detector(uri, recall=recall)),
        dense=made("dense", stages.dense),
    )
    return models, tuple(problems)
