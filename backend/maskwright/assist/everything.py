"""Whole-image proposals: every object that a segmenter can find by itself, each once.

A segmenter that proposes regions is asked for them; any other is clicked on a grid of points, as the automatic mask
generation of Segment Anything does it (Kirillov et al. 2023, section 5 and appendix B): three masks per point, kept if
the decoder's estimate of their IoU is high and if they hardly change under a shifted threshold. Large images are
handled in tiles, whose findings are joined where the tiles overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from maskwright.assist.duplicates import distinct, distinct_low_res
from maskwright.assist.stitching import Piece, stitch
from maskwright.errors import Cancelled
from maskwright.images.tiles import IntBox, tile_grid
from maskwright.models.protocols import ImageEmbedding, Proposals, Proposer, Segmenter
from maskwright.prompts import Prompt

Encode = Callable[[IntBox], ImageEmbedding]
"""Gives the embedding of a window (xyxy in whole pixels) of the image in hand."""


@dataclass(frozen=True)
class ProposalOptions:
    """What counts as a proposal.

    Attributes:
        points_per_side: The grid has this many points along each side of a tile, whatever its shape.
        points_per_batch: Points per call of the decoder.
        predicted_iou_threshold: Least estimate of a mask's IoU.
        stability_threshold: Least IoU of a mask under the two shifted thresholds.
        stability_offset: Shift of the logits' threshold, both ways.
        duplicate_iou: Of two masks with at least this IoU, the worse goes.
        min_area: Least area in pixels.
        max_area_fraction: Largest area as a fraction of the image; what covers all of it is no object.
        tile_size: Images with a longer side are handled in tiles of this side, in pixels.
        tile_halo: Context in pixels around each tile's own part.
    """

    points_per_side: int = 32
    points_per_batch: int = 64
    predicted_iou_threshold: float = 0.88
    stability_threshold: float = 0.95
    stability_offset: float = 1.0
    duplicate_iou: float = 0.7
    min_area: int = 1
    max_area_fraction: float = 0.95
    tile_size: int = 2048
    tile_halo: int = 128


def never_cancelled() -> bool:
    """The ``cancelled`` of work that nobody will cancel."""
    return False


def propose_regions(
    segmenter: Segmenter,
    encode: Encode,
    image_size: tuple[int, int],
    options: ProposalOptions,
    cancelled: Callable[[], bool] = never_cancelled,
) -> Proposals:
    """Find the objects of an image.

    Args:
        segmenter: What finds them.
        encode: Gives the embedding of a window of the image.
        image_size: (H, W) of the image in pixels.
        options: What counts as a proposal.
        cancelled: Asked between batches.

    Returns:
        Distinct masks of the image's size, best first.

    Raises:
        Cancelled: As soon as ``cancelled`` says so.
    """
    tiled = max(image_size) > options.tile_size
    halo = options.tile_halo if tiled else 0
    pieces: list[Piece] = []
    for tile in tile_grid(image_size, options.tile_size if tiled else max(image_size), halo):
        _check(cancelled)
        found = _tile_proposals(segmenter, encode(tile.box), options, cancelled)
        pieces += [
            Piece(mask, tile.box, float(iou), float(stability))
            for mask, iou, stability in zip(found.masks, found.predicted_iou, found.stability, strict=True)
        ]
    whole = stitch(pieces, image_size)
    largest = options.max_area_fraction * image_size[0] * image_size[1]
    return distinct(
        whole.select([i for i, m in enumerate(whole.masks) if options.min_area <= m.area <= largest]),
        options.duplicate_iou,
    )


def refined_proposals(
    segmenter: Segmenter, embedding: ImageEmbedding, prompts: Sequence[Prompt], options: ProposalOptions
) -> Proposals:
    """What a segmenter draws where something else believes objects to be, held to what counts as a proposal.

    Families that propose by themselves have a measure of stability of their own, which drawn masks lack: none is asked
    for, and the estimate of their IoU stands for it.

    Args:
        segmenter: Draws them.
        embedding: Of the whole image.
        prompts: One for each.
        options: Its thresholds and bounds of the area.
    """
    if not prompts:
        return Proposals((), np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.float32))
    answer = segmenter.decode(embedding, prompts)
    logits, quality = answer.low_res_logits[:, 0], np.clip(np.nan_to_num(answer.predicted_iou[:, 0]), 0, 1)
    good = quality >= options.predicted_iou_threshold
    steady = quality
    if not isinstance(segmenter, Proposer):
        steady = stability(_inside(logits, embedding), options.stability_offset)
        good &= steady >= options.stability_threshold
    masks = tuple(segmenter.upsample(embedding, one) for one in logits[good])
    height, width = embedding.original_size
    found = Proposals(masks, quality[good], steady[good])
    largest = options.max_area_fraction * height * width
    return found.select([row for row, mask in enumerate(masks) if options.min_area <= mask.area <= largest])


def joined(one: Proposals, other: Proposals) -> Proposals:
    """The proposals of both, duplicates included."""
    return Proposals(
        (*one.masks, *other.masks),
        np.concatenate([one.predicted_iou, other.predicted_iou]),
        np.concatenate([one.stability, other.stability]),
    )


def stability(logits: NDArray[np.float32], offset: float) -> NDArray[np.float32]:
    """(n,) IoU of each of (n, h, w) masks thresholded at ``offset`` with itself thresholded at ``-offset``.

    The stricter mask lies inside the looser one, so this is a ratio of areas; an empty mask's stability is 0.
    """
    strict = (logits > offset).sum(axis=(1, 2), dtype=np.int64)
    loose = (logits > -offset).sum(axis=(1, 2), dtype=np.int64)
    ratio: NDArray[np.float32] = (strict / np.maximum(loose, 1)).astype(np.float32)
    return ratio


def grid_points(size: tuple[int, int], per_side: int) -> NDArray[np.float32]:
    """(per_side ** 2, 2) float32 xy: the centres of a per_side x per_side division of an (H, W) image, row by row."""
    fractions = (np.arange(per_side, dtype=np.float32) + 0.5) / per_side
    x, y = np.meshgrid(fractions * size[1], fractions * size[0])
    return np.stack([x.ravel(), y.ravel()], axis=1)


def _tile_proposals(
    segmenter: Segmenter, embedding: ImageEmbedding, options: ProposalOptions, cancelled: Callable[[], bool]
) -> Proposals:
    if isinstance(segmenter, Proposer):
        found = segmenter.propose(embedding)
        good = (found.predicted_iou >= options.predicted_iou_threshold) & (
            found.stability >= options.stability_threshold
        )
        return distinct(found.select(np.flatnonzero(good).tolist()), options.duplicate_iou)
    kept = _Kept()
    for prompts in _batches(grid_points(embedding.original_size, options.points_per_side), options.points_per_batch):
        _check(cancelled)
        answer = segmenter.decode(embedding, prompts, multimask_output=True)
        logits = answer.low_res_logits.reshape(-1, *answer.low_res_logits.shape[2:])
        iou = answer.predicted_iou.reshape(-1)
        likely = np.flatnonzero(iou >= options.predicted_iou_threshold)
        steady = stability(_inside(logits[likely], embedding), options.stability_offset)
        passed = steady >= options.stability_threshold
        kept = kept.with_batch(logits[likely[passed]], iou[likely[passed]], steady[passed], options.duplicate_iou)
    masks = []
    for logits_of_one in kept.logits:
        _check(cancelled)
        masks.append(segmenter.upsample(embedding, logits_of_one.astype(np.float32)))
    return Proposals(tuple(masks), kept.predicted_iou, kept.stability)


@dataclass(frozen=True, eq=False)
class _Kept:
    """The distinct masks so far, as low-resolution logits; half precision, for there may be hundreds."""

    logits: NDArray[np.float16] = field(default_factory=lambda: np.zeros((0, 1, 1), dtype=np.float16))
    predicted_iou: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    stability: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, dtype=np.float32))

    def with_batch(
        self,
        logits: NDArray[np.float32],
        predicted_iou: NDArray[np.float32],
        stability: NDArray[np.float32],
        duplicate_iou: float,
    ) -> _Kept:
        if not len(logits):
            return self
        # Clipping keeps both infinities out and the sign, on which the mask depends, in.
        half = np.clip(logits, -6e4, 6e4).astype(np.float16)
        every = np.concatenate([self.logits, half]) if len(self.logits) else half
        ious = np.concatenate([self.predicted_iou, predicted_iou])
        steady = np.concatenate([self.stability, stability])
        stay = distinct_low_res(every > 0, ious * steady, duplicate_iou)
        return _Kept(every[stay], ious[stay], steady[stay])


def _inside(logits: NDArray[np.float32], embedding: ImageEmbedding) -> NDArray[np.float32]:
    """The part of square logits that shows the image, where the encoder padded it to a square."""
    h, w = embedding.input_size
    rows, columns = logits.shape[-2:]
    if rows != columns or h == w:
        return logits
    return logits[..., : -(-rows * h // max(h, w)), : -(-columns * w // max(h, w))]


def _batches(points: NDArray[np.float32], size: int) -> Iterator[list[Prompt]]:
    one = np.ones(1, dtype=np.int64)
    for start in range(0, len(points), size):
        yield [Prompt(point_coords=point[None], point_labels=one) for point in points[start : start + size]]


def _check(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise Cancelled("finding the regions of an image was cancelled")
