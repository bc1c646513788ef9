"""/setup and /versions as recorded."""

from __future__ import annotations

import logging
import time

import pytest

from maskwright_label_studio.projects import MAX_PROJECTS


def test_setup_on_every_page_load_loads_nothing_and_contacts_nobody(make_backend, label_studio, payload):
    backend = make_backend(model="sam:/nowhere")
    body = payload("setup") | {"extra_params": None}
    answers = [backend.http.post("/setup", json=body) for _ in range(50)]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.data for answer in answers}) == 1
    assert label_studio.requests == []
    assert backend.oracle.preannotated == backend.oracle.prompts == []


def test_setup_of_the_real_assistant_is_far_from_three_seconds_and_loads_no_model(tmp_path, payload):
    from maskwright.assist.assistant import Assistant
    from maskwright.assist.jobs import BackgroundJobs
    from maskwright.assist.services import Services
    from maskwright.labels import LabelSet
    from maskwright.server.app import create_app
    from maskwright.server.metrics import Metrics
    from maskwright.settings import Settings
    from maskwright_label_studio.platform import PLATFORM

    settings = Settings(_env_file=None, home=tmp_path, model="sam:some/model", offline=True)
    assistant, jobs, metrics = Assistant(settings), BackgroundJobs(), Metrics()
    app = create_app(Services(settings, assistant, jobs, metrics.observe), metrics, [PLATFORM])
    assistant.model_version(LabelSet(()))  # what the server does before it listens: libraries take seconds to import
    started = time.monotonic()
    answer = app.test_client().post("/setup", json=payload("setup") | {"extra_params": None})
    assert answer.status_code == 200
    assert time.monotonic() - started < 3.0
    assert assistant.health()["load_count"] == 0
    assistant.close()
    jobs.close()


def test_a_token_that_does_not_work_does_not_fail_setup(make_backend, payload):
    """On a default install the token of /setup is refused by Label Studio; the operator's key is used."""
    backend = make_backend()
    body = payload("setup") | {"extra_params": None, "access_token": "f" * 40, "hostname": "http://localhost:1"}
    assert backend.http.post("/setup", json=body).status_code == 200
    predict = payload("predict-batch-two-tasks")
    assert all(item["result"] for item in backend.results(predict))


def test_without_any_token_images_fail_with_advice_and_setup_still_works(make_backend, payload, caplog):
    backend = make_backend(label_studio_api_key="")
    assert backend.http.post("/setup", json=payload("setup") | {"extra_params": None}).status_code == 200
    assert backend.results(payload("predict-single-task-open")) == [[]]
    assert "MASKWRIGHT_LABEL_STUDIO_API_KEY" in caplog.text


def test_setup_and_predict_name_the_same_model_version(backend, payload):
    """Or Label Studio asks for, and stores, another prediction with every page load."""
    version = backend.http.post("/setup", json=payload("setup") | {"extra_params": None}).json["model_version"]
    assert {item["model_version"] for item in backend.results(payload("predict-batch-two-tasks"))} == {version}
    assert backend.http.get("/versions").json == {"versions": [version]}


def test_setup_calls_the_configuration_schema_and_predict_calls_it_label_config(backend, payload):
    assert "schema" in payload("setup")
    assert "label_config" not in payload("setup")
    assert "label_config" in payload("predict-batch-two-tasks")
    assert "schema" not in payload("predict-batch-two-tasks")
    assert backend.http.post("/setup", json=payload("setup-basic-auth")).json["model_version"]


def test_an_unknown_option_is_refused_by_name(backend, payload):
    answer = backend.http.post("/setup", json=payload("setup"))
    assert answer.status_code == 400
    assert "'a'" in answer.status, "the reason phrase becomes the error message of the connection"
    assert "polygon_tolerance" in answer.json["error"], "the message lists what there is"


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"score_threshold": 2}, "score_threshold"),
        ({"class_thresholds": {"Cat": "high"}}, "class_thresholds.Cat"),
        ({"polygon_parts": "melt"}, "polygon_parts"),
        ({"window_level": 3}, "window_width"),
        ({"max_regions": 0}, "max_regions"),
        ('{"preannotate": "perhaps"}', "preannotate"),
        ("{", "extra_params"),
        ([1], "extra_params"),
    ],
)
def test_a_wrong_option_is_refused_by_name(backend, payload, params, named):
    answer = backend.http.post("/setup", json=payload("setup") | {"extra_params": params})
    assert answer.status_code == 400
    assert named in answer.status


def test_options_may_come_as_text_from_the_web_form(backend, payload):
    answer = backend.http.post("/setup", json=payload("setup") | {"extra_params": '{"preannotate": false}'})
    assert answer.status_code == 200
    assert backend.results(payload("predict-batch-two-tasks")) == [[], []]


def test_a_project_without_configuration_can_be_connected(backend):
    answer = backend.http.post("/setup", json={"project": "1.1", "schema": "<View></View>", "extra_params": None})
    assert answer.status_code == 200
    assert answer.json["model_version"]


def test_a_configuration_without_place_for_masks_is_refused_with_what_is_missing(backend):
    image = '<Image name="i" value="$i"/>'
    for rest in (
        '<Choices name="c" toName="i"><Choice value="a"/></Choices>',
        '<KeyPointLabels name="k" toName="i"><Label value="a"/></KeyPointLabels>',
    ):
        refused = backend.http.post("/setup", json={"project": "1.1", "schema": f"<View>{image}{rest}</View>"})
        assert refused.status_code == 400
        assert "BrushLabels" in refused.status


def test_the_token_is_neither_logged_nor_written_to_disk(backend, payload, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    token = "deadbeef" * 5
    backend.http.post("/setup", json=payload("setup") | {"extra_params": None, "access_token": token})
    backend.results(payload("predict-batch-two-tasks"))
    assert token not in caplog.text
    assert all(token.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_the_number_of_remembered_projects_is_bounded(backend, payload):
    from maskwright_label_studio.projects import Project, ProjectMemory

    memory = ProjectMemory()
    for number in range(MAX_PROJECTS + 10):
        memory.remember(Project(f"{number}.1", model_version=str(number)))
    assert len(memory.versions()) == MAX_PROJECTS
    assert memory.versions()[0] == str(MAX_PROJECTS + 9)


def test_versions_answers_a_list_even_before_any_project_came(backend):
    assert backend.http.get("/versions").json == {"versions": []}


@pytest.mark.parametrize("route", ["/setup", "/predict", "/webhook"])
@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"{", b'"x"', b"\xff", b'{"project": []}', b"{}", b'{"tasks": 3}']
)
def test_malformed_bodies_are_4xx_and_never_5xx(backend, route, body):
    response = backend.http.post(route, data=body, content_type="application/json")
    assert response.status_code < 500
