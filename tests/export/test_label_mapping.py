"""Classes renamed, merged and left out, as asked for and only once."""

from __future__ import annotations

import json

import pytest

from maskwright.errors import InvalidInput
from maskwright.export.label_mapping import LabelMapping

NAMES = ("car", "bus", "tram", "sky")


def test_classes_are_renamed_merged_and_left_out():
    mapping = LabelMapping.parse(["car=Auto"], ["bus,tram=public"], ["sky"])
    mapping.check(NAMES)
    assert [mapping.apply(name) for name in NAMES] == ["Auto", "public", "public", None]
    assert mapping.names(NAMES) == ("Auto", "public")
    assert not mapping.is_empty
    assert LabelMapping().is_empty


def test_classes_may_merge_into_one_of_them():
    mapping = LabelMapping.parse(merge=["bus,tram=bus"])
    mapping.check(NAMES)
    assert mapping.names(NAMES) == ("car", "bus", "sky")


def test_what_a_rename_gives_is_not_renamed_again():
    mapping = LabelMapping.parse(["car=bus", "bus=tram", "tram=train"])
    mapping.check(NAMES)
    assert [mapping.apply(name) for name in NAMES] == ["bus", "tram", "train", "sky"]


def test_names_with_equals_signs_and_commas_go_into_json():
    mapping = LabelMapping.parse(['{"a=b": "c"}'], ['{"x": ["d,e", "f"]}'])
    assert [mapping.apply(name) for name in ("a=b", "d,e", "f")] == ["c", "x", "x"]


@pytest.mark.parametrize(
    ("rename", "merge", "exclude", "message"),
    [
        (["car=bus", "bus=car"], [], [], "in a circle ('car' -> 'bus' -> 'car')"),
        (["car=a", "car=b"], [], [], "both 'a' and 'b'"),
        (["car=a", "bus=a"], [], [], "to join them: merge"),
        (["car=a"], [], ["car"], "left out and to become 'a'"),
        (["car=sky"], [], ["sky"], "leave 'car' out too"),
        (["car"], [], [], "OLD=NEW"),
        (["a=b=c"], [], [], "JSON"),
        ([], ["car"], [], "A,B=NEW"),
        ([], ["car,=x"], [], "blank name"),
        (["car= "], [], [], "blank name"),
        (["{car"], [], [], "not valid JSON"),
        (['{"car": 3}'], [], [], "3 where the name"),
        ([], ['{"x": "car"}'], [], "list of classes"),
    ],
)
def test_contradictions_are_refused_by_name(rename, merge, exclude, message):
    with pytest.raises(InvalidInput) as caught:
        LabelMapping.parse(rename, merge, exclude)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (
            LabelMapping.parse(["lorry=truck"]),
            "no class 'lorry' to rename, merge or exclude; there are: 'car'",
        ),
        (LabelMapping.parse(exclude=["Sky"]), "no class 'Sky'"),
        (
            LabelMapping.parse(["car=bus"]),
            "'car' cannot be renamed 'bus', which is a class already",
        ),
    ],
)
def test_a_mapping_that_does_not_fit_the_project_is_refused(mapping, message):
    with pytest.raises(InvalidInput) as caught:
        mapping.check(NAMES)
    assert message in str(caught.value)


def test_equal_mappings_have_equal_json_whatever_their_order():
    one = LabelMapping.parse(["car=Auto"], ["bus,tram=public"], ["sky", "sea"])
    other = LabelMapping.parse(["car=Auto"], ["tram=public", "bus=public"], ["sea", "sky"])
    assert json.dumps(one.to_json()) == json.dumps(other.to_json())
    again = LabelMapping.from_json(json.loads(json.dumps(one.to_json())))
    assert again.to_json() == one.to_json()
    assert [again.apply(n) for n in NAMES] == [one.apply(n) for n in NAMES]
