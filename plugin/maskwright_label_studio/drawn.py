"""The regions that a person sees on the image in hand, as a request for an interactive answer tells of them.

Label Studio sends with the task the drafts of the person who asks, the annotations and the predictions, in full. What
is on the screen is in the newest draft; where there is none yet, in the newest annotation; and where that is missing
too, in the newest prediction, which the editor copies into a new annotation.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from maskwright.errors import InvalidInput
from maskwright.masks import Size
from maskwright.regions import Region
from maskwright_label_studio.body import RequestBody
from maskwright_label_studio.config import LabelingConfig
from maskwright_label_studio.context import PromptGroup
from maskwright_label_studio.results import companion_labels, draws_mask, result_to_region
from maskwright_label_studio.tasks import PredictRequest

log = logging.getLogger(__name__)


def drawn_regions(request: PredictRequest, group: PromptGroup, size: Size) -> list[Region]:
    """The labelled regions on the image of a prompt, in drawing order.

    Args:
        request: Its first task is the one in hand; finished regions in its context count too.
        group: The prompt.
        size: (H, W) of the image; regions of another size are left out.
    """
    task = request.tasks[0]
    context = (request.context or {}).get("result")
    items = [*_newest(task if isinstance(task, Mapping) else {}), *(context if isinstance(context, list) else ())]
    found = regions_of(items, request.config, group.image.name, group.item_index or 0, body=request.body)
    return [region for region in found if tuple(region.mask.size) == tuple(size)]


def regions_of(
    items: Sequence[Any],
    config: LabelingConfig,
    image_name: str,
    item_index: int,
    *,
    body: RequestBody | None = None,
) -> list[Region]:
    """The labelled regions of result items on one image, in their order; of those with the same id, the last.

    Args:
        items: Of a result.
        config: The labelling configuration; what controls drew that are there for prompts only is left out.
        image_name: Name of the image's tag.
        item_index: Which image of the tag.
        body: The document that the items are a part of, where run lengths were skipped in it.
    """
    results = [item for item in items if isinstance(item, Mapping)]
    named = companion_labels(results)
    found: dict[str, Region] = {}
    for number, item in enumerate(results):
        control = config.control(item.get("from_name"))
        here = item.get("to_name") == image_name and (item.get("item_index") or 0) == item_index
        if not here or control is None or control.smart_only or not draws_mask(item):
            continue
        try:
            label = next(iter(named.get(str(item.get("id")), ())), None)
            region = result_to_region(item, label=label, source="person", body=body)
        except InvalidInput as error:
            log.info("a region that is drawn cannot be read: %s", error)
            continue
        if region is not None and region.label and not region.mask.is_empty:
            found.pop(region.key, None)
            found[region.key or f"number {number}"] = region
    return list(found.values())


def _newest(task: Mapping[str, Any]) -> list[Any]:
    """The items on the screen, as far as the task tells."""
    for key in ("drafts", "annotations", "predictions"):
        kept = task.get(key)
        states = [one for one in kept if isinstance(one, Mapping)] if isinstance(kept, list) else []
        states = [one for one in states if isinstance(one.get("result"), list) and not one.get("was_cancelled")]
        if states:
            newest = max(
                reversed(states), key=lambda one: (str(one.get("updated_at") or ""), str(one.get("created_at") or ""))
            )
            return list(newest["result"])
    return []
