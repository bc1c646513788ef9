"""What ``maskwright precompute --project`` walks through."""

from __future__ import annotations

import pytest

from maskwright.errors import NotFound
from maskwright.settings import Settings
from maskwright_label_studio.platform import PLATFORM


def test_every_image_of_every_task_is_listed_and_loads_when_asked(label_studio, tmp_path):
    label_studio.project["label_config"] = (
        '<View><Image name="pages" valueList="$pages"/>'
        '<BrushLabels name="b" toName="pages"><Label value="Cat"/></BrushLabels></View>'
    )
    label_studio.tasks = {
        n: {"id": n, "data": {"pages": [f"/data/upload/1/{n}a.png", f"/data/upload/1/{n}-missing.png"]}} for n in (1, 2)
    }
    settings = Settings(
        _env_file=None, home=tmp_path, label_studio_url=label_studio.url,
        label_studio_api_key="0123456789abcdef0123456789abcdef01234567",
    )  # fmt: skip
    listed = list(PLATFORM.project_images(settings, "1"))
    pages = ("1a", "1-missing", "2a", "2-missing")
    assert [name for name, _ in listed] == [f"/data/upload/1/{page}.png" for page in pages]
    assert not [path for _, path, _ in label_studio.requests if path.startswith("/data")], "nothing is fetched yet"
    assert listed[0][1]().size == (240, 320)
    with pytest.raises(NotFound):
        listed[1][1]()
