"""Images of a live project: each address means something on its task, and what cannot be had is told."""

from __future__ import annotations

import pickle

import pytest

from maskwright.errors import InvalidInput, NotFound
from maskwright.settings import Settings
from maskwright_label_studio.live_tasks import LiveImages
from maskwright_label_studio.resolver import ImageResolver


@pytest.fixture
def images(monkeypatch) -> LiveImages:
    def fetch(self: ImageResolver, value: str, task_id: int | None = None) -> bytes:
        if value.endswith("gone.png"):
            raise NotFound("Label Studio has no gone.png")
        if value.startswith("s3:") and task_id is None:
            raise InvalidInput("a cloud URI is resolved for a task")
        return f"{value} of task {task_id}".encode()

    monkeypatch.setattr(ImageResolver, "fetch", fetch)
    settings = Settings(_env_file=None, label_studio_url="http://ls.example", label_studio_api_key="a" * 40)
    return LiveImages(settings, "7")


def test_cloud_addresses_are_resolved_for_their_task(images):
    assert images("s3://bucket/a.png", "a.png", "12") == b"s3://bucket/a.png of task 12"


def test_worker_processes_fetch_as_their_parent_does(images):
    images("/data/upload/7/a.png", "a.png", "12")
    copy = pickle.loads(pickle.dumps(images))
    assert copy("s3://bucket/a.png", "a.png", "12") == b"s3://bucket/a.png of task 12"
    assert repr(copy) == repr(images), "an interrupted export goes on under the same"
    assert "a" * 40 not in repr(images)


def test_an_image_that_cannot_be_had_is_told_with_its_reason(images):
    with pytest.raises(NotFound, match=r"no gone\.png"):
        images("/data/upload/7/gone.png", "gone.png", "12")
    with pytest.raises(InvalidInput):
        images("s3://bucket/a.png", "a.png", "a task made by hand")
