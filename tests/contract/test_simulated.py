"""The simulated project asks as the real Label Studio was recorded to ask, and the server answers it as that."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from werkzeug.serving import make_server

from maskwright.errors import Unreachable
from maskwright.labels import LabelSet
from maskwright.learn.clicker import Click
from maskwright.learn.simulate.annotator import annotate
from maskwright.masks import Mask
from maskwright.regions import Provenance, Region
from maskwright_label_studio.reader import LabelStudioReader
from maskwright_label_studio.simulated import SERVER, SimulatedProject

CREDENTIALS = ("simulated", "a password")
LABELS = LabelSet.of(["Cat", "Dog"])


@pytest.fixture
def images(tmp_path, label_studio):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a picture.png").write_bytes(label_studio.image)
    return tmp_path / "pictures"


@pytest.fixture
def served(make_backend, images):
    """The backend with credentials on a socket, and where."""
    backend = make_backend(
        username=CREDENTIALS[0], password=CREDENTIALS[1], local_files_root=images, label_studio_url="",
        label_studio_api_key="",
    )  # fmt: skip
    server = make_server("127.0.0.1", 0, backend.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield backend, f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()


@pytest.fixture
def project(served, monkeypatch):
    """A project over HTTP that notes what it sends under ``sent``: (path, body)."""
    made = SimulatedProject(served[1], CREDENTIALS, 3, LABELS, {7: ("a picture.png", (240, 320))})
    made.sent = []
    post = SimulatedProject._post

    def noted(self, path, body):
        self.sent.append((path, body))
        return post(self, path, body)

    monkeypatch.setattr(SimulatedProject, "_post", noted)
    yield made
    made.close()


def assert_recorded(ours, recorded, where=""):
    """Everything that we send was sent by the real one, in the same place and of the same kind."""
    if isinstance(ours, dict) and isinstance(recorded, dict):
        for key, value in ours.items():
            assert key in recorded, f"{where}/{key} was never seen"
            assert_recorded(value, recorded[key], f"{where}/{key}")
    elif isinstance(ours, list) and isinstance(recorded, list):
        for value in ours[:1] if recorded else ():
            assert_recorded(value, recorded[0], f"{where}[]")
    elif ours is not None and recorded is not None:
        kinds = {int: float, bool: bool}
        assert kinds.get(type(ours), type(ours)) is kinds.get(type(recorded), type(recorded)), where


def test_setup_predict_and_events_look_as_recorded(project, payload):
    project.connect()
    (proposed,) = project.open(7)
    project.click(7, [Click(10, 20, 1), Click(30, 20, 1), Click(50, 60, 0)], "Cat")
    project.submit(7, [proposed], 12.5)
    project.start_training()
    paths = [path for path, _ in project.sent]
    assert paths == ["/setup", "/predict", "/predict", "/webhook", "/webhook"]
    setup, opened, clicked, created, training = (body for _, body in project.sent)
    assert_recorded(setup, payload("setup"))
    assert_recorded(opened, payload("predict-single-task-open"))
    clicked["tasks"][0]["predictions"] = []  # recorded with none
    assert_recorded(clicked, payload("predict-interactive-ui-keypoint-3"))
    created["annotation"]["prediction"] = {}  # likewise
    assert_recorded(created, payload("webhook-annotation-created-brush-accepted-in-ui"))
    assert_recorded(training, payload("webhook-start-training"))
    flags = [item["is_positive"] for item in clicked["params"]["context"]["result"]]
    assert flags == [True, True, False]


def test_the_server_reads_the_clicks_where_they_were_made(project, served):
    oracle = served[0].oracle
    project.open(7)
    region = project.click(7, [Click(10, 20, 1), Click(30.0, 5, 0)], "Dog")
    np.testing.assert_allclose(oracle.prompts[-1].point_coords, [(10.5, 20.5), (30.5, 5.5)])
    assert oracle.prompts[-1].point_labels.tolist() == [1, 0]
    assert oracle.asked[-1]["label"] == "Dog"
    assert (region.mask, region.label) == (oracle.mask, "Dog")


def test_the_store_gets_the_correction_with_the_prediction_that_it_began_from(project, served):
    backend, _ = served
    truth = Region(backend.oracle.mask, "Dog", 1.0, Provenance("import"))
    version = project.connect()
    labour = annotate(project, 7, [truth])
    assert (labour.accepted, labour.relabelled, labour.clicks) == (1, 1, 0)
    store = backend.services.store()
    (row,) = store.projects()
    assert (row.platform, row.server, row.number) == (project.platform, SERVER, 3)
    (document,) = store.task_documents(row.id)
    task = LabelStudioReader(project.label_config)(document)
    (annotation,) = task.annotations
    assert (annotation.kind, annotation.model_version, annotation.lead_time) == ("submitted", version, 4.0)
    (left,) = annotation.regions[0]
    (before,) = task.predictions[0].regions[0]
    assert left.mask == before.mask == Mask.from_array(backend.oracle.mask.to_array())
    assert (left.label, before.label) == ("Dog", "Cat")
    assert left.key == before.key, "an accepted region keeps its id"


def test_a_server_that_refuses_is_told_plainly(served):
    project = SimulatedProject(served[1], ("simulated", "wrong"), 3, LABELS, {7: ("a picture.png", (240, 320))})
    with pytest.raises(Unreachable, match="401"):
        project.connect()
    project.close()
