"""What a project's owner may choose can be kept and read back."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import InvalidInput
from maskwright.learn.settings import LearningSettings, changed_settings, learning_settings

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
