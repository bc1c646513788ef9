"""The labelling configuration of a project: which images a task holds, which controls exist, which labels they offer.

Label Studio sends the configuration as XML with every request (as ``schema`` to /setup, as ``label_config`` to
/predict). It is read once per text and kept. Tag and attribute names are those of Label Studio's tag reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args
from xml.etree.ElementTree import Element, ParseError

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from maskwright.errors import InvalidInput, TooLarge
from maskwright.labels import LabelClass, LabelSet
from maskwright_label_studio.image_tags import ImageTag

MAX_CONFIG_CHARS = 1_000_000
MAX_CONFIG_DEPTH = 100
_CACHED_CONFIGS = 64

Shape = Literal["brush", "bitmask", "polygon", "rectangle", "ellipse", "keypoint", "textarea", "labels"]
"""What a control draws. ``labels`` is the tag Labels, which draws nothing and names what plain controls drew."""

REMARKS = "suggestions"
"""Name of the text area that shows what was suggested for an image; nothing that it holds is a prompt or an answer."""

OUTPUT_PREFERENCE: tuple[Shape, ...] = ("brush", "bitmask", "polygon", "rectangle", "ellipse")
"""Which control answers where several could: the one that loses least of a mask first."""

_TAG_SHAPES: Mapping[str, tuple[Shape, bool]] = {
    name: (shape, labelled)
    for shape in get_args(Shape)
    for name, labelled in ((shape, False), (shape + "labels", True))
    if shape != "labels"
} | {"labels": ("labels", True)}
_TRUE, _FALSE = {"true", "1", "yes"}, {"false", "0", "no"}


@dataclass(frozen=True)
class ControlTag:
    """One control.

    Attributes:
        name: ``from_name`` of its regions.
        to_name: Names of the image tags it works on.
        shape: What it draws.
        type: ``type`` of its regions, e.g. ``brushlabels`` or ``brush``.
        labels: Its classes; empty for plain controls.
        dynamic: Whether its labels come from the task's data, so that any label may be meant.
        smart: Whether it may send prompts (true unless ``smart="false"``, as in the browser).
        smart_only: Whether it is only there for prompts.
    """

    name: str
    to_name: tuple[str, ...]
    shape: Shape
    type: str
    labels: LabelSet
    dynamic: bool = False
    smart: bool = True
    smart_only: bool = False

    @property
    def is_labelled(self) -> bool:
        """Whether its regions carry their label themselves."""
        return self.type.endswith("labels")

    def offers(self, label: str | None) -> bool:
        """Whether a region of this control may carry ``label``."""
        return label is not None and (self.dynamic or label in self.labels)


@dataclass(frozen=True)
class Output:
    """Where answers go: the control that holds the geometry and, for plain controls, the Labels tag that names it."""

    control: ControlTag
    naming: ControlTag

    @property
    def labels(self) -> LabelSet:
        """The classes that an answer may have."""
        return self.naming.labels

    @property
    def image_name(self) -> str:
        """``to_name`` of an answer."""
        return self.control.to_name[0]


@dataclass(frozen=True)
class LabelingConfig:
    """What of a labelling configuration concerns pictures and regions."""

    images: tuple[ImageTag, ...]
    controls: tuple[ControlTag, ...]

    def image(self, name: str | None) -> ImageTag:
        """The image tag called ``name``; the only one there is where ``name`` is None.

        Raises:
            InvalidInput: If there is none.
        """
        for tag in self.images:
            if tag.name == name or (name is None and len(self.images) == 1):
                return tag
        raise InvalidInput(f"the labelling configuration has no <Image> named {name!r}")

    def control(self, name: object) -> ControlTag | None:
        """The control called ``name``."""
        return next((c for c in self.controls if c.name == name), None)

    def outputs(self, image_name: str | None = None, preferred: str | None = None) -> tuple[Output, ...]:
        """Every control that could hold an answer, best first.

        The order: ``preferred`` by name; controls that are not there for prompts only; ``OUTPUT_PREFERENCE``; the order
        of the configuration. A plain control counts only with a ``<Labels>`` on the same image.
        """
        found: list[tuple[tuple[bool, bool, int], Output]] = []
        for control in self.controls:
            if control.shape not in OUTPUT_PREFERENCE or (image_name and image_name not in control.to_name):
                continue
            naming = control if control.is_labelled else self._naming(control)
            if naming is not None:
                rank = (control.name != preferred, control.smart_only, OUTPUT_PREFERENCE.index(control.shape))
                found.append((rank, Output(control, naming)))
        return tuple(output for _, output in sorted(found, key=lambda pair: pair[0]))

    def output_for(self, image_name: str, label: str | None, preferred: str | None = None) -> Output:
        """The control that answers a prompt of ``label`` on the image.

        Raises:
            InvalidInput: If no control offers the label.
        """
        for output in self.outputs(image_name, preferred):
            if output.naming.offers(label):
                return output
        self.require_outputs()
        raise InvalidInput(f"no control of the labelling configuration that could hold a mask offers label {label!r}")

    def labels_on(self, image_name: str | None = None) -> LabelSet:
        """The classes of pre-annotations on an image (on all images where no name is given), in order.

        Those of every control that could hold an answer; of prompt-only controls only where there is nothing else.
        """
        outputs = self.outputs(image_name)
        lasting = [output for output in outputs if not output.control.smart_only] or outputs
        order = sorted(lasting, key=lambda output: self.controls.index(output.control))
        return LabelSet(tuple({item.name: item for output in order for item in output.labels}.values()))

    def require_outputs(self) -> None:
        """Check that answers have somewhere to go.

        Raises:
            InvalidInput: If not, saying what is missing.
        """
        if not self.images:
            raise InvalidInput('the labelling configuration has no <Image name="..." value="$...">')
        if not self.outputs():
            raise InvalidInput(
                "the labelling configuration has no BrushLabels, BitmaskLabels, PolygonLabels, RectangleLabels or "
                "EllipseLabels whose toName is an <Image>"
            )

    @property
    def is_blank(self) -> bool:
        """Whether it is the one of a new project, without any image or control."""
        return not self.images and not self.controls

    def _naming(self, control: ControlTag) -> ControlTag | None:
        return next(
            (c for c in self.controls if c.shape == "labels" and set(c.to_name) & set(control.to_name)),
            None,
        )


@lru_cache(maxsize=_CACHED_CONFIGS)
def parse_config(xml: str) -> LabelingConfig:
    """Read a labelling configuration. Results of the last few texts are kept.

    Raises:
        InvalidInput: If it is not plain XML.
        TooLarge: If it is longer or more deeply nested than any real one.
    """
    if len(xml) > MAX_CONFIG_CHARS:
        raise TooLarge(f"the labelling configuration is longer than {MAX_CONFIG_CHARS} characters")
    try:
        root = fromstring(xml.strip(), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise InvalidInput(f"the labelling configuration is not plain XML: {type(error).__name__}") from error
    elements = list(_walk(root))
    images = tuple(tag for e in elements if _tag(e) == "image" and (tag := _image(e)) is not None)
    names = {tag.name for tag in images}
    controls = tuple(c for e in elements if (c := _control(e, names)) is not None)
    return LabelingConfig(images, controls)


def _walk(root: Element) -> Iterator[Element]:
    # Breadth by explicit stack: the depth of hostile nesting is counted before it can hurt.
    stack = [(root, 1)]
    while stack:
        element, depth = stack.pop()
        if depth > MAX_CONFIG_DEPTH:
            raise TooLarge(f"the labelling configuration is nested more than {MAX_CONFIG_DEPTH} tags deep")
        yield element
        stack.extend((child, depth + 1) for child in reversed(element))


def _tag(element: Element) -> str:
    return element.tag.lower() if isinstance(element.tag, str) else ""


def _image(element: Element) -> ImageTag | None:
    value_list = element.get("valueList", "")
    value = value_list or element.get("value", "")
    return ImageTag(element.get("name", ""), value, bool(value_list)) if value else None


def _control(element: Element, images: set[str]) -> ControlTag | None:
    tag = _tag(element)
    if tag not in _TAG_SHAPES:
        return None
    to_name = tuple(part.strip() for part in element.get("toName", "").split(",") if part.strip() in images)
    if not to_name:
        return None
    shape, labelled = _TAG_SHAPES[tag]
    return ControlTag(
        name=element.get("name", ""),
        to_name=to_name,
        shape=shape,
        type=tag,
        labels=_labels(element) if labelled else LabelSet(()),
        dynamic=labelled and element.get("value", "").startswith("$"),
        smart=element.get("smart", "").lower() not in _FALSE,
        smart_only=element.get("smartonly", element.get("smartOnly", "")).lower() in _TRUE,
    )


def _labels(element: Element) -> LabelSet:
    classes: dict[str, LabelClass] = {}
    for child in element.iter():
        if _tag(child) != "label":
            continue
        value, alias = child.get("value", ""), child.get("alias", "")
        # Regions carry the alias where a label has one; the visible value is then another word for it.
        name = alias or value
        if not name.strip() or name in classes:
            continue
        words = [w.strip() for w in child.get("predicted_values", "").split(",")]
        words += [value] if alias and value != alias else []
        hint = (part.strip() for part in child.get("hint", "").split(";"))
        aliases = tuple(dict.fromkeys(w for w in words if w))
        classes[name] = LabelClass(name, aliases, descriptors=tuple(dict.fromkeys(filter(None, hint))))
    return LabelSet(tuple(classes.values()))
