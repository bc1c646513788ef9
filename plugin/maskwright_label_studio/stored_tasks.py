"""Label Studio's JSON as records of the corrections store, without reading the run lengths of masks.

What the API and the webhook of 1.23.2 tell of one annotation differs in a few fields, and one of them, ``created_ago``
("5 minutes"), differs with every reading. The documents kept are what both have in common, written in one way, so
that the same state is the same bytes wherever it came from:

* only in the API: ``created_ago``, ``created_username`` (an address and the number that ``completed_by`` holds too);
* only in the webhook and in exports: ``unique_id``, ``result_count``, and ``prediction``, a copy of the prediction of
  the project's model version at the moment of saving, stored as a proposal of its own.

``parent_prediction`` is the number of the prediction that the editor began from (its model version stands in the
prediction); it becomes null, without a new ``updated_at``, when that prediction is deleted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from maskwright.errors import InvalidInput
from maskwright.store.records import Proposal, Stored, TaskState
from maskwright_label_studio.body import RequestBody, read_body

_NOT_KEPT = frozenset({"created_ago", "created_username", "unique_id", "result_count", "prediction"})
_NOT_KEPT_OF_DRAFTS = frozenset({"created_ago"})
_NOT_KEPT_OF_PREDICTIONS = frozenset({"created_ago"})
_IN_NUMBERS = b"0123456789-+.eE,"


class Documents:
    """A JSON object of which parts are written again, the long arrays of run lengths unread.

    Args:
        data: The JSON text.
        what: What messages call it.

    Attributes:
        top: The object. Arrays under ``rle`` may be missing from it; ``text`` puts them back.

    Raises:
        InvalidInput: If it is not a JSON object.
    """

    def __init__(self, data: bytes, what: str) -> None:
        body = read_body(data, what)
        arrays = [array.translate(None, b" \t\r\n") for array in body.arrays]
        whole = not _stand_where_they_were(body, arrays) if arrays else False
        self.top: dict[str, Any] = orjson.loads(data) if whole else body.document
        self._arrays = [] if whole else [orjson.Fragment(array) for array in arrays]

    def text(self, part: Mapping[str, Any], without: frozenset[str] = frozenset()) -> bytes:
        """A part of ``top`` as JSON, some of its fields left out, its keys in order of the alphabet.

        Raises:
            InvalidInput: If it is nested too deeply.
        """
        kept = {key: part[key] for key in sorted(part) if key not in without}
        try:
            return orjson.dumps(self._restored(kept) if self._arrays else kept, option=orjson.OPT_SORT_KEYS)
        except (orjson.JSONEncodeError, RecursionError) as error:
            raise InvalidInput("a document is nested too deeply to be stored") from error

    def _restored(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: self._arrays[found] if key == "rle" and type(found) is int else self._restored(found)
                for key, found in value.items()
            }
        return [self._restored(item) for item in value] if isinstance(value, list) else value


def task_states(documents: Documents, drafts: Mapping[int, Documents]) -> list[TaskState]:
    """The tasks of a page of ``GET /api/tasks?fields=all`` with everything on them.

    Args:
        documents: The page.
        drafts: Of the tasks that have drafts: ``{"drafts": [...]}``, the drafts of everyone.

    Raises:
        InvalidInput: If a task is not one; the message names it.
    """
    states = []
    for task in _objects(documents.top, "tasks"):
        number = number_of(task, "a task")
        try:
            states.append(_task_state(documents, task, number, drafts.get(number)))
        except InvalidInput as error:
            raise InvalidInput(f"task {number}: {error}") from None
    return states


def event_state(documents: Documents) -> TaskState | None:
    """What an event tells of its annotation and task, or None where it does not hold a complete annotation.

    The task is given without its time: what the event does not tell of it (other annotations, drafts) is not known,
    so a later comparison must not take it for read.

    Raises:
        InvalidInput: If the annotation is malformed.
    """
    annotation, task = documents.top.get("annotation"), documents.top.get("task")
    if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
        return None
    data = task.get("data") if isinstance(task, dict) else None
    proposal = annotation.get("prediction")
    proposals = [proposal] if isinstance(proposal, dict) and type(proposal.get("id")) is int else []
    return TaskState(
        number=number_of({"id": annotation.get("task")}, "the annotation's task"),
        data=documents.text(data) if isinstance(data, dict) else None,
        annotations=(_annotation(documents, annotation, _versions(proposals)),),
        proposals=tuple(_proposal(documents, one) for one in proposals),
        created_at=_text(task.get("created_at")) if isinstance(task, dict) else "",
    )


def number_of(document: Mapping[str, Any], what: str) -> int:
    """The number under ``id``.

    Raises:
        InvalidInput: If there is none.
    """
    number = document.get("id")
    if type(number) is not int:
        raise InvalidInput(f"{what} has no number")
    return number


def _task_state(
    documents: Documents, task: Mapping[str, Any], number: int, drafts: Documents | None
) -> TaskState:  # fmt: skip
    data = task.get("data")
    if not isinstance(data, dict):
        raise InvalidInput("it has no 'data'")
    predictions = list(_objects(task, "predictions"))
    versions = _versions(predictions)
    annotations = [_annotation(documents, one, versions) for one in _objects(task, "annotations")]
    if drafts is not None:
        annotations += [_draft(drafts, one) for one in _objects(drafts.top, "drafts")]
    return TaskState(
        number=number,
        data=documents.text(data),
        updated_at=_text(task.get("updated_at")),
        annotations=tuple(annotations),
        proposals=tuple(_proposal(documents, one) for one in predictions),
        complete=True,
        created_at=_text(task.get("created_at")),
    )


def _annotation(documents: Documents, document: Mapping[str, Any], versions: Mapping[int, str]) -> Stored:
    proposal = document.get("parent_prediction")
    proposal = proposal if type(proposal) is int else None
    return Stored(
        number=number_of(document, "an annotation"),
        kind="skipped" if document.get("was_cancelled") is True else "submitted",
        person=_person(document.get("completed_by")),
        created_at=_text(document.get("created_at")),
        updated_at=_text(document.get("updated_at")),
        document=documents.text(document, _NOT_KEPT),
        lead_time=_seconds(document.get("lead_time")),
        proposal_number=proposal,
        model_version=None if proposal is None else versions.get(proposal),
    )


def _draft(documents: Documents, document: Mapping[str, Any]) -> Stored:
    # A draft names its author by address, and "address, number" for display; annotations name theirs by number.
    number = _text(document.get("created_username")).rpartition(", ")[2]
    return Stored(
        number=number_of(document, "a draft"),
        kind="draft",
        person=number if number.isascii() and number.isdigit() else _person(document.get("user")),
        created_at=_text(document.get("created_at")),
        updated_at=_text(document.get("updated_at")),
        document=documents.text(document, _NOT_KEPT_OF_DRAFTS),
        lead_time=_seconds(document.get("lead_time")),
    )


def _proposal(documents: Documents, document: Mapping[str, Any]) -> Proposal:
    return Proposal(
        number=number_of(document, "a prediction"),
        model_version=_text(document.get("model_version")),
        document=documents.text(document, _NOT_KEPT_OF_PREDICTIONS),
        updated_at=_text(document.get("updated_at")),
    )


def _versions(predictions: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    named = ((one.get("id"), one.get("model_version")) for one in predictions)
    return {number: version for number, version in named if type(number) is int and isinstance(version, str)}


def _objects(document: Mapping[str, Any], key: str) -> Iterator[dict[str, Any]]:
    found = document.get(key)
    if found is None:
        return
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InvalidInput(f"{key!r} is not a list of objects")
    yield from found


def _person(value: Any) -> str | None:
    if isinstance(value, dict):
        value = value.get("id") or value.get("email")
    return str(value) if type(value) is int or (isinstance(value, str) and value) else None


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _stand_where_they_were(body: RequestBody, arrays: Sequence[bytes]) -> bool:
    """Whether every place number under ``rle`` stands for its array: a document may hold such a number itself."""
    if not all(array[:1] == b"[" and not array[1:-1].strip(_IN_NUMBERS) for array in arrays):
        return False
    places = iter(range(len(arrays)))
    return _in_order(body.document, places) and next(places, None) is None


def _in_order(value: Any, places: Iterator[int]) -> bool:
    # In the order of the text, and without recursion: documents may be nested as deeply as the parser allows.
    waiting: list[Iterator[tuple[Any, Any]]] = [_parts(value)]
    while waiting:
        for key, found in waiting[-1]:
            if key == "rle" and type(found) is int:
                if next(places, None) != found:
                    return False
            elif type(found) is dict or type(found) is list:
                waiting.append(_parts(found))
                break
        else:
            waiting.pop()
    return True


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    if type(value) is dict:
        return iter(value.items())
    return ((None, part) for part in value if type(part) is dict or type(part) is list)
