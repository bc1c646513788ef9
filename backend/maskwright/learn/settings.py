"""How one project learns: what its owner chose, kept beside its corrections and changed at run time.

What is the same for a whole process (folders, device, address of the queue) is in ``maskwright.settings``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from maskwright.errors import InvalidInput
from maskwright.models.adapters.config import AdapterConfig

if TYPE_CHECKING:
    from maskwright.store.project_notes import ProjectNotes

NOTE = "learning"
_MOST, _LONGEST_S = 2**31 - 1, 366 * 86_400.0
"""Of whole numbers and of spans of time: what lies beyond can be neither kept as JSON nor waited for."""


class LearningSettings(BaseModel):
    """What a project's owner can choose; every field has a default that suits a project of some hundred images."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    mode: Literal["assisted", "semi-automatic", "automatic"] = Field(
        default="assisted",
        description="Who decides: people; people add what confident regions miss; people review a sample.",
    )
    accept_threshold: float = Field(
        default=0.9, ge=0, le=1, description="Expected IoU from which a region is accepted."
    )
    review_share: float = Field(
        default=0.1, ge=0, le=1, description="Share of automatic annotations that people look at."
    )
    acquisition: str = Field(default="hybrid", description="How the next images are chosen; 'random' for comparison.")
    corrections_per_round: int = Field(
        default=20, ge=0, le=_MOST, description="New corrections that start a round; 0 = never."
    )
    interval_s: float = Field(
        default=0.0, ge=0, le=_LONGEST_S, description="Seconds after which new corrections start a round; 0 = never."
    )
    debounce_s: float = Field(
        default=60.0, ge=0, le=_LONGEST_S, description="A round waits until no correction came for so many seconds."
    )
    held_out_share: float = Field(default=0.2, gt=0, lt=1, description="Share of images that a round is judged on.")
    group_field: str = Field(
        default="", max_length=200, description="Task field by which errors are reported, e.g. the scanner."
    )
    steps: int | None = Field(default=None, ge=1, le=_MOST, description="Most training steps; None = by the data.")
    seconds: float | None = Field(
        default=None, gt=0, le=_LONGEST_S, description="Most seconds of training; None = no limit."
    )
    adapter: dict[str, Any] | None = Field(default=None, description="What is trained; None = the family's own.")
    language_guidance: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="Weight of what words say in training; 0 = none. Needs an adapter that changes the image encoder.",
    )
    seed: int = Field(default=0, ge=0, le=_MOST, description="Of everything random.")

    @field_validator("acquisition")
    @classmethod
    def _known(cls, value: str) -> str:
        from maskwright.learn.acquisition.catalogue import NAMES

        if value not in NAMES:
            raise ValueError(f"write one of {', '.join(NAMES)}")
        return value

    @field_validator("adapter")
    @classmethod
    def _config(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is None:
            return None
        try:
            return AdapterConfig.from_json(value).to_json()
        except InvalidInput as error:
            raise ValueError(str(error)) from None

    @property
    def adapter_config(self) -> AdapterConfig | None:
        """What is trained, or None for the family's own."""
        return None if self.adapter is None else AdapterConfig.from_json(self.adapter)


def learning_settings(value: Mapping[str, Any]) -> LearningSettings:
    """Settings that somebody chooses, from JSON values.

    Raises:
        InvalidInput: Naming each field that is unknown or wrong, or those that do not go together.
    """
    found = _parsed(value)
    adapter = found.adapter_config
    # Left to the family, an adapter is the decoder's at first: every round would end with an error.
    if found.language_guidance and not (adapter is not None and adapter.may_change_encoder):
        if adapter is None:
            trained = "is left to the family, which may train the mask decoder only"
        else:
            trained = " of ".join(filter(None, (f"is of kind {adapter.kind!r}", ", ".join(adapter.targets))))
        raise InvalidInput(
            "the learning settings cannot be so: language_guidance shapes the image encoder, which the adapter leaves "
            f'as it is: it {trained}. Choose adapter {{"kind": "lora"}}, "conv-lora" or "both" with targets of the '
            "encoder, or language_guidance 0"
        )
    return found


def _parsed(value: Mapping[str, Any]) -> LearningSettings:
    try:
        return LearningSettings.model_validate(dict(value))
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}" for one in error.errors()
        )
        raise InvalidInput(f"the learning settings cannot be so: {told}") from None


def changed_settings(settings: LearningSettings, assignments: Mapping[str, str]) -> LearningSettings:
    """Settings with some fields changed, each given as text: a JSON value, or a bare word.

    Raises:
        InvalidInput: As for ``learning_settings``.
    """
    return learning_settings(settings.model_dump() | {name: _value(text) for name, text in assignments.items()})


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def read_learning(notes: ProjectNotes, project_id: int) -> LearningSettings:
    """The settings of a project; the defaults where nothing was chosen.

    Raises:
        InvalidInput: If what is kept names a field that is unknown or wrong.
    """
    value = notes.get(project_id, NOTE)
    # What was kept before a rule came can still be read, and changed.
    return LearningSettings() if value is None else _parsed(value)


def write_learning(notes: ProjectNotes, project_id: int, settings: LearningSettings) -> None:
    """Keep the settings of a project."""
    notes.put(project_id, NOTE, settings.model_dump(mode="json"))
