"""A labelling configuration is given more classes and keeps the rest."""

from __future__ import annotations

import pytest

from maskwright.errors import InvalidInput
from maskwright.labels import LabelClass, LabelSet
from maskwright_label_studio.config import parse_config
from maskwright_label_studio.more_labels import extended_config
from maskwright_label_studio.platform import PLATFORM
from maskwright_label_studio.templates import render_template, template_names
from maskwright_label_studio.writer import category_ids

DOG, CAT = LabelClass("dog", ("dog", "puppy")), LabelClass("кот & co")


@pytest.mark.parametrize("template", template_names())
def test_every_control_of_a_template_offers_the_new_classes_as_if_they_had_been_there(template):
    before = render_template(template, LabelSet.of(["tree"]))
    after = extended_config(before, (DOG, CAT))
    assert PLATFORM.class_names(after) == ("tree", "dog", "кот & co")
    whole = parse_config(render_template(template, LabelSet((LabelClass("tree"), DOG, CAT))))
    assert parse_config(after) == whole


def test_comments_styles_and_what_is_not_ours_stay():
    before = """<View><!-- keep me --><Style>.a { color: red }</Style><Image name="i" value="$i"/>
    <Choices name="c" toName="i"><Choice value="x"/></Choices>
    <Labels name="t" toName="text"><Label value="word"/></Labels><Text name="text" value="$t"/>
    <PolygonLabels name="data" toName="i" value="$labels"/>
    <BrushLabels name="b" toName="i"><View><Label value="tree" background="#fff"/></View></BrushLabels></View>"""
    after = extended_config(before, (DOG,))
    for kept in ("<!-- keep me -->", ".a { color: red }", '<Choice value="x"', 'value="$labels"', 'background="#fff"'):
        assert kept in after
    assert after.count('value="dog"') == 1
    assert parse_config(after).control("b").labels.find("puppy").name == "dog"


def test_categories_go_on_where_every_label_has_one():
    before = """<View><Image name="i" value="$i"/><BrushLabels name="b" toName="i">
    <Label value="tree" category="3"/><Label value="bush" category="9"/></BrushLabels></View>"""
    assert category_ids(extended_config(before, (DOG, CAT))) == {"tree": 3, "bush": 9, "dog": 10, "кот & co": 11}
    assert "category" not in extended_config(before.replace(' category="3"', ""), (DOG,)).replace('category="9"', "")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('<View><Image name="i" value="$i"/></View>', "BrushLabels"),
        ("<View>", "plain XML"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><View>&a;</View>', "plain XML"),
        ('<View><Image name="i" value="$i"/><BrushLabels name="b" toName="i"><Label value="dog"/></BrushLabels></View>',
         "dog already"),
    ],
)  # fmt: skip
def test_what_cannot_be_extended_is_named(config, message):
    with pytest.raises(InvalidInput, match=message):
        extended_config(config, (DOG,))
