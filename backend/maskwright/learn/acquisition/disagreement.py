"""How much answers change when the question is put a little differently, or the image is mirrored."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput
from maskwright.learn.acquisition.candidates import Context, Look, ProposedRegion, Signal
from maskwright.learn.acquisition.looking import without_padding
from maskwright.learn.acquisition.uncertainty import mean
from maskwright.models.protocols import Segmenter
from maskwright.prompts import Box, Prompt


@dataclass(frozen=True, eq=False)
class Disagreement(Signal):
    """Mean 1 - IoU between an answer and the answers to its jittered prompt, and to the mirrored image where given.

    In [0, 1]. A committee made of perturbations: query by committee (Seung, Opper & Sompolinsky, COLT 1992) with
    test-time augmentation in place of members (Wang et al., Neurocomputing 338, 2019); boxes are jittered as SAM's
    training does (Kirillov et al. 2023, appendix A).

    Attributes:
        segmenter: In service; it made the embeddings.
        repeats: Jittered prompts per proposal, 1 or more; each costs a decode.
        jitter: Standard deviation of the shift of every side or point, as a share of the prompted region's sides.
    """

    segmenter: Segmenter
    repeats: int = 4
    jitter: float = 0.05
    name = "disagreement"

    def __post_init__(self) -> None:
        if self.repeats < 1 or not 0 <= self.jitter < 1:
            raise InvalidInput(
                f"disagreement: {self.repeats} repeats must be 1 or more, jitter {self.jitter} in [0, 1)"
            )

    def measure(self, key: str, look: Look, context: Context) -> float:
        """See ``Signal``; NaN without proposals."""
        if not look.proposals:
            return float("nan")
        rng = context.generator(key)
        size = look.embedding.original_size
        asked = [jittered(item, size, self.jitter, rng) for item in look.proposals for _ in range(self.repeats)]
        answer = self.segmenter.decode(look.embedding, asked).low_res_logits[:, 0]
        others = without_padding(answer, look.embedding) > 0
        base = np.stack([item.logits for item in look.proposals]) > 0
        apart = 1 - ious(np.repeat(base, self.repeats, axis=0), others)
        found: NDArray[np.float64] = apart.reshape(len(base), self.repeats)
        if look.mirrored is not None:
            turned = [mirrored(item.prompt, size[1]) for item in look.proposals]
            answer = self.segmenter.decode(look.mirrored, turned).low_res_logits[:, 0]
            back = without_padding(answer, look.mirrored)[..., ::-1] > 0
            found = np.concatenate([found, (1 - ious(base, back))[:, None]], axis=1)
        return mean(list(found.mean(axis=1)))


def ious(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(n,) IoU of pairs of (n, h, w) masks; two empty ones are equal, so 1."""
    both = np.count_nonzero(a & b, axis=(1, 2))
    either = np.count_nonzero(a | b, axis=(1, 2))
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def jittered(proposal: ProposedRegion, size: tuple[int, int], share: float, rng: np.random.Generator) -> Prompt:
    """A proposal's prompt with its box's sides and its points moved a little, inside an (H, W) image.

    Where there is no box, the answer's own extent says how much a little is.
    """
    prompt = proposal.prompt
    left, top, right, bottom = prompt.box or _extent(proposal, size)
    sides = np.array([right - left, bottom - top])
    edge = np.array([size[1], size[0]], dtype=np.float64)
    moves = rng.normal(0, share, (2 + len(prompt.point_coords), 2)) * sides
    box: Box | None = None
    if prompt.box is not None:
        low = np.clip(np.array([left, top]) + moves[0], 0, edge)
        high = np.clip(np.array([right, bottom]) + moves[1], 0, edge)
        # A box of a few pixels must stay a box.
        fine = (high > low).all()
        box = (float(low[0]), float(low[1]), float(high[0]), float(high[1])) if fine else prompt.box
    points = np.clip(prompt.point_coords + moves[2:], 0.5, edge - 0.5).astype(np.float32)
    return replace(prompt, point_coords=points, box=box)


def mirrored(prompt: Prompt, width: int) -> Prompt:
    """The same prompt in the image of this width mirrored left to right; ``mask_input`` is dropped."""
    turned = replace(prompt, box=None, mask_input=None).transformed(-1.0, 1.0, float(width), 0.0)
    if prompt.box is None:
        return turned
    left, top, right, bottom = prompt.box
    return replace(turned, box=(width - right, top, width - left, bottom))


def _extent(proposal: ProposedRegion, size: tuple[int, int]) -> Box:
    """xyxy of the answer in pixels of the image; of the image where it is empty."""
    rows, columns = np.nonzero(proposal.logits > 0)
    if not len(rows):
        return 0.0, 0.0, float(size[1]), float(size[0])
    across, down = size[1] / proposal.logits.shape[1], size[0] / proposal.logits.shape[0]
    return (
        float(columns.min() * across),
        float(rows.min() * down),
        float((columns.max() + 1) * across),
        float((rows.max() + 1) * down),
    )
