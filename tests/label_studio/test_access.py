"""Whose token goes where."""

from __future__ import annotations

import pytest

from maskwright.errors import InvalidInput, MaskwrightError
from maskwright.settings import Settings
from maskwright_label_studio.access import Access
from maskwright_label_studio.client import GuardedTransport, OperatorTransport
from maskwright_label_studio.options import ProjectOptions
from maskwright_label_studio.projects import Project, ProjectMemory

TOKEN, OTHER = "a" * 40, "b" * 40


def transport(project: Project, **settings: str):
    client = Access(Settings(_env_file=None, **settings)).client(project)
    return None if client is None else client._transport


def test_the_operators_key_and_address_win_over_what_a_request_names():
    found = transport(Project("1.1", hostname="http://evil.example", access_token=OTHER),
                      label_studio_url="http://ls.example", label_studio_api_key=TOKEN)  # fmt: skip
    assert isinstance(found, OperatorTransport)
    assert found._http.base_url.host == "ls.example"
    assert found._credentials.headers() == {"Authorization": f"Token {TOKEN}"}


def test_a_token_of_setup_goes_to_the_operators_address_where_there_is_one():
    found = transport(
        Project("1.1", hostname="http://evil.example", access_token=OTHER), label_studio_url="http://ls.example"
    )
    assert isinstance(found, OperatorTransport)
    assert found._http.base_url.host == "ls.example"


def test_a_server_that_only_a_request_named_is_reached_through_the_guard():
    found = transport(Project("1.1", hostname="http://169.254.169.254", access_token=OTHER))
    assert isinstance(found, GuardedTransport)
    with pytest.raises(MaskwrightError):
        found.send("GET", "/latest/meta-data", {}, None)
    with pytest.raises(MaskwrightError):
        found.send("POST", "/api/predictions/", {}, {})
    with pytest.raises(InvalidInput):
        found.send("PATCH", "/api/ml/1", {}, {})


@pytest.mark.parametrize("token", ["", "nonsense"])
def test_without_a_usable_token_there_is_no_client(token):
    assert transport(Project("1.1", hostname="http://ls.example", access_token=token)) is None


def test_the_window_of_a_project_is_applied_to_its_images():
    import io

    import numpy as np
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.arange(0, 40_000, 10, dtype=np.uint16).reshape(40, 100)).save(file, "PNG")
    access = Access(Settings(_env_file=None))
    plain = access.decode(file.getvalue(), ProjectOptions())
    narrow = access.decode(file.getvalue(), ProjectOptions(window_level=1000, window_width=500))
    assert plain.key != narrow.key
    assert narrow.pixels[-1].min() == 255


def test_a_projects_token_is_not_in_its_repr_and_memory_survives_a_damaged_file(tmp_path):
    assert OTHER not in repr(Project("1.1", access_token=OTHER))
    file = tmp_path / "deep" / "projects.json"
    ProjectMemory(file).remember(Project("1.1", ProjectOptions(output="x"), "http://h", OTHER, "v1"))
    assert ProjectMemory(file).get("1.1") == Project("1.1", ProjectOptions(output="x"), "http://h", "", "v1")
    file.write_bytes(b'[{"key": 1}]')
    assert ProjectMemory(file).get("1.1") == Project("1.1")
    assert (Project("17.1795").id, Project("x.1").id, Project("").id) == (17, None, None)
