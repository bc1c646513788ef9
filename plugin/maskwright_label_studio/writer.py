"""Regions into tasks that Label Studio imports: with predictions to look at, or with annotations that are done.

A crowd (COCO's ``iscrowd``) is marked under the region's ``meta``, which Label Studio keeps through import, editing in
the browser and export: ``{"maskwright": {"iscrowd": true}}``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np
import orjson
from defusedxml.ElementTree import fromstring

from maskwright.errors import InvalidInput, MaskwrightError
from maskwright.labels import LabelSet
from maskwright.regions import Region
from maskwright_label_studio.config import ControlTag, Output, Shape, parse_config
from maskwright_label_studio.options import ProjectOptions
from maskwright_label_studio.results import as_score, region_to_result
from maskwright_label_studio.templates import render_template

Kind = Literal["predictions", "annotations"]
CONTROLS: tuple[Shape, ...] = ("brush", "bitmask", "polygon", "rectangle")
"""What an import may draw with."""
LOCAL_FILES = "/data/local-files/?d="
CROWD_META: Mapping[str, Any] = {"maskwright": {"iscrowd": True}}

_TEMPLATES: Mapping[str, str] = {shape: f"smart-{shape}" for shape in ("brush", "bitmask", "polygon")}
_BOXES = '<View>\n  <Image name="image" value="$image" zoom="true" zoomControl="true"/>\n</View>'
_EXACT = ProjectOptions(polygon_tolerance=0, polygon_max_vertices=10_000)
_NO_XML = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
"""What XML 1.0 (production 2, ``Char``) leaves out."""
_NUMBER = re.compile("[1-9][0-9]{0,8}")
_WEB = ("/", "http://", "https://")


@dataclass(frozen=True)
class TaskWriter:
    """Writes tasks for one labelling configuration. Can be pickled.

    Attributes:
        output: The control that the regions belong to.
        image_key: The task's field that holds the address of the image.
        kind: Whether regions become predictions or annotations.
        model_version: Of the predictions.
    """

    output: Output
    image_key: str = "image"
    kind: Kind = "predictions"
    model_version: str = "import"

    @classmethod
    def for_config(
        cls, config: str, labels: Sequence[str], *, control: str = "", kind: Kind = "predictions",
        model_version: str = "import",
    ) -> TaskWriter:  # fmt: skip
        """A writer for a project that there is.

        Args:
            config: Its labelling configuration.
            labels: Classes of the regions to come.
            control: What to draw with; empty takes what loses least of a mask.
            kind: See the class.
            model_version: See the class.

        Raises:
            InvalidInput: If the configuration has no control for these regions, naming the classes that it lacks.
        """
        read = parse_config(config)
        read.require_outputs()
        fitting = [output for output in read.outputs() if control in ("", output.control.shape)]
        if not fitting:
            raise InvalidInput(f"the project's labelling configuration has no control for a {control}")
        lacking = [[name for name in labels if not output.naming.offers(name)] for output in fitting]
        best = min(range(len(fitting)), key=lambda n: len(lacking[n]))
        if lacking[best]:
            names = ", ".join(map(repr, lacking[best][:10])) + (", ..." if len(lacking[best]) > 10 else "")
            raise InvalidInput(
                f"the control {fitting[best].control.name!r} of the project lacks {len(lacking[best])} of the file's "
                f"classes: {names}; add them to the labelling configuration"
            )
        tag = read.image(fitting[best].image_name)
        if tag.is_list or not tag.value.startswith("$") or not tag.value[1:].isidentifier():
            raise InvalidInput(
                f"the image tag {tag.name!r} takes {tag.value!r}; only one plain $field can be imported to"
            )
        return cls(fitting[best], tag.value[1:], kind, model_version)

    def task(
        self, source: str, regions: Sequence[Region], *, data: Mapping[str, Any] | None = None,
        score: float | None = None,
    ) -> bytes:  # fmt: skip
        """The JSON text of one task.

        Args:
            source: Address of its image.
            regions: In the order of drawing; their masks have the size of the displayed image. Those without a pixel
                are left out. The ids of the result are the regions' keys, so that equal input gives equal bytes.
            data: More fields of the task.
            score: Of the prediction; None takes the mean of the regions' scores.

        Raises:
            InvalidInput: If a label is none of the control's, or the control can hold no such mask.
        """
        taken: set[str] = set()
        result = [item for n, region in enumerate(regions) for item in self._items(region, n, taken)]
        task: dict[str, Any] = {"data": {**(data or {}), self.image_key: source}}
        if self.kind == "annotations":
            task["annotations"] = [{"result": result, "was_cancelled": False, "ground_truth": False}]
        else:
            mean = sum(as_score(region.score) for region in regions) / len(regions) if regions else 1.0
            whole = mean if score is None else as_score(score)
            task["predictions"] = [{"model_version": self.model_version, "score": whole, "result": result}]
        return orjson.dumps(task, option=orjson.OPT_SERIALIZE_NUMPY)

    def _items(self, region: Region, place: int, taken: set[str]) -> list[dict[str, Any]]:
        if not self.output.naming.offers(region.label):
            raise InvalidInput(f"the control {self.output.control.name!r} has no label {region.label!r}")
        try:
            items = self._results(region)
        except MaskwrightError as error:
            raise type(error)(f"region {region.key or place}: {error}") from error
        key = _free(region.key or f"region-{place}", taken)
        pieces: dict[str, str] = {}
        for item in items:
            # A plain control and the tag that names it share the id that region_to_result made.
            piece = pieces.setdefault(item["id"], key if not pieces else _free(f"{key}-{len(pieces) + 1}", taken))
            item["id"] = piece
            if region.is_crowd:
                item["meta"] = CROWD_META
            if self.kind == "annotations":
                del item["score"]
                item["origin"] = "manual"
        return items

    def _results(self, region: Region) -> list[dict[str, Any]]:
        control = self.output.control
        drawn = _as_drawn(region, control.shape)
        if not drawn:
            return region_to_result(region, self.output, _EXACT)
        # What somebody drew already need not be traced: a box, which costs nothing, stands in for it.
        stand_in = Output(replace(control, shape="rectangle"), self.output.naming)
        items: list[dict[str, Any]] = []
        for number, geometry in enumerate(drawn):
            for item in region_to_result(region, stand_in):
                names = {key: value for key, value in item["value"].items() if key.endswith("labels")}
                items.append({**item, "id": f"piece {number}", "value": {**geometry, **names}})
        return items


def file_output(control: str, labels: LabelSet) -> Output:
    """The control that our templates have for a shape: see ``label_config``.

    Raises:
        InvalidInput: If it is none of ``CONTROLS``, or a label has characters that no labelling configuration can hold.
    """
    if control not in CONTROLS:
        raise InvalidInput(f"there is no control {control!r}; there are: {', '.join(CONTROLS)}")
    for label in labels:
        if found := _NO_XML.search(label.name):
            raise InvalidInput(
                f"the class {label.name!r} has the character {found[0]!r}, which the XML of a labelling configuration "
                "cannot hold; give the class another name (--rename)"
            )
    name = {"polygon": "outline", "rectangle": "box"}.get(control, "mask")
    tag = ControlTag(name, ("image",), control, f"{control}labels", labels)  # type: ignore[arg-type]
    return Output(tag, tag)


def label_config(control: str, categories: Mapping[str, int]) -> str:
    """A labelling configuration to create a project from, which fits the tasks of a writer with ``file_output``.

    Every label carries its category id as the attribute ``category``, which Label Studio's own COCO export follows.

    Raises:
        InvalidInput: If there is no such control, or no category, or as ``file_output``.
    """
    labels = LabelSet.of(categories)
    output = file_output(control, labels)
    root: Element
    if control in _TEMPLATES:
        root = fromstring(render_template(_TEMPLATES[control], labels))
    else:
        # A project for boxes alone: the template's boxes only ask the assistant.
        if not categories:
            raise InvalidInput("a labelling configuration needs at least one label")
        root = fromstring(_BOXES)
        tag = SubElement(root, "RectangleLabels", name=output.control.name, toName="image", smart="false")
        for name in categories:
            SubElement(tag, "Label", value=name)
    for label in root.iter("Label"):
        label.set("category", str(categories[label.get("value", "")]))
    return str(tostring(root, encoding="unicode"))


def category_ids(config: str) -> dict[str, int]:
    """Category ids by class name, as the labels of a configuration carry them: what ``label_config`` writes.

    Returns:
        In the order of the configuration. Empty unless every class has one whole number of 1 or more to itself.

    Raises:
        InvalidInput: If it is not plain XML.
    """
    names = dict.fromkeys(item.name for control in parse_config(config).controls for item in control.labels)
    given: dict[str, set[str]] = {name: set() for name in names}
    for element in fromstring(config.strip(), forbid_dtd=True).iter():
        name = element.get("alias") or element.get("value", "")
        if element.tag.lower() == "label" and name in given and "category" in element.keys():  # noqa: SIM118
            given[name].add(element.get("category", "").strip())
    ids = {name: int(text) for name, texts in given.items() for text in texts if _NUMBER.fullmatch(text)}
    told = [text for texts in given.values() for text in texts]
    return ids if len(told) == len(ids) == len(names) == len(set(ids.values())) else {}


def image_address(relative: str, prefix: str = LOCAL_FILES) -> str:
    """What a task calls an image file.

    Args:
        relative: POSIX path of the file in the folder of images.
        prefix: What comes before it: ``/data/local-files/?d=`` (or with a folder behind) for local files, where the
            path counts from Label Studio's document root; ``/data/upload/<project>/``; the start of a URL; or
            ``s3://bucket/folder/``. Paths behind a web address or ``/`` are percent-encoded, those in a bucket not.
    """
    return prefix + (quote(relative, safe="/") if prefix.startswith(_WEB) else relative)


def _as_drawn(region: Region, shape: str) -> list[dict[str, Any]]:
    """The outlines as somebody wrote them, in per cent, where the control can hold them."""
    height, width = region.mask.size
    sides = np.array([width, height])
    if any(outline.holes for outline in region.outlines) or not region.outlines:
        return []
    if shape == "polygon":
        return [{"points": (o.exterior * 100 / sides).tolist(), "closed": True} for o in region.outlines]
    corners = region.outlines[0].exterior
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    upright = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    if shape != "rectangle" or len(region.outlines) > 1 or not np.array_equal(corners, upright):
        return []
    x, y = (corners[0] * 100 / sides).tolist()
    far_x, far_y = (corners[2] * 100 / sides).tolist()
    return [{"x": x, "y": y, "width": far_x - x, "height": far_y - y, "rotation": 0}]


def _free(key: str, taken: set[str]) -> str:
    """The key, or with a number behind it where another region has it: the browser merges regions with one id."""
    name, number = key, 2
    while name in taken:
        name, number = f"{key}-{number}", number + 1
    taken.add(name)
    return name
