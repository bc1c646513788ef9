"""Which classes have objects that can be counted, and which only cover areas, such as sky ("things" and "stuff")."""

from __future__ import annotations

from collections.abc import Sequence

from maskwright.assist.suggestion.names import ClassNames, keys
from maskwright.labels import LabelClass, LabelSet

USUAL_STUFF = frozenset(
    key
    for word in (
        "sky", "cloud", "fog", "water", "sea", "ocean", "river", "lake", "waterfall", "snow", "ice", "sand",
        "beach", "mud", "dirt", "soil", "gravel", "rock", "mountain", "hill", "ground", "land", "earth", "field",
        "grass", "grassland", "lawn", "moss", "vegetation", "foliage", "forest", "woodland", "bush", "shrub", "crop",
        "farmland", "terrain", "road", "street", "roadway", "lane marking", "road marking", "path", "pavement",
        "sidewalk", "footpath", "parking", "runway", "rail track", "railroad", "platform", "playing field", "floor",
        "flooring", "carpet", "ceiling", "wall", "tile", "brick", "building", "house", "skyscraper", "roof", "fence",
        "railing", "guard rail", "bridge", "tunnel", "tree", "curtain", "cloth", "cardboard", "paper", "wood", "metal",
        "stone", "concrete", "background tissue", "stroma", "tissue", "fat", "muscle", "void", "bare soil",
        "built-up area", "urban area", "wetland", "cropland",
    )
    for key in keys(word)
)  # fmt: skip
"""Words for what covers areas, after the "stuff" of COCO, Cityscapes, CamVid and ADE20K, and land cover."""


_LONGEST = 60
"""Characters of a name that are shown."""


def countable_classes(classes: Sequence[LabelClass], stuff: Sequence[str] | None) -> tuple[list[bool], list[str]]:
    """Whether each class has countable objects, and a sentence if the list of those that have none names others.

    Args:
        classes: Of a label set.
        stuff: Names or aliases of classes without countable objects, whatever their case, hyphens and number; None =
            classes whose name, or one of whose aliases, is among the usual ones.
    """
    if stuff is None:
        return [not any(keys(word) & USUAL_STUFF for word in (item.name, *item.aliases)) for item in classes], []
    names = ClassNames(LabelSet(tuple(classes)))
    found = {word: names.find(word) for word in stuff}
    areas = {item.name for item in found.values() if item is not None}
    unknown = [word for word in found if not found[word]]
    more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
    told = [f"{word[:_LONGEST]!r}{more} shall have no countable objects, but is no class" for word in unknown[:1]]
    return [item.name not in areas for item in classes], told
