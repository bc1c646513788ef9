"""Labelling configurations: every control, alias, value list, Unicode name, and what is hostile."""

from __future__ import annotations

import contextlib
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import InvalidInput, MaskwrightError
from maskwright.labels import LabelClass, LabelSet
from maskwright_label_studio.config import MAX_CONFIG_CHARS, parse_config
from maskwright_label_studio.templates import render_template, template_names

RECORDED = """<View>
  <Image name="image" value="$image" zoom="true"/>
  <BrushLabels name="brush" toName="image" smart="false"><Label value="Cat"/><Label value="Dog"/></BrushLabels>
  <BitmaskLabels name="bitmask" toName="image" smart="false"><Label value="Cat"/><Label value="Dog"/></BitmaskLabels>
  <PolygonLabels name="poly" toName="image" smart="false"><Label value="Cat"/><Label value="Dog"/></PolygonLabels>
  <KeyPointLabels name="kp" toName="image" smart="true" smartonly="true"><Label value="Cat"/></KeyPointLabels>
  <RectangleLabels name="rect" toName="image" smart="true" smartonly="true"><Label value="Cat"/></RectangleLabels>
</View>"""


def view(*parts: str) -> str:
    return '<View><Image name="image" value="$image"/>' + "".join(parts) + "</View>"


def control(tag: str, name: str, *labels: str, **attributes: str) -> str:
    given = "".join(f" {key}={quoteattr(value)}" for key, value in attributes.items())
    inner = "".join(f"<Label value={quoteattr(label)}/>" for label in labels)
    return f'<{tag} name="{name}" toName="image"{given}>{inner}</{tag}>'


def test_the_recorded_configuration_is_understood():
    config = parse_config(RECORDED)
    assert [(c.name, c.shape, c.type) for c in config.controls] == [
        ("brush", "brush", "brushlabels"), ("bitmask", "bitmask", "bitmasklabels"),
        ("poly", "polygon", "polygonlabels"),
        ("kp", "keypoint", "keypointlabels"), ("rect", "rectangle", "rectanglelabels"),
    ]  # fmt: skip
    assert [(c.smart, c.smart_only) for c in config.controls] == [(False, False)] * 3 + [(True, True)] * 2
    assert config.labels_on("image").names == ("Cat", "Dog")
    assert config.image("image").sources({"image": "/data/x.png"}) == ("/data/x.png",)


def test_every_control_is_smart_unless_it_says_otherwise():
    (brush,) = parse_config(view(control("BrushLabels", "b", "Cat"))).controls
    assert brush.smart


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (("PolygonLabels", "BrushLabels"), "BrushLabels"),
        (("RectangleLabels", "BitmaskLabels", "PolygonLabels"), "BitmaskLabels"),
        (("EllipseLabels", "RectangleLabels"), "RectangleLabels"),
        (("KeyPointLabels", "EllipseLabels"), "EllipseLabels"),
    ],
)
def test_the_control_that_loses_least_of_a_mask_answers(tags, expected):
    config = parse_config(view(*(control(tag, tag, "Cat") for tag in tags)))
    assert config.output_for("image", "Cat").control.name == expected


def test_the_answering_control_must_offer_the_label():
    config = parse_config(view(control("BrushLabels", "b", "Cat"), control("PolygonLabels", "p", "Road")))
    assert config.output_for("image", "Road").control.name == "p"
    assert config.labels_on("image").names == ("Cat", "Road")
    with pytest.raises(InvalidInput, match="'Tree'"):
        config.output_for("image", "Tree")


def test_a_project_may_prefer_a_control_by_name():
    config = parse_config(view(control("BrushLabels", "b", "Cat", "Dog"), control("PolygonLabels", "p", "Cat")))
    assert config.output_for("image", "Cat", "p").control.name == "p"
    assert config.output_for("image", "Dog", "p").control.name == "b", "it must still offer the label"


def test_prompt_only_controls_answer_last_and_add_no_classes():
    parts = (
        control("BrushLabels", "b", "Cat", "Dog", smartonly="true"),
        control("PolygonLabels", "p", "Cat"),
    )
    config = parse_config(view(*parts))
    assert config.output_for("image", "Cat").control.name == "p"
    assert config.labels_on("image").names == ("Cat",)


def test_plain_controls_answer_with_the_labels_of_a_labels_tag():
    config = parse_config(view('<Brush name="b" toName="image"/>', control("Labels", "l", "Cat")))
    output = config.output_for("image", "Cat")
    assert (output.control.name, output.control.type, output.naming.name) == ("b", "brush", "l")
    with pytest.raises(InvalidInput):
        parse_config(view('<Brush name="b" toName="image"/>')).require_outputs()


def test_aliases_come_from_predicted_values_and_an_alias_is_what_regions_carry():
    config = parse_config(
        view(
            '<BrushLabels name="b" toName="image"><Label value="Car" predicted_values="vehicle, automobile,"/>'
            '<Label value="Stop sign" alias="s1"/></BrushLabels>'
        )
    )
    car, sign = config.labels_on("image").classes
    assert (car.name, car.aliases) == ("Car", ("vehicle", "automobile"))
    assert (sign.name, sign.aliases) == ("s1", ("Stop sign",))


def test_several_descriptors_stand_in_a_hint_between_semicolons_and_come_back():
    labels = LabelSet((LabelClass("Husk", descriptors=("brown shell", "coarse; loose fibres")), LabelClass("Pith")))
    (name, *_) = template_names()
    (control, *_) = parse_config(render_template(name, labels)).controls
    assert [item.descriptors for item in control.labels] == [("brown shell", "coarse, loose fibres"), ()]


def test_the_hint_of_a_label_says_how_its_class_looks():
    labels = '<Label value="Husk" hint=" brown, fibrous shell "/><Label value="Pith" hint=""/>'
    husk, pith = parse_config(view(f'<BrushLabels name="b" toName="image">{labels}</BrushLabels>')).labels_on("image")
    assert (husk.phrases, husk.descriptors) == (("Husk",), ("brown, fibrous shell",))
    assert pith.descriptors == ()


@given(
    st.lists(
        st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), min_size=1).filter(
            lambda name: name.strip()
        ),
        min_size=1, max_size=5, unique=True,
    )
)  # fmt: skip
def test_label_names_hold_any_unicode(names):
    config = parse_config(view(control("BrushLabels", "b", *names)))
    assert config.labels_on("image").names == tuple(names)
    assert all(config.output_for("image", name).control.name == "b" for name in names)


def test_a_value_list_has_an_image_per_item():
    config = parse_config('<View><Image name="image" valueList="$pages"/></View>')
    tag = config.image("image")
    assert tag.is_list
    assert tag.sources({"pages": ["a.png", "b.png"]}) == ("a.png", "b.png")


def test_two_image_tags_keep_their_own_controls():
    config = parse_config(
        '<View><Image name="left" value="$l"/><Image name="right" value="$r"/>'
        '<BrushLabels name="a" toName="left"><Label value="Cat"/></BrushLabels>'
        '<PolygonLabels name="b" toName="right"><Label value="Cat"/></PolygonLabels></View>'
    )
    assert config.output_for("left", "Cat").control.name == "a"
    assert config.output_for("right", "Cat").control.name == "b"
    assert config.image("right").sources({"l": "1", "r": "2"}) == ("2",)


def test_uploads_from_before_the_configuration_are_found_under_the_undefined_key():
    tag = parse_config(RECORDED).image("image")
    assert tag.sources({"$undefined$": "/data/upload/1/x.png"}) == ("/data/upload/1/x.png",)


@pytest.mark.parametrize(
    ("value", "data", "expected"),
    [
        ("$a.b", {"a": {"b": "x"}}, "x"),
        ("$a[1]", {"a": ["x", "y"]}, "y"),
        ("https://host/$name.png", {"name": "cat"}, "https://host/cat.png"),
        ("https://host/fixed.png", {}, "https://host/fixed.png"),
    ],
)
def test_values_may_be_nested_or_part_of_an_address(value, data, expected):
    tag = parse_config(f'<View><Image name="i" value="{value}"/></View>').images[0]
    assert tag.sources(data) == (expected,)


def test_a_missing_value_names_the_key():
    with pytest.raises(InvalidInput, match="'image'"):
        parse_config(RECORDED).image("image").sources({"other": "x"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not xml",
        "<View>",
        '<!DOCTYPE v [<!ENTITY a "b">]><View>&a;</View>',
        '<!DOCTYPE v SYSTEM "file:///etc/passwd"><View/>',
        "<View>" * 50_000,
        "<a>" * 140_000 + "</a>" * 140_000,
        "<View>" * 200 + "</View>" * 200,
        "<View>" + " " * MAX_CONFIG_CHARS + "</View>",
        '<View xmlns:x="urn:x"><x:Image/></View>' + "\x00",
    ],
)
def test_hostile_configurations_are_refused(text):
    with pytest.raises(MaskwrightError):
        parse_config(text)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(MaskwrightError):
        parse_config(f"<View>{text}</View>")


def test_the_same_text_is_read_once():
    assert parse_config(RECORDED) is parse_config(RECORDED)
