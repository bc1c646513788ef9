"""Connecting, late predictions and every control against the real Label Studio."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from maskwright_label_studio.client import LabelStudioClient
from maskwright_label_studio.connect import Connection, connect
from maskwright_label_studio.results import results_to_regions

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]


CLICK = {
    "id": "click-1", "type": "keypointlabels", "from_name": "kp", "to_name": "image", "is_positive": True,
    "original_width": 320, "original_height": 240, "image_rotation": 0,
    "value": {"x": 55.0, "y": 50.0, "width": 0.3, "keypointlabels": ["Star"]},
}  # fmt: skip


def config_of(tag: str, image: str = '<Image name="image" value="$image"/>') -> str:
    return (
        f'<View>{image}<{tag} name="out" toName="image" smart="false"><Label value="Star"/></{tag}>'
        '<KeyPointLabels name="kp" toName="image" smart="true" smartonly="true"><Label value="Star"/></KeyPointLabels>'
        "</View>"
    )


@pytest.fixture
def client(label_studio: Any) -> LabelStudioClient:
    return LabelStudioClient.of_operator(label_studio.url, label_studio.token)


@pytest.fixture
def connected(client: LabelStudioClient, backend: Any) -> Callable[..., Connection]:
    def make(project: Any, **options: Any) -> Connection:
        made = connect(
            client,
            project.id,
            backend.url,
            username=backend.user,
            password=backend.password,
            extra_params=options or None,
        )
        project.connection = made.id
        return made

    return make


@pytest.fixture(scope="module")
def late_backend(start_backend: Callable[..., Any], label_studio: Any) -> Any:
    return start_backend(
        LABEL_STUDIO_URL=label_studio.url, LABEL_STUDIO_API_KEY=label_studio.token, BATCH_DEADLINE_S="0.001"
    )


def test_connecting_twice_leaves_one_connection_one_webhook_and_equal_names(
    make_project: Callable[..., Any], connected: Callable[..., Connection], client: LabelStudioClient, backend: Any,
    pictures: ModuleType,
) -> None:  # fmt: skip
    project = make_project({"star.png": pictures.star_on_texture()[0]})
    first = connected(project)
    assert connected(project) == first
    assert first.warnings == ()
    (connection,) = client.connections(project.id)
    assert connection["state"] == "CO"
    assert connection["is_interactive"] is True
    assert connection["title"] == connection["model_version"] == first.model_version
    assert client.project(project.id)["model_version"] == first.model_version
    (hook,) = client.webhooks(project.id)
    assert hook["url"] == f"{backend.url}/webhook"
    assert hook["headers"]["Authorization"].startswith("Basic ")
    assert hook["send_for_all_actions"] is False
    assert "ANNOTATIONS_DELETED" in hook["actions"]


def test_options_reach_the_backend_and_a_wrong_one_is_explained_by_label_studio(
    make_project: Callable[..., Any],
    connected: Callable[..., Connection],
    client: LabelStudioClient,
    backend: Any,
    pictures: ModuleType,
) -> None:
    project = make_project({"star.png": pictures.star_on_texture()[0]})
    made = connected(project, preannotate=False)
    project.retrieve_predictions()
    assert project.predictions() == []
    (connection,) = client.connections(project.id)
    wrong = {key: connection[key] for key in ("url", "project", "auth_method", "basic_auth_user")}
    wrong |= {"basic_auth_pass": backend.password, "extra_params": {"preanotate": True}}
    answer = project.api.patch(f"/api/ml/{made.id}", json=wrong)
    assert answer.status_code == 400
    assert "unknown key 'preanotate'" in answer.json()["validation_errors"]["non_field_errors"][0]


def test_uncertainty_sampling_shows_the_least_certain_task_first(
    make_project: Callable[..., Any],
    connected: Callable[..., Connection],
    client: LabelStudioClient,
    pictures: ModuleType,
) -> None:
    star = pictures.star_on_texture()[0]
    project = make_project({f"{n}.png": star for n in range(4)})
    client.update_project(project.id, sampling="Uncertainty sampling")
    made = connected(project)
    scores = dict(zip((task["id"] for task in project.tasks), (0.9, 0.2, 0.7, 0.1), strict=True))
    for task, score in scores.items():
        client.create_prediction(task, model_version=made.model_version, score=score, result=[])
    seen = []
    for _ in scores:
        task = project.api.get(f"/api/projects/{project.id}/next").json()["id"]
        project.api.post(f"/api/tasks/{task}/annotations/", json={"result": []}).raise_for_status()
        seen.append(task)
    assert seen == sorted(scores, key=lambda task: scores[task])


def test_what_is_late_is_posted_once_per_task_and_never_to_an_annotated_one(
    make_project: Callable[..., Any], client: LabelStudioClient, late_backend: Any, pictures: ModuleType
) -> None:
    star = pictures.star_on_texture()[0]
    project = make_project({f"{n}.png": star for n in range(5)})
    connect(client, project.id, late_backend.url, username=late_backend.user, password=late_backend.password)
    annotated = project.tasks[2]["id"]
    project.api.post(f"/api/tasks/{annotated}/annotations/", json={"result": []}).raise_for_status()
    project.retrieve_predictions()
    expected = {task["id"] for task in project.tasks} - {annotated}
    end = time.monotonic() + 120
    while {p["task"] for p in project.predictions()} != expected and time.monotonic() < end:
        time.sleep(0.5)
    found = project.predictions()
    assert sorted(p["task"] for p in found) == sorted(expected)
    assert all(0 <= p["score"] <= 1 for p in found)


def test_tasks_are_listed_from_any_task_on(
    make_project: Callable[..., Any], client: LabelStudioClient, pictures: ModuleType
) -> None:
    star = pictures.star_on_texture()[0]
    project = make_project({f"{n}.png": star for n in range(5)})
    ids = [task["id"] for task in project.tasks]
    assert [task["id"] for task in client.tasks(project.id, page_size=2)] == ids
    assert [task["id"] for task in client.tasks(project.id, after=ids[1], page_size=2)] == ids[2:]


@pytest.mark.parametrize("tag", ["BrushLabels", "BitmaskLabels", "PolygonLabels", "RectangleLabels", "EllipseLabels"])
def test_the_answer_of_every_control_is_stored_exported_and_read_back(
    make_project: Callable[..., Any], connected: Callable[..., Connection], client: LabelStudioClient,
    pictures: ModuleType, tag: str,
) -> None:  # fmt: skip
    data, _ = pictures.star_on_texture()
    project = make_project({"star.png": data}, config_of(tag))
    connected(project)
    task = project.tasks[0]["id"]
    answer = project.ask(task, [CLICK])["data"]
    assert answer["result"]
    assert {region["type"] for region in answer["result"]} == {tag.lower()}
    created = project.api.post(f"/api/tasks/{task}/annotations/", json={"result": answer["result"]})
    created.raise_for_status()
    (exported,) = client.export(project.id)
    (annotation,) = exported["annotations"]
    before, after = results_to_regions(answer["result"]), results_to_regions(annotation["result"])
    assert [region.mask for region in after] == [region.mask for region in before]
    assert before[0].label == after[0].label == "Star"


def test_the_image_of_a_value_list_that_was_clicked_is_the_one_that_answers(
    make_project: Callable[..., Any],
    connected: Callable[..., Connection],
    client: LabelStudioClient,
    pictures: ModuleType,
) -> None:
    star = pictures.star_on_texture()[0]
    uploads = [task["data"]["image"] for task in make_project({"a.png": star, "b.png": star}).tasks]
    config = config_of("BrushLabels", '<Image name="image" valueList="$pages"/>')
    project = client.create_project(f"pages {secrets.token_hex(4)}", config)
    (task,) = client.import_tasks(project["id"], [{"pages": uploads}])

    class Pages:
        id = project["id"]

    made = connected(Pages)
    client.retrieve_predictions(project["id"])
    (prediction,) = client.predictions(task=task)
    assert prediction["model_version"] == made.model_version
    body = {"task": task, "context": {"result": [CLICK | {"item_index": 1}]}}
    answer = client.post(f"/api/ml/{made.id}/interactive-annotating", body)
    assert [region["item_index"] for region in answer["data"]["result"]] == [1]
