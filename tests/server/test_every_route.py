"""500 malformed requests to every route of the real application: no 500, no traceback, and it lives on."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskwright.server.app import create_app
from maskwright.server.metrics import Metrics
from maskwright.server.platforms import installed_platforms
from maskwright.server.serve import build_services
from maskwright.settings import Settings

CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="mask" toName="image"><Label value="Cat"/></BrushLabels>
<KeyPointLabels name="click" toName="image" smart="true"><Label value="Cat"/></KeyPointLabels>
<RectangleLabels name="box" toName="image" smart="true"><Label value="Cat"/></RectangleLabels></View>"""
REGION = {
    "id": "r1", "type": "keypointlabels", "from_name": "click", "to_name": "image", "is_positive": True,
    "original_width": 32, "original_height": 24, "image_rotation": 0,
    "value": {"x": 50.0, "y": 50.0, "width": 1.0, "keypointlabels": ["Cat"]},
}  # fmt: skip
ENVELOPE = {
    "tasks": [{"id": 1, "project": 1, "data": {"image": "/data/upload/1/a.png"}, "annotations": [], "predictions": []}],
    "project": "1.1795229145", "label_config": CONFIG, "schema": CONFIG, "hostname": "http://127.0.0.1:9",
    "access_token": "a" * 40, "extra_params": {"max_regions": 3}, "action": "ANNOTATION_CREATED",
    "annotation": {"id": 1, "result": [REGION]}, "task": {"id": 1, "data": {}},
    "params": {"login": None, "password": None, "context": {"result": [REGION]}},
}  # fmt: skip

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["", "$image", "1.1", "http://169.254.169.254/", "file:///etc/passwd", "\u202e", "null", -1, 10**30, "a" * 5000]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def places(value: object, path: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """The path of everything inside ``value``."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def replaced(path: tuple[object, ...], new: object, *, drop: bool) -> object:
    if not path:
        return new
    whole = json.loads(json.dumps(ENVELOPE))
    target = whole
    for key in path[:-1]:
        target = target[key]
    if drop:
        del target[path[-1]]
    else:
        target[path[-1]] = new
    return whole


ALMOST_RIGHT = st.builds(
    replaced, st.sampled_from(list(places(ENVELOPE))), VALUES, drop=st.booleans()
).map(lambda body: json.dumps(body).encode())  # fmt: skip
BODIES = ALMOST_RIGHT | VALUES.map(lambda body: json.dumps(body).encode()) | st.binary(max_size=60)
TYPES = st.sampled_from(
    ["application/json"] * 5 + ["text/plain", "application/x-www-form-urlencoded", "", "multipart/form-data"]
)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    chosen = Settings(
        _env_file=None, home=tmp_path_factory.mktemp("home"), model="classical", label_studio_url="http://127.0.0.1:9",
        label_studio_api_key="b" * 40, fetch_timeout_s=1, batch_deadline_s=2, offline=True,
    )  # fmt: skip
    metrics = Metrics()
    services = build_services(chosen, metrics)
    yield create_app(services, metrics, installed_platforms())
    services.jobs.close()
    services.assistant.close()


def routes(app: Flask) -> list[tuple[str, str]]:
    rules = app.url_map.iter_rules()
    return sorted((rule.rule, method) for rule in rules for method in (rule.methods or set()) - {"OPTIONS"})


def test_the_routes_of_label_studio_and_our_own_are_there(app):
    found = {rule for rule, _ in routes(app)}
    assert {"/", "/health", "/metrics", "/setup", "/predict", "/webhook", "/versions"} <= found


def check_one(client: FlaskClient, rule: str, method: str) -> None:
    @settings(max_examples=500, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(body=BODIES, content_type=TYPES)
    def check(body, content_type):
        answer = client.open(rule, method=method, data=body, content_type=content_type)
        # 502 and 503 say that something else does not answer; what we did wrong ourselves would be 500.
        assert answer.status_code != 500, answer.text
        assert "Traceback" not in answer.text

    check()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_500_malformed_requests_to_every_route_do_no_harm(app, caplog):
    caplog.set_level("CRITICAL")
    client = app.test_client()
    for rule, method in routes(app):
        check_one(client, rule, method)
    assert client.get("/health").status_code == 200
