"""What a project's owner may choose can be kept and read back."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import InvalidInput
from maskwright.learn.settings import (
    LearningSettings,
    changed_settings,
    learning_settings,
    read_learning,
    write_learning,
)
from maskwright.store.corrections import open_store
from maskwright.store.project_notes import ProjectNotes

NUMBERS = ("accept_threshold", "review_share", "corrections_per_round", "interval_s", "debounce_s", "held_out_share",
           "steps", "seconds", "seed")  # fmt: skip


@given(st.sampled_from(NUMBERS), st.integers() | st.floats())
def test_every_number_is_refused_or_kept_as_it_was_given(name: str, value: float) -> None:
    try:
        chosen = learning_settings({name: value})
    except InvalidInput:
        return
    assert learning_settings(orjson.loads(orjson.dumps(chosen.model_dump(mode="json")))) == chosen


@pytest.mark.parametrize(
    ("name", "value"),
    [("interval_s", math.inf), ("seconds", math.inf), ("corrections_per_round", 10**30), ("group_field", "x" * 1000)],
)
def test_what_could_not_be_kept_is_refused_when_it_is_chosen(name: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match=name):
        learning_settings({name: value})
    with pytest.raises(InvalidInput, match="debounce_s"):
        changed_settings(LearningSettings(), {"debounce_s": "Infinity"})


@pytest.mark.parametrize(
    "adapter", [None, {"kind": "decoder"}, {"kind": "lora", "targets": ["decoder.q", "decoder.v"]}]
)
def test_language_guidance_without_a_trained_encoder_is_refused_when_it_is_chosen(adapter: Any) -> None:
    with pytest.raises(InvalidInput, match=r'language_guidance shapes the image encoder.*"lora".*language_guidance 0'):
        learning_settings({"language_guidance": 0.5, "adapter": adapter})
    assert learning_settings({"adapter": adapter}).language_guidance == 0
    with pytest.raises(InvalidInput, match="decoder"):
        changed_settings(LearningSettings(adapter=adapter), {"language_guidance": "0.5"})


@pytest.mark.parametrize(
    "adapter", [{"kind": "lora"}, {"kind": "both"}, {"kind": "conv-lora"}, {"kind": "lora", "targets": ["encoder.mlp"]}]
)
def test_language_guidance_goes_with_an_adapter_of_the_encoder(adapter: Any) -> None:
    assert learning_settings({"language_guidance": 0.5, "adapter": adapter}).language_guidance == 0.5


def test_settings_kept_before_they_were_refused_can_be_put_right(tmp_path: Path) -> None:
    with closing(open_store(tmp_path)) as store:
        notes, project = ProjectNotes(store.database), store.project("label-studio", "http://server", 1).id
        write_learning(notes, project, LearningSettings(language_guidance=0.5))
        assert changed_settings(read_learning(notes, project), {"language_guidance": "0"}) == LearningSettings()
