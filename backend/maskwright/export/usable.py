"""What of an annotation a dataset can hold, and when it says nothing about an image."""

from __future__ import annotations

from dataclasses import replace

from maskwright.annotated import Annotation
from maskwright.export.label_mapping import LabelMapping
from maskwright.masks import Size
from maskwright.regions import Region


def is_unreadable(annotation: Annotation) -> bool:
    """Whether something was drawn of which nothing could be read: that says nothing about the image being empty."""
    return bool(annotation.problems) and not any(annotation.regions.values())


def is_of_other_size(annotation: Annotation, position: int, size: Size) -> bool:
    """Whether all that was drawn on an image was drawn on a picture of another size."""
    regions = annotation.regions.get(position, ())
    return bool(regions) and all(region.mask.size != size for region in regions)


def usable_regions(
    person: str, annotation: Annotation, mapping: LabelMapping, position: int, size: Size
) -> tuple[tuple[Region, ...], list[str]]:
    """The regions that a dataset can hold, under their new class, and a sentence for each that it cannot."""
    kept: list[Region] = []
    problems = []
    for number, region in enumerate(annotation.regions.get(position, ()), start=1):
        title = f"annotation {annotation.key}, region {region.key or number}"
        if region.label is None:
            problems.append(f"{title} has no class and is left out")
            continue
        label = mapping.apply(region.label)
        if label is None:
            continue
        if region.mask.size != size:
            problems.append(f"{title} was drawn on an image of {region.mask.size}, not {size} (height, width)")
        elif region.mask.is_empty:
            problems.append(f"{title} ({label}) holds no pixel and is left out")
        else:
            named = (
                region
                if region.provenance.person
                else replace(region, provenance=replace(region.provenance, person=person))
            )
            kept.append(named if named.label == label else replace(named, label=label))
    return tuple(kept), problems
