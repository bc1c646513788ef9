"""What an annotator is told of why a class was proposed: words beside regions, and lines in a text area.

Label Studio shows ``meta.text`` in a region's details. Where the labelling configuration has a ``<TextArea>`` named
``suggestions`` on the image, the classes believed to be in it are listed there. Neither is an answer of anybody: what
reads results back leaves both out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from maskwright.assist.preannotate import Preannotation
from maskwright.assist.suggestion.names import one_line
from maskwright.assist.suggestion.values import Source, Status, Suggestion
from maskwright.regions import Region
from maskwright_label_studio.config import REMARKS, LabelingConfig
from maskwright_label_studio.results import fresh_id

MOST_LINES = 100
_LONGEST = 300
_MOST_SOURCES = 6
_PIXELS: Mapping[Status, str] = {
    "confirmed": "pixels confirm",
    "plausible": "pixels leave open",
    "rejected": "pixels reject",
}


def remark_of(region: Region, suggestions: Iterable[Suggestion]) -> str | None:
    """Why a region has its class, in a line: ``person: tag 'man' 0.82; detector 0.61; pixels confirm 0.74``.

    Words and the detector's box speak for the class; how much the pixels do is told of this region. None where nothing
    was suggested.
    """
    meant = next((one for one in suggestions if one.is_known and one.label == region.label), None)
    if meant is None:
        return None
    parts = [words for source in meant.sources if source.kind != "region" and (words := _words(source, meant))]
    parts = parts[:_MOST_SOURCES]
    if any(source.kind == "region" for source in meant.sources) and region.label is not None:
        seen = region.class_scores.get(region.label)
        parts += [] if seen is None else [f"{_PIXELS[meant.status]} {_figure(seen)}"]
    return _line(f"{meant.label}: {'; '.join(parts) or 'looked for everywhere'}")


def with_remark(
    items: Sequence[dict[str, Any]], region: Region, suggestions: Iterable[Suggestion]
) -> list[dict[str, Any]]:
    """The result items of a region, with its remark where it has one."""
    remark = remark_of(region, suggestions)
    return [item if remark is None else item | {"meta": {"text": [remark]}} for item in items]


def remark_lines(found: Preannotation) -> list[str]:
    """A line for each suggested class, then for each problem; of the label set first, what pixels reject behind it."""
    order = sorted(found.suggestions, key=lambda one: (not one.is_known, one.is_known and one.status == "rejected"))
    lines = [_about(one) for one in order]
    problems = [_line(f"problem: {words}") for words in found.problems]
    return [*lines[: MOST_LINES - min(len(problems), MOST_LINES // 2)], *problems][:MOST_LINES]


def remarks_item(
    found: Preannotation, config: LabelingConfig, image_name: str, item_index: int | None
) -> list[dict[str, Any]]:
    """The result item of the text area, where the configuration has one on this image and there is anything to tell."""
    control = config.control(REMARKS)
    lines = remark_lines(found)
    if control is None or control.shape != "textarea" or image_name not in control.to_name or not lines:
        return []
    item: dict[str, Any] = {
        "id": fresh_id(),
        "from_name": control.name,
        "to_name": image_name,
        "type": "textarea",
        "value": {"text": lines},
    }
    return [item if item_index is None else item | {"item_index": item_index}]


def without_remarks(result: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The items of a result that are no such lines."""
    return [item for item in result if item.get("from_name") != REMARKS or item.get("type") != "textarea"]


def _about(one: Suggestion) -> str:
    spoken = "; ".join(words for source in one.sources[:_MOST_SOURCES] if (words := _words(source, one)))
    status = one.status if one.is_known else "outside of the label set"
    return _line(f"{one.label}: {status} {_figure(one.confidence)}" + (f" ({spoken})" if spoken else ""))


def _words(source: Source, of: Suggestion) -> str:
    text = " ".join(source.text.split())
    if source.kind == "language":
        return "the language model infers it from the scene" if of.implied else "the language model agrees"
    if source.kind == "caption":
        return f"caption '{text}'"
    if source.kind == "region":
        return f"{_PIXELS[of.status]} {_figure(source.confidence)}"
    named = "" if source.kind == "detector" and text == of.label else f" '{text}'"
    return f"{source.kind}{named} {_figure(source.confidence)}"


def _figure(share: float) -> str:
    return f"{share:.2f}"


def _line(text: str) -> str:
    whole = one_line(text)
    return whole if len(whole) <= _LONGEST else whole[: _LONGEST - 1] + "…"
