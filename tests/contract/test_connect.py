"""Connecting a project: the traps between the title, the model version, the webhook and its credentials."""

from __future__ import annotations

import base64

import pytest

from maskwright.errors import InvalidInput, Refused, Unreachable
from maskwright_label_studio.client import ApiError, LabelStudioClient
from maskwright_label_studio.connect import connect

BACKEND = "http://127.0.0.1:9090"
CONFIG = """<View><Image name="image" value="$image"/><BrushLabels name="brush" toName="image"><Label value="Cat"/>
</BrushLabels></View>"""


@pytest.fixture
def client(label_studio) -> LabelStudioClient:
    label_studio.project["label_config"] = CONFIG
    return LabelStudioClient.of_operator(label_studio.url, "0123456789abcdef0123456789abcdef01234567")


def test_the_connections_title_and_the_projects_version_are_the_model_version(label_studio, client):
    """Otherwise uncertainty sampling is a random order, and stored predictions are neither shown nor asked for."""
    made = connect(client, 1, BACKEND)
    (connection,) = label_studio.connections
    assert connection["title"] == label_studio.project["model_version"] == made.model_version == "oracle-1"
    assert made.warnings == ()


def test_a_new_model_version_moves_title_and_project_along(label_studio, client):
    connect(client, 1, BACKEND)
    label_studio.connections[0]["model_version"] = "oracle-2"
    assert connect(client, 1, BACKEND).model_version == "oracle-2"
    assert label_studio.connections[0]["title"] == label_studio.project["model_version"] == "oracle-2"


def test_a_project_that_shows_other_predictions_is_pointed_at_the_model(label_studio, client):
    label_studio.project["model_version"] = "imported"
    connect(client, 1, BACKEND)
    assert label_studio.project["model_version"] == "oracle-1"


def test_a_change_always_names_url_and_project(label_studio, client):
    """Without them Label Studio answers 500."""
    connect(client, 1, BACKEND)
    with pytest.raises(ApiError) as caught:
        client.patch(f"/api/ml/{label_studio.connections[0]['id']}", {"title": "x"})
    assert caught.value.remote_status == 500
    connect(client, 1, BACKEND, extra_params={"preannotate": False})
    assert label_studio.connections[0]["extra_params"] == {"preannotate": False}


def test_repeating_it_makes_no_second_connection_and_no_second_webhook(label_studio, client):
    first = connect(client, 1, BACKEND)
    second = connect(client, 1, BACKEND + "/")
    assert first == second
    assert len(label_studio.connections) == len(label_studio.webhooks) == 1


def test_what_deleted_connections_left_behind_is_cleaned_up(label_studio, client):
    label_studio.webhooks = [
        {"id": 90 + n, "url": BACKEND + "/webhook", "project": 1, "headers": {}, "actions": []} for n in range(3)
    ]
    connect(client, 1, BACKEND)
    assert len(label_studio.webhooks) == 1


def test_the_webhook_gets_the_credentials_that_label_studio_does_not_give_it_and_only_the_events_that_matter(
    label_studio, client
):
    connect(client, 1, BACKEND, username="ls", password="secret")
    (hook,) = label_studio.webhooks
    assert hook["headers"] == {"Authorization": "Basic " + base64.b64encode(b"ls:secret").decode()}
    assert hook["send_for_all_actions"] is False
    assert hook["send_payload"] is True
    assert "ANNOTATIONS_DELETED" in hook["actions"]
    (connection,) = label_studio.connections
    assert (connection["auth_method"], connection["basic_auth_user"]) == ("BASIC_AUTH", "ls")
    assert connection["is_interactive"] is True


def test_options_are_checked_before_anything_is_changed(label_studio, client):
    with pytest.raises(InvalidInput, match="polygon_tolerence"):
        connect(client, 1, BACKEND, extra_params={"polygon_tolerence": 3})
    assert label_studio.connections == []


def test_an_existing_connection_keeps_its_options_when_none_are_given(label_studio, client):
    connect(client, 1, BACKEND, extra_params={"preannotate": False})
    connect(client, 1, BACKEND)
    assert label_studio.connections[0]["extra_params"] == {"preannotate": False}


def test_a_refused_private_address_is_explained_in_one_sentence_with_the_setting(label_studio, client):
    label_studio.block_local_ip = True
    with pytest.raises(Refused, match="LABEL_STUDIO_ML_BLOCK_LOCAL_IP=false"):
        connect(client, 1, BACKEND)


def test_a_403_that_leaves_a_working_connection_without_webhook_is_recognised(label_studio, client):
    """With only the first of its two settings off, Label Studio answers 403 and yet keeps the connection."""
    label_studio.ssrf_protection = True
    made = connect(client, 1, BACKEND)
    assert made.webhook_id is None
    assert len(label_studio.connections) == 1
    (warning,) = made.warnings
    assert "LABEL_STUDIO_SSRF_PROTECTION_ENABLED" in warning


def test_a_backend_that_label_studio_cannot_use_is_an_error_although_the_call_succeeded(label_studio, client):
    label_studio.backend_state = "DI"
    with pytest.raises(Unreachable, match="cannot use the backend"):
        connect(client, 1, BACKEND)


def test_another_backend_before_ours_is_pointed_out(label_studio, client):
    label_studio.connections = [{"id": 0, "url": "http://other", "title": "other", "state": "CO", "model_version": "x"}]
    made = connect(client, 1, BACKEND)
    assert any("'other'" in warning for warning in made.warnings)


def test_a_configuration_without_place_for_masks_is_refused_before_connecting(label_studio, client):
    label_studio.project["label_config"] = '<View><Image name="i" value="$i"/></View>'
    with pytest.raises(InvalidInput, match="BrushLabels"):
        connect(client, 1, BACKEND)
    assert label_studio.connections == []


def test_a_wrong_token_is_named_as_the_fault(label_studio):
    client = LabelStudioClient.of_operator(label_studio.url, "f" * 40)
    with pytest.raises(Refused, match="token"):
        connect(client, 1, BACKEND)


def test_a_wrong_address_is_named_as_the_fault():
    client = LabelStudioClient.of_operator("http://127.0.0.1:1", "f" * 40)
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
        connect(client, 1, BACKEND)


def test_the_whole_refusal_of_a_connection_is_passed_on(recording):
    import httpx

    from maskwright_label_studio.transports import _detail

    recorded = recording("rest-exchanges")["exchanges"]["connect_bad_url"]
    assert "health check failed" in _detail(httpx.Response(recorded["status"], json=recorded["response"]))


def test_tasks_are_listed_page_by_page_in_order(label_studio, client):
    label_studio.tasks = {n: {"id": n} for n in (5, 3, 9, 12, 7)}
    assert [task["id"] for task in client.tasks(1, page_size=2)] == [3, 5, 7, 9, 12]
    assert [task["id"] for task in client.tasks(1, after=7, page_size=2)] == [9, 12]
