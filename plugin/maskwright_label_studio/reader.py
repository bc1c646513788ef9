"""Label Studio's tasks as its JSON export and its API give them, read into what export and learning use."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import orjson

from maskwright.annotated import AnnotatedTask, Annotation, AnnotationKind
from maskwright.errors import InvalidInput
from maskwright.regions import Region
from maskwright_label_studio.body import RequestBody, read_body
from maskwright_label_studio.reader_images import TaskImages
from maskwright_label_studio.results import companion_labels, draws_mask, labels_of, result_to_region

_WHAT = "the task"
_NAME_AND_NUMBER = re.compile(r", ?(\d+)$")
_TIME_LENGTH = len("2026-11-21T02:46:43.910663Z")
_EXPORT_HINT = "export the project as 'JSON' in Label Studio (the first format of its Export window) and give that file"


@dataclass(frozen=True)
class LabelStudioReader:
    """Reads tasks of Label Studio's JSON export, and of ``GET /api/tasks?fields=all``; a ``TaskReader``.

    Attributes:
        label_config: The project's labelling configuration (XML). It says which field of a task holds which image.
            Without it every field that looks like images is one, under its own name.
        with_predictions: Whether the masks of predictions are read too; without them only their versions are.
    """

    label_config: str | None = None
    with_predictions: bool = True

    def __call__(self, document: bytes) -> AnnotatedTask:
        """Read the JSON text of one task.

        Masks have the size of the displayed image that their region tells (see ``results``), which may not be that of
        others on it. Regions with several labels keep the first.
        Shapes without pixels of their own (key points, text, choices, relations) and prompts that were left open are
        passed over.

        Raises:
            InvalidInput: If it is not a task with annotations, saying what it is instead.
        """
        body = read_body(document, _WHAT)
        task = _checked(body.document)
        annotations, drafts, predictions = (_objects(task, key) for key in ("annotations", "drafts", "predictions"))
        left = [item for a in (*_newest_first(annotations), *drafts) for item in _items(a)]
        proposed = [item for p in predictions for item in _items(p)]
        images = TaskImages.of(task["data"], self.label_config, left, proposed)
        versions = {_text(p.get("id")): _text(p.get("model_version")) for p in predictions}

        def read(document: Mapping[str, Any], position: int, origin: str) -> Annotation:
            return _annotation(document, position, origin, images, versions, body)

        return AnnotatedTask(
            project=_text(task.get("project")),
            key=_text(task.get("id")) or _fingerprint(task["data"]),
            data=task["data"],
            images=images.images,
            annotations=(
                *(read(a, n, "annotation") for n, a in enumerate(annotations)),
                *(read(d, n, "draft") for n, d in enumerate(drafts)),
            ),
            predictions=tuple(read(p, n, "prediction") for n, p in enumerate(predictions) if self.with_predictions),
        )

    def label_names(self, document: bytes) -> tuple[str, ...]:
        """The class names that the task's annotations and drafts use, in order of appearance, without making masks.

        Raises:
            InvalidInput: As :meth:`__call__`.
        """
        task = _checked(read_body(document, _WHAT).document)
        names: dict[str, None] = {}
        for key in ("annotations", "drafts"):
            for annotation in _objects(task, key):
                for _, _, labels in _drawn_items(annotation):
                    names |= dict.fromkeys(labels[:1])
        return tuple(names)


def _annotation(
    document: Mapping[str, Any],
    position: int,
    origin: str,
    images: TaskImages,
    versions: Mapping[str, str],
    body: RequestBody,
) -> Annotation:
    number = _text(document.get("id")) or f"number {position + 1}"
    is_prediction = origin == "prediction"
    version = _text(document.get("model_version")) if is_prediction else _version_before(document, versions)
    person = None if is_prediction else _person(document)
    regions: dict[int, list[Region]] = {}
    keys: set[str] = set()
    problems: list[str] = []
    if not isinstance(document.get("result"), list):
        problems.append(f"{origin} {number}: it comes without its 'result'; read the task with all of its fields")
    problems += (
        f"{origin} {number}, region {_text(item.get('id'))}: a vector path holds no pixels; draw it with PolygonLabels"
        for item in _items(document)
        if str(item.get("type")).startswith("vector")
    )
    for index, item, labels in _drawn_items(document):
        where = f"{origin} {number}, region {_text(item.get('id')) or f'number {index + 1}'}"
        try:
            place = images.place_of(item)
            region = result_to_region(
                item,
                label=labels[0] if labels else None,
                source="preannotation" if is_prediction else "person",
                person=person,
                model_version=version if is_prediction else None,
                body=body,
            )
        except InvalidInput as error:
            problems.append(f"{where}: {error}")
            continue
        if region is None or region.mask.is_empty:
            problems.append(f"{where}: it covers no pixel and is left out")
            continue
        if len(labels) > 1:
            problems.append(f"{where}: of its labels {', '.join(labels)} the first is kept")
        if item["value"].get("closed") is False:
            problems.append(f"{where}: its outline was left open and is taken as closed")
        if not region.key or region.key in keys:
            # Files made by hand may leave ids out or repeat them, and exports derive theirs from these.
            region = replace(region, key=f"{region.key}#{index + 1}")
        keys.add(region.key)
        regions.setdefault(place, []).append(region)
    return Annotation(
        key=number if origin == "annotation" else f"{origin}-{number}",
        person=person,
        kind=_kind(document, origin),
        created_at=_time(document.get("created_at")),
        updated_at=_time(document.get("updated_at")),
        lead_time=_seconds(document.get("lead_time")),
        model_version=version or None,
        is_ground_truth=document.get("ground_truth") is True,
        regions={place: tuple(found) for place, found in sorted(regions.items())},
        problems=tuple(dict.fromkeys(problems)),
    )


def _checked(document: dict[str, Any]) -> dict[str, Any]:
    """The task, if it is one."""
    if isinstance(document.get("data"), dict):
        if "annotations" in document or "drafts" in document or not document.get("predictions"):
            return document
        raise InvalidInput(f"this task holds predictions and no annotations, as files for import do; {_EXPORT_HINT}")
    if "images" in document and "categories" in document:
        raise InvalidInput(f"this is a COCO file and not a task of Label Studio; {_EXPORT_HINT}")
    if "annotation_id" in document or "annotator" in document:
        raise InvalidInput(f"this is of Label Studio's JSON_MIN export, which leaves regions out; {_EXPORT_HINT}")
    if "completions" in document:
        raise InvalidInput("this is of a Label Studio before 1.0; import it into a current one and export it again")
    raise InvalidInput(f"this is not a task of Label Studio: it has no 'data'; {_EXPORT_HINT}")


def _objects(task: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = task.get(key)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _items(annotation: Mapping[str, Any]) -> list[dict[str, Any]]:
    return _objects(annotation, "result")


def _newest_first(annotations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Submitted ones before skipped ones, then by their last change: what is superseded must not tell an image's size.

    Of those of one time the later in the list comes first, as where the one that counts is chosen.
    """
    order = [
        (a.get("was_cancelled") is not True, _time(a.get("updated_at")), _time(a.get("created_at")), n)
        for n, a in enumerate(annotations)
    ]
    return [annotations[n] for *_, n in sorted(order, reverse=True)]


def _drawn_items(annotation: Mapping[str, Any]) -> Iterator[tuple[int, dict[str, Any], list[str]]]:
    """Place, item and labels of everything that holds pixels."""
    items = _items(annotation)
    named = companion_labels(items)
    for index, item in enumerate(items):
        if draws_mask(item):
            yield index, item, labels_of(item) or named.get(str(item.get("id")), [])


def _kind(document: Mapping[str, Any], origin: str) -> AnnotationKind:
    if origin == "draft":
        return "draft"
    return "skipped" if document.get("was_cancelled") is True else "submitted"


def _person(document: Mapping[str, Any]) -> str | None:
    """Who made it, by number where one is told: under ``completed_by``; of drafts, behind a name (``ann@x.org, 7``)."""
    who = document.get("completed_by")
    if isinstance(who, dict):
        who = who.get("id") or who.get("email")
    if not (text := _text(who).strip()):
        named = _NAME_AND_NUMBER.search(_text(document.get("created_username")))
        text = named[1] if named is not None else _text(document.get("user")).strip()
    return text or None


def _version_before(document: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """Model version of the prediction that an annotation began from."""
    before = document.get("prediction")
    if isinstance(before, dict) and isinstance(before.get("model_version"), str):
        return str(before["model_version"])
    number = document.get("parent_prediction")
    if isinstance(number, dict):
        number = number.get("id")
    return versions.get(_text(number), "")


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return str(value) if type(value) is int else ""


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _time(value: object) -> str:
    """The time in UTC with microseconds, so that later is greater as text too; empty for what is no time."""
    if not isinstance(value, str):
        return ""
    if len(value) == _TIME_LENGTH and value.endswith("Z"):
        return value
    try:
        when = datetime.fromisoformat(value)
    except ValueError:
        return ""
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _fingerprint(data: Mapping[str, Any]) -> str:
    """A key for a task without a number, as in files made by hand."""
    text = orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
    return "data-" + hashlib.blake2b(text, digest_size=8).hexdigest()
