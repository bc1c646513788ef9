"""A phrase to the region that it names best."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from maskwright.assist.everything import propose_regions
from maskwright.assist.located import locate_objects
from maskwright.assist.preannotate import PreannotationOptions, proposal_options
from maskwright.errors import InvalidInput
from maskwright.images import Image
from maskwright.images.tiles import IntBox
from maskwright.masks import Mask
from maskwright.models.protocols import ImageEmbedding, Locator, RegionClassifier, Segmenter


def refer(
    image: Image,
    words: Sequence[str],
    *,
    segmenter: Segmenter,
    encode: Callable[[IntBox], ImageEmbedding],
    classifier: RegionClassifier,
    tile_size: int,
) -> tuple[Mask, float]:
    """The region that looks most like what the words mean; where it stands among its likes ("on the left") is not read.

    Args:
        image: The image; its longer side at most ``tile_size``.
        words: One phrase and other words for the same thing, at least one.
        segmenter: Draws the mask.
        encode: Gives the embedding of a window (xyxy, whole pixels) of this image.
        classifier: Tells where an image shows what words mean.
        tile_size: In pixels.

    Returns:
        A mask of the image's size and its score in [0, 1]; an empty mask and 0 where nothing of the kind is seen.

    Raises:
        InvalidInput: If the image is too large, or the classifier cannot tell where things are.
    """
    if not isinstance(classifier, Locator):
        raise InvalidInput("this classifier cannot find a region by a phrase alone; add a click or a box")
    if max(image.size) > tile_size:
        raise InvalidInput(
            f"a phrase alone finds regions on images of at most {tile_size} pixels a side; add a click or a box"
        )
    phrases = [tuple(words)]
    options = proposal_options(PreannotationOptions(), segmenter, 1, tile_size, 0)
    evidence = classifier.locate(image.pixels, phrases)
    embedding = encode((0, 0, image.size[1], image.size[0]))
    found = propose_regions(segmenter, lambda window: embedding, image.size, options, lambda: False)
    located = locate_objects(image.pixels, evidence, phrases, found, segmenter, embedding, classifier)
    if not located:
        return Mask.empty(image.size), 0.0
    best = max(located, key=lambda item: item.quality * float(item.probabilities[0]))
    return best.mask, best.quality * float(best.probabilities[0])
