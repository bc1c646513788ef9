"""Requests that are almost right: recorded ones with anything in any place. No 5xx but those that say why."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskwright_label_studio.results import results_to_regions

SHARED = Path(__file__).resolve().parents[3] / "shared" / "reference" / "label-studio-payloads"
ROUTES = {
    "setup": "/setup",
    "predict-batch-two-tasks": "/predict",
    "predict-interactive-ui-keypoint-3": "/predict",
    "predict-interactive-ui-rectangle": "/predict",
    "webhook-annotation-created": "/webhook",
    "webhook-annotations-deleted": "/webhook",
}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path] * bool(path) + [place for key, child in children for place in places(child, (*path, key))]


@pytest.mark.parametrize("name", ROUTES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_anything_in_any_place_is_answered_or_refused(backend, payload, name, data):
    body = copy.deepcopy(payload(name))
    body["extra_params"] = None
    where = data.draw(st.sampled_from(places(body)), label="where")
    node = body
    for key in where[:-1]:
        node = node[key]
    node[where[-1]] = data.draw(ANYTHING, label="what")
    try:
        text = orjson.dumps(body)
    except (TypeError, orjson.JSONEncodeError):
        return
    response = backend.http.post(ROUTES[name], data=text, content_type="application/json")
    assert response.status_code < 500 or response.status_code in (502, 503), response.data
    assert b"Traceback" not in response.data
    if ROUTES[name] == "/predict" and response.status_code == 200:
        results = response.json["results"]
        assert None not in results
        assert all(isinstance(item.get("score"), float) for item in results if isinstance(item, dict))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the recordings beside the repository are not here")
def test_every_request_on_record_is_answered(backend):
    answered = 0
    for file in sorted(SHARED.glob("*.json")):
        request = orjson.loads(file.read_bytes()).get("request")
        if request is None or request["method"] != "POST":
            continue
        body = request["body"] | ({"extra_params": None} if request["path"] == "/setup" else {})
        response = backend.http.post(request["path"], json=body)
        assert response.status_code == 200, (file.name, response.data)
        for annotation in [body.get("annotation") or {}]:
            results_to_regions(annotation.get("result") or [])
        answered += 1
    assert answered >= 15
