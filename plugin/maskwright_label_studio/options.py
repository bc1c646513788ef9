"""What a project may set for itself: the ``extra_params`` of its connection to this backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from types import MappingProxyType
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from maskwright.assist.suggestion.values import StageOptions
from maskwright.errors import InvalidInput
from maskwright.models.language.prompt_sets import PromptSet

Share = Annotated[float, Field(ge=0, le=1)]


class ProjectOptions(BaseModel):
    """Options of one project, over the server's settings. Unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: str | None = Field(default=None, max_length=500, description="Model URI instead of the server's default.")
    preannotate: bool = Field(default=True, description="Whether tasks are pre-annotated; clicks work either way.")
    score_threshold: Share | None = Field(default=None, description="Least confidence of a pre-annotated region.")
    class_thresholds: dict[str, Share] = Field(default={}, max_length=10_000, description="The same for single labels.")
    min_area: int | None = Field(
        default=None, ge=0, le=10**9, description="Least area of a pre-annotated region in pixels."
    )
    max_regions: int | None = Field(default=None, ge=1, le=10_000, description="Most regions per image.")
    polygon_tolerance: float = Field(
        default=1.0, ge=0, le=1000, description="Pixels that a polygon may stray from the mask."
    )
    polygon_max_vertices: int = Field(default=500, ge=4, le=10_000, description="Most vertices of one polygon.")
    polygon_parts: Literal["split", "bridge"] = Field(
        default="split",
        description="Several parts become several regions (split) or one region joined by seams (bridge).",
    )
    window_level: float | None = Field(default=None, description="Centre of the grey values shown, for 16-bit images.")
    window_width: float | None = Field(
        default=None, gt=0, description="Range of the grey values shown, for 16-bit images."
    )
    output: str | None = Field(default=None, max_length=500, description="Name of the control that answers go to.")
    tagger: str | None = Field(default=None, max_length=500, description="Tagger's URI instead of the server's.")
    captioner: str | None = Field(default=None, max_length=500, description="Captioner's URI instead of the server's.")
    language: str | None = Field(
        default=None, max_length=500, description="Language model's URI instead of the server's."
    )
    detector: str | None = Field(default=None, max_length=500, description="Detector's URI instead of the server's.")
    dense: str | None = Field(
        default=None, max_length=500, description="URI of the dense features instead of the server's."
    )
    suggestions: StageOptions | None = Field(
        default=None, description="How classes are suggested, looked for and checked; given, it is done in stages."
    )
    phrases: Literal["text4seg"] | None = Field(
        default=None,
        description="text4seg: the language model finds what phrases name, instead of detector or classifier.",
    )
    find_similar: bool = Field(
        default=False, description="Whether pre-annotations show what looks like the regions corrected last."
    )

    @model_validator(mode="after")
    def _window_is_whole(self) -> ProjectOptions:
        if (self.window_level is None) != (self.window_width is None):
            raise ValueError("give window_level and window_width together, or neither")
        return self

    @model_validator(mode="after")
    def _prompts_are_known(self) -> ProjectOptions:
        if self.suggestions is not None:
            PromptSet(self.suggestions.domain, self.suggestions.prompts)
        return self


_WRITE = MappingProxyType(
    dict.fromkeys(("tuple_type", "list_type"), "write a list")
    | dict.fromkeys(("dict_type", "mapping_type", "dataclass_type"), "write an object")
)
"""What JSON calls what pydantic names by types of Python."""
DEFAULT_OPTIONS = ProjectOptions()


def parse_options(value: object) -> ProjectOptions:
    """Read ``extra_params``: null, an object, or an object as JSON text (the form in the web interface sends text).

    Raises:
        InvalidInput: Naming the first key that is wrong and the keys there are.
    """
    if isinstance(value, str) and value.strip():
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise InvalidInput('extra_params is not JSON; write an object such as {"preannotate": false}') from error
    if value is None or value == "":
        return ProjectOptions()
    if not isinstance(value, Mapping):
        raise InvalidInput("extra_params must be a JSON object")
    return _validated(dict(value))


def _validated(value: dict[str, Any]) -> ProjectOptions:
    try:
        return ProjectOptions.model_validate(value)
    except InvalidInput as error:
        raise InvalidInput(f"extra_params 'suggestions': {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            is_nested = len(first["loc"]) > 1
            known = ", ".join(
                [field.name for field in fields(StageOptions)] if is_nested else ProjectOptions.model_fields
            )
            raise InvalidInput(f"extra_params has an unknown key {key!r}; known keys: {known}") from error
        words = _WRITE.get(first["type"], first["msg"])
        raise InvalidInput(f"extra_params {key!r}: {words}" if key else f"extra_params: {words}") from error
