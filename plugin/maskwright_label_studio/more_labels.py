"""A labelling configuration with more classes; everything else in it stays, comments too."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, tostring

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from maskwright.errors import InvalidInput
from maskwright.labels import LabelClass
from maskwright_label_studio.config import parse_config
from maskwright_label_studio.templates import add_label
from maskwright_label_studio.writer import category_ids


def extended_config(config: str, added: Sequence[LabelClass]) -> str:
    """The configuration with more classes in every control that labels regions of an image.

    Controls whose labels come from the task's data are left alone. Where every label carries a category of its own,
    the new ones do too.

    Args:
        config: XML of the configuration.
        added: Classes that it does not have; aliases become ``predicted_values``, descriptors ``hint``.

    Raises:
        InvalidInput: If it is not plain XML, has a class already, or no control that could have it.
    """
    parsed = parse_config(config)
    names = {control.name for control in parsed.controls if control.is_labelled and not control.dynamic}
    known = {item.name for control in parsed.controls for item in control.labels}
    if twice := [item.name for item in added if item.name in known]:
        raise InvalidInput(f"the labelling configuration has {', '.join(twice)} already")
    categories = category_ids(config)
    root = _parsed(config)
    controls = [one for one in root.iter() if _is_control(one) and one.get("name", "") in names]
    if not controls:
        raise InvalidInput("the labelling configuration has no control such as BrushLabels that lists its labels")
    for control in controls:
        present = sum(isinstance(one.tag, str) and one.tag.lower() == "label" for one in control.iter())
        for number, label in enumerate(added):
            item = add_label(control, label, present + number)
            if categories:
                item.set("category", str(max(categories.values()) + 1 + number))
    return str(tostring(root, encoding="unicode"))


def _is_control(element: Element) -> bool:
    return isinstance(element.tag, str) and element.tag.lower().endswith("labels")


def _parsed(config: str) -> Element:
    parser = DefusedXMLParser(target=TreeBuilder(insert_comments=True), forbid_dtd=True)
    try:
        parser.feed(config.strip())
        root: Element = parser.close()
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise InvalidInput(f"the labelling configuration is not plain XML: {type(error).__name__}") from error
    return root
