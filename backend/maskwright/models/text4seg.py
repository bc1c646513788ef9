"""Language models that read pictures as segmenters: a picture as text, one class name for each cell of a grid.

Source: Lan et al., "Text4Seg: Reimagining Image Segmentation as Text Generation", ICLR 2025, arXiv 2410.09855. There a
model is fine-tuned to write the grid; any other can be asked for it and does it poorly, so that its answers are drafts,
which ``maskwright.assist.text4seg`` hands to another segmenter. ``maskwright.masks.text`` says how the text is formed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from maskwright.errors import InvalidInput
from maskwright.labels import LabelSet
from maskwright.masks import Mask
from maskwright.masks.cells import mask_of_cells
from maskwright.masks.grids import DescriptorGrid, checked_side, is_background
from maskwright.masks.text import escaped
from maskwright.masks.text_grammar import row_pattern
from maskwright.masks.text_parser import ParsedGrid, parse_text
from maskwright.models.describers.vlm import LONGEST_SIDE, jpeg
from maskwright.models.language.prompt_sets import PromptSet, Question
from maskwright.models.protocols import RGB, Candidates, ImageEmbedding, LanguageModel
from maskwright.prompts import Prompt

PROMPT = "text4seg"
REVISION = 1
_BYTES_PER_PIXEL = 3


class TextSegmenter:
    """Implements ``Segmenter`` for prompts that are phrases, one question each. Its "embedding" is the picture.

    Args:
        language: A model that reads the images of messages.
        side: Cells along each side of the grid; the paper has 16, 24 and 32.
        prompts: The project's; None = the package's general ones.
        constrained: Whether the model can write nothing but what its schema allows, patterns included, as local ones
            (``hf:``). Rows then have a pattern. From any other model a pattern would only cost tries: what it writes
            is read with tolerance.

    Raises:
        InvalidInput: If the side is out of bounds.
    """

    embedding_nbytes = LONGEST_SIDE**2 * _BYTES_PER_PIXEL

    def __init__(
        self,
        language: LanguageModel,
        *,
        side: int = 16,
        prompts: PromptSet | None = None,
        constrained: bool = False,
    ) -> None:
        self._language, self._prompts = language, prompts or PromptSet()
        self.side, self._constrained = checked_side(side), constrained
        words = self._prompts.question(PROMPT).version
        self.name = f"text4seg-{language.name}"
        self.version = f"text4seg-{REVISION}({language.version}, {words}, {self.side}{', held' * constrained})"
        self.embedding_version = f"picture-{REVISION}"

    def read(self, embedding: ImageEmbedding, labels: LabelSet) -> ParsedGrid:
        """The grid of a picture, and how far to trust it.

        Args:
            embedding: By ``encode``.
            labels: What may stand in the cells; at least one class that is not the background.

        Raises:
            InvalidInput: If there is no class to look for.
            ModelUnavailable: If the model does not answer.
        """
        names = [item.name for item in labels if not is_background(item.name)]
        if not names:
            raise InvalidInput("a grid of descriptors needs a class to look for")
        question = self._question(names, embedding.arrays["jpeg"].tobytes())
        answer = self._language.answer(question.messages, question.schema)
        return parse_text("\n".join(map(str, answer["rows"])), self.side, labels)

    def encode(self, images: Sequence[RGB]) -> list[ImageEmbedding]:
        """The pictures as JPEG, at most ``LONGEST_SIDE`` pixels a side; see ``Segmenter``."""
        return [self._embedding(image) for image in images]

    def decode(
        self, embedding: ImageEmbedding, prompts: Sequence[Prompt], *, multimask_output: bool = False
    ) -> Candidates:
        """Logits of 1 and -1 for the cells of each phrase; always one mask.

        ``predicted_iou`` is the part of the answer that could be read without guessing, and no estimate of an IoU.

        Raises:
            InvalidInput: If a prompt has no phrase, or the embedding is another's.
            ModelUnavailable: If the model does not answer.
        """
        if embedding.model_version != self.embedding_version:
            raise InvalidInput(f"this embedding is of {embedding.model_version}, not of {self.embedding_version}")
        logits = np.zeros((len(prompts), 1, self.side, self.side), dtype=np.float32)
        read = np.zeros((len(prompts), 1), dtype=np.float32)
        for index, prompt in enumerate(prompts):
            if not prompt.phrase or is_background(prompt.phrase):
                raise InvalidInput("this segmenter is asked by words alone; name what you look for")
            parsed = self.read(embedding, LabelSet.of([prompt.phrase]))
            marked = np.any([parsed.grid.marked(name) for name in parsed.grid.names[1:]], axis=0)
            logits[index, 0] = np.where(marked, 1, -1)
            read[index, 0] = parsed.confidence
        return Candidates(logits, read)

    def upsample(self, embedding: ImageEmbedding, low_res_logits: np.ndarray[Any, np.dtype[np.float32]]) -> Mask:
        """The pixels of the cells whose logits are above 0."""
        return mask_of_cells(low_res_logits > 0, embedding.original_size)

    def _question(self, names: Sequence[str], picture: bytes) -> Question:
        question = self._prompts.question(PROMPT, labels=[escaped(name) for name in names], images=[picture])
        *before, last = question.messages
        told = f"{last.content}\nThe grid has {self.side} rows of {self.side} cells each."
        schema: dict[str, Any] = dict(question.schema)
        if self._constrained:
            row = {"type": "string", "pattern": f"^(?:{row_pattern(names, self.side)})$"}
            rows = {"type": "array", "minItems": self.side, "maxItems": self.side, "items": row}
            schema = {**schema, "properties": {"rows": rows}}
        return Question((*before, replace(last, content=told)), schema, question.version)

    def _embedding(self, image: RGB) -> ImageEmbedding:
        picture = np.frombuffer(jpeg(image), dtype=np.uint8)
        size = (image.shape[0], image.shape[1])
        return ImageEmbedding({"jpeg": picture}, size, size, self.embedding_version)


def objects(
    grid: DescriptorGrid, classes: Collection[str] = ()
) -> list[tuple[str, np.ndarray[Any, np.dtype[np.bool_]]]]:
    """The classes of a grid's objects and the (N, N) bool cells of each, classes in the order of the grid.

    Names with a number (``dog#2``, see ``grids.with_instances``) are an object each; of the others each part that
    hangs together, corners included, is one. Objects of a class that touch become one. What is called like one of the
    ``classes`` is of that class, though the name ends in a number.
    """
    import cv2

    found = []
    for name in grid.present:
        cells = grid.marked(name)
        label, number, _ = name.rpartition("#")
        if number and name not in classes:
            found.append((label, cells))
            continue
        count, parts = cv2.connectedComponents(cells.astype(np.uint8), connectivity=8)
        found += [(name, parts == part) for part in range(1, count)]
    return found
