"""Labelling configurations to start a project from: every file beside this one, filled with the project's classes."""

from __future__ import annotations

from importlib.resources import files
from xml.etree.ElementTree import Element, SubElement, tostring

from defusedxml.ElementTree import fromstring

from maskwright.errors import InvalidInput
from maskwright.labels import LabelClass, LabelSet
from maskwright_label_studio.config import REMARKS

DEFAULT_TEMPLATE = "smart-brush"

# Colours that stay apart for most colour-blind people: Okabe and Ito, "Color Universal Design", 2008.
_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442")


def template_names() -> tuple[str, ...]:
    """Names of the templates, sorted."""
    found = (entry.name for entry in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".xml") for name in found if name.endswith(".xml")))


def add_label(control: Element, label: LabelClass, index: int) -> Element:
    """Put a class behind the labels of a control; aliases become ``predicted_values``, descriptors ``hint``.

    Args:
        control: Such as ``BrushLabels``.
        label: The class.
        index: Its place among the control's labels, from 0.
    """
    item = SubElement(control, "Label", value=label.name, background=_COLOURS[index % len(_COLOURS)])
    if control.tag.lower() == "keypointlabels":
        # Without it Label Studio's own COCO export of the whole project answers with an error.
        item.set("model_index", str(index))
    if label.aliases:
        item.set("predicted_values", ",".join(label.aliases))
    if label.descriptors:
        item.set("hint", "; ".join(one.replace(";", ",") for one in label.descriptors))
    return item


def render_template(name: str, labels: LabelSet, *, remarks: bool = False) -> str:
    """The configuration ``name`` with ``labels`` in every control; aliases become ``predicted_values``.

    Args:
        name: Of a template.
        labels: At least one.
        remarks: Whether there is a place for why classes were suggested; see ``remarks``.

    Raises:
        InvalidInput: If there is no such template, or no label.
    """
    if name not in template_names():
        raise InvalidInput(f"there is no template {name!r}; there are: {', '.join(template_names())}")
    if not len(labels):
        raise InvalidInput("a labelling configuration needs at least one label")
    root = fromstring((files(__name__) / f"{name}.xml").read_text(encoding="utf-8"))
    for control in root:
        if not control.tag.endswith("Labels"):
            continue
        for old in control.findall("Label"):
            control.remove(old)
        for index, label in enumerate(labels):
            add_label(control, label, index)
    if remarks:
        SubElement(root, "Header", value="Why these classes")
        SubElement(root, "TextArea", name=REMARKS, toName="image", smart="false")
    return str(tostring(root, encoding="unicode"))
