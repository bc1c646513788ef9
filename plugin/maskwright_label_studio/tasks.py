"""What of a /predict request matters, whatever else the platform puts beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maskwright.errors import InvalidInput
from maskwright_label_studio.body import RequestBody
from maskwright_label_studio.config import LabelingConfig, parse_config


@dataclass(frozen=True)
class Task:
    """One task of a request or of the API.

    Attributes:
        id: Its number, or None for a hand-made request without one.
        data: Its data; image tags say which keys matter.
        is_annotated: Whether a person submitted or skipped it.
        prediction_versions: Model versions of its stored predictions.
    """

    id: int | None
    data: Mapping[str, Any]
    is_annotated: bool
    prediction_versions: frozenset[str]

    @classmethod
    def of(cls, document: object) -> Task:
        """Read a task. ``file_upload`` (a number in batch, a name with clicks) and all else is ignored.

        Raises:
            InvalidInput: If it is not an object with an object under ``data``.
        """
        if not isinstance(document, dict) or not isinstance(document.get("data"), dict):
            raise InvalidInput("a task must be an object with an object under 'data'")
        number = document.get("id")
        predictions = document.get("predictions")
        stored = [p for p in predictions if isinstance(p, dict)] if isinstance(predictions, list) else []
        versions = [p.get("model_version") for p in stored]
        return cls(
            id=number if type(number) is int else None,
            data=document["data"],
            is_annotated=bool(document.get("annotations") or document.get("is_labeled"))
            or any(_positive(document.get(key)) for key in ("total_annotations", "cancelled_annotations")),
            prediction_versions=frozenset(v for v in versions if isinstance(v, str)),
        )


@dataclass(frozen=True)
class PredictRequest:
    """A /predict request.

    Attributes:
        tasks: As sent; each is read on its own, so that a bad one costs one answer.
        project_key: ``<id>.<seconds>``.
        config: The labelling configuration.
        config_text: As sent.
        context: What the annotator pointed at; None in batch, where the key comes with null or an empty object.
        body: For run lengths that were skipped.
    """

    tasks: tuple[object, ...]
    project_key: str
    config: LabelingConfig
    config_text: str
    context: Mapping[str, Any] | None
    body: RequestBody

    @property
    def is_click(self) -> bool:
        """Whether an annotator waits for an answer to a prompt."""
        return self.context is not None and "result" in self.context

    @classmethod
    def of(cls, body: RequestBody) -> PredictRequest:
        """Read a request.

        Raises:
            InvalidInput: If a field is missing or of another type.
        """
        document = body.document
        tasks, text = document.get("tasks"), document.get("label_config")
        params = document.get("params")
        if not isinstance(tasks, list):
            raise InvalidInput("'tasks' must be a list")
        if not isinstance(text, str):
            raise InvalidInput("'label_config' must be the labelling configuration as text")
        context = params.get("context") if isinstance(params, dict) else None
        if context is not None and not isinstance(context, dict):
            raise InvalidInput("'params.context' must be an object or null")
        return cls(tuple(tasks), project_key(document.get("project")), parse_config(text), text, context or None, body)


def project_key(value: object) -> str:
    """The key of a project, ``<id>.<seconds>``; empty for a hand-made request without one.

    Raises:
        InvalidInput: If it is not short text.
    """
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or len(value) > 100:
        raise InvalidInput("'project' must be the project's key as text")
    return value


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and value > 0
