"""The tasks of a project that wait for a person, and the stored predictions that put them in order.

Only ``model_version`` and ``score`` of predictions make the order: uncertainty sampling and the data manager follow
those whose version is the project's own, lowest score first, null before all.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from maskwright_label_studio.client import ApiError, LabelStudioClient, number_filter
from maskwright_label_studio.tasks import Task

_WITHOUT_ANNOTATIONS = (
    number_filter("total_annotations", "equal", 0),
    number_filter("cancelled_annotations", "equal", 0),
)
_WITH_ANNOTATIONS = (number_filter("total_annotations", "greater", 0),)

log = logging.getLogger(__name__)


def waiting_tasks(client: LabelStudioClient, project: int) -> dict[int, Task]:
    """By number, the tasks that nobody has submitted or skipped, without their predictions."""
    return _listed(client, project, _WITHOUT_ANNOTATIONS)


def labelled_tasks(client: LabelStudioClient, project: int) -> dict[int, Task]:
    """By number, the tasks with an annotation that was not skipped."""
    return _listed(client, project, _WITH_ANNOTATIONS)


def unpredicted_tasks(client: LabelStudioClient, project: int, version: str) -> set[int]:
    """Numbers of the tasks without any prediction of that version."""
    lacking = {
        "filter": "filter:tasks:predictions_model_versions",
        "operator": "not_contains",
        "type": "List",
        "value": [version],
    }
    return set(_listed(client, project, (*_WITHOUT_ANNOTATIONS, lacking)))


def put_prediction(
    client: LabelStudioClient, project: int, task: int, prediction: Mapping[str, Any], *, regions_too: bool = False
) -> bool:
    """Store a prediction, or bring those that its version has stored already up to date.

    A task that a person has annotated or skipped meanwhile stays as it is.

    Args:
        client: Label Studio.
        project: The task's project.
        task: Its number.
        prediction: ``model_version``, ``score`` and ``result``.
        regions_too: Whether stored ones get the regions too, and not only the score.

    Returns:
        Whether it is there now; False where a person came first, or the task is gone.
    """
    document = client.whole_task(project, task)
    if document is None or Task.of(document).is_annotated:
        return False
    wanted = ("score", "result") if regions_too else ("score",)
    stored = _of_version(document, prediction["model_version"])
    for one in stored:
        if regions_too or one.get("score") != prediction["score"]:
            client.update_prediction(one["id"], **{name: prediction[name] for name in wanted})
    if not stored:
        client.create_prediction(task, **prediction)
    return True


def rescore(client: LabelStudioClient, project: int, task: int, version: str, score: float) -> bool:
    """Give the predictions of that version another score; whether there is one, and no person came first."""
    document = client.whole_task(project, task)
    if document is None or Task.of(document).is_annotated:
        return False
    stored = _of_version(document, version)
    for one in stored:
        if one.get("score") != score:
            client.update_prediction(one["id"], score=score)
    return bool(stored)


def follow_version(
    client: LabelStudioClient, project: int, version: str, name: str, credentials: Mapping[str, str]
) -> bool:
    """Make the project show and order by predictions of this version, of which one must be stored.

    A project's ``model_version`` means one of two things. Equal to the title of a connection it is *live*: a task that
    is opened shows what the backend answers now, whatever is stored, and new tasks are predicted as they are opened;
    but the order follows predictions whose version is that title, so a title such as "assistant" leaves the order to
    chance. Otherwise it is *stored*: exactly the predictions of that version are shown and make the order.

    A live project stays live: its connection is given the version as its title, whereupon Label Studio moves the
    project along. It costs the connection's title, as ``maskwright connect`` does, and is the only state in which
    people see the present model in every task and get the tasks in our order. A stored project is moved to the
    version if it shows one of this model's. Where a person chose other predictions, or none, that stands.

    Args:
        client: Label Studio.
        project: Its number.
        version: What the backend reports.
        name: Of the base model; versions of it begin so.
        credentials: This backend's own as fields of a connection: Label Studio forgets nothing, but checks a changed
            connection with those that came along.

    Returns:
        Whether the project shows this version now.
    """
    shown = client.project(project).get("model_version")
    if shown == version:
        return True
    if not shown:
        return False
    # Asking for the connections makes Label Studio ask the backend, whose answer tells which of them is ours.
    live = next((one for one in client.connections(project) if one.get("title") == shown), None)
    if live is not None and live.get("model_version") == version:
        wanted = {"url": live["url"], "project": project, "title": version, **credentials}
        try:
            client.patch(f"/api/ml/{live['id']}", wanted)
        except ApiError as error:
            log.warning("project %d shows stored predictions from now on: %s", project, error)
        if client.project(project).get("model_version") == version:
            return True
    elif live is not None or not re.fullmatch(rf"{re.escape(name)}(\+.*)?-[0-9a-f]{{8}}", str(shown)):
        log.info("project %d shows predictions of %r, which is left as it is", project, shown)
        return False
    client.update_project(project, model_version=version)
    return True


def _of_version(document: Mapping[str, Any], version: str) -> list[dict[str, Any]]:
    return [p for p in document.get("predictions") or () if p.get("model_version") == version]


def _listed(client: LabelStudioClient, project: int, where: Sequence[Mapping[str, Any]]) -> dict[int, Task]:
    found = (Task.of(document) for document in client.tasks(project, where=where))
    return {task.id: task for task in found if task.id is not None}
