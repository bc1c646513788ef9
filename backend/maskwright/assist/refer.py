"""Phrases to the regions that they name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from maskwright.assist.referring.finders import finder_by_looks
from maskwright.assist.referring.reading import read_phrases
from maskwright.assist.referring.resolve import Find, resolve
from maskwright.errors import InvalidInput
from maskwright.images import Image
from maskwright.images.tiles import IntBox
from maskwright.masks import Mask
from maskwright.models.language.prompt_sets import PromptSet
from maskwright.models.protocols import ImageEmbedding, LanguageModel, RegionClassifier, Segmenter
from maskwright.prompts import Prompt
from maskwright.regions import Provenance, Region


@dataclass(frozen=True, eq=False)
class Referred:
    """What phrases mean in a picture.

    Attributes:
        regions: Those of the first phrase first; none twice.
        reasons: Why a phrase found nothing, or less than it asks for, or was not understood; each begins with the
            phrase. Empty if all went well.
    """

    regions: tuple[Region, ...]
    reasons: tuple[str, ...] = ()


def refer_regions(
    text: str,
    find: Find,
    size: tuple[int, int],
    *,
    label: str | None = None,
    also: Sequence[str] = (),
    language: LanguageModel | None = None,
    prompts: PromptSet | None = None,
    model_version: str | None = None,
) -> Referred:
    """The regions that phrases name: "the dog next to the bench; second car from the left".

    Args:
        text: One phrase or several, on lines of their own or between semicolons; see ``referring.grammar``.
        find: Who finds things by words; see ``referring.finders``.
        size: (H, W) of the image.
        label: The class that the regions are given.
        also: Words for that class, which help to find it and stand for "one" in "the left one"; see ``resolve``.
        language: Reads what the grammar does not understand.
        prompts: The project's.
        model_version: Written into the regions' provenance.

    Raises:
        InvalidInput: If there is no phrase, or there are too many, or one is too long.
    """
    readings = read_phrases(text, language=language, prompts=prompts)
    if not readings:
        raise InvalidInput("the phrase is empty; name what you look for")
    regions: dict[str, Region] = {}
    reasons: list[str] = []
    for reading in readings:
        meant = [resolve(expression, find, size, also) for expression in reading.expressions]
        problems = [*reading.problems, *(one.reason for one in meant if one.reason)]
        if not meant and not problems:
            problems = ["nothing in it can be looked for"]
        reasons += [f"{reading.phrase!r}: {problem}" for problem in problems]
        made_by = Provenance("interactive", model_version, Prompt(phrase=reading.phrase).content_hash())
        for item in (item for one in meant for item in one.found):
            regions.setdefault(item.mask.content_hash(), Region(item.mask, label, item.score, made_by))
    return Referred(tuple(regions.values()), tuple(reasons))


def refer(
    image: Image,
    words: Sequence[str],
    *,
    segmenter: Segmenter,
    encode: Callable[[IntBox], ImageEmbedding],
    classifier: RegionClassifier,
    tile_size: int,
    language: LanguageModel | None = None,
) -> tuple[Mask, float]:
    """All that a phrase means, as one mask; see ``refer_regions`` for one mask each.

    Args:
        image: The image; its longer side at most ``tile_size``.
        words: One phrase and other words for the same thing, at least one.
        segmenter: Draws the masks.
        encode: Gives the embedding of a window (xyxy, whole pixels) of this image.
        classifier: Tells where an image shows what words mean.
        tile_size: In pixels.
        language: Reads what the grammar does not understand.

    Returns:
        A mask of the image's size and the least score of its parts in [0, 1]; an empty mask and 0 where nothing of the
        kind is seen.

    Raises:
        InvalidInput: If the image is too large, or the classifier cannot tell where things are.
    """
    find = finder_by_looks(image, segmenter=segmenter, encode=encode, classifier=classifier, tile_size=tile_size)
    found = refer_regions(words[0], find, image.size, also=words[1:], language=language).regions
    if not found:
        return Mask.empty(image.size), 0.0
    return found[0].mask.union(*(region.mask for region in found[1:])), min(region.score for region in found)
