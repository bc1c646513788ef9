"""Any language model that reads pictures, as tagger and captioner, asked with the prompts ``tags`` and ``caption``."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image as PillowImage

from maskwright.models.describers.image_input import checked
from maskwright.models.language.budget import Budget, BudgetedModel
from maskwright.models.language.prompt_sets import PromptSet
from maskwright.models.protocols import RGB, LanguageModel, Tag

LONGEST_SIDE = 1024
"""Pixels of the longer side of a picture that is sent: what most such models read, and a bound on what is paid."""
_QUALITY = 90


class PictureReader:
    """Tags and captions by a language model, one call per picture: several pictures in one call hurt the answers.

    Args:
        language: A model that reads the images of messages.
        prompts: What it is asked; None for the package's own words.
    """

    def __init__(self, language: LanguageModel, prompts: PromptSet | None = None) -> None:
        self._language, self._prompts = language, prompts or PromptSet()
        # ``Stages.describe`` says the same before anything is loaded.
        self.name, self.version = language.name, f"{language.version}-{self._prompts.version}"

    def with_prompts(self, prompts: PromptSet) -> PictureReader:
        """The same model, asked with a project's own words."""
        return PictureReader(self._language, prompts)

    def within(self, budget: Budget) -> PictureReader:
        """The same model, asked only while a budget lasts."""
        return PictureReader(BudgetedModel(self._language, budget), self._prompts)

    def tags(self, images: Sequence[RGB], *, top: int = 10) -> list[list[Tag]]:
        """Words for each (H, W, 3) uint8 RGB image with the confidence that the model claims, surest first.

        Raises:
            InvalidInput: If an image has another form or holds no pixel.
            ModelUnavailable: If the model does not answer.
        """
        found = []
        for image in images:
            question = self._prompts.question("tags", images=(jpeg(image),))
            words = {**question.schema["properties"]["tags"], "maxItems": top}
            schema = {**question.schema, "properties": {"tags": words}}
            said: dict[str, float] = {}
            for tag in self._language.answer(question.messages, schema)["tags"]:
                said.setdefault(" ".join(tag["word"].lower().split()), float(tag["confidence"]))
            said.pop("", None)
            found.append([Tag(word, sure) for word, sure in sorted(said.items(), key=lambda one: -one[1])[:top]])
        return found

    def captions(self, images: Sequence[RGB]) -> list[str]:
        """A sentence or two for each (H, W, 3) uint8 RGB image.

        Raises:
            InvalidInput: If an image has another form or holds no pixel.
            ModelUnavailable: If the model does not answer.
        """
        questions = (self._prompts.question("caption", images=(jpeg(image),)) for image in images)
        answers = (self._language.answer(question.messages, question.schema) for question in questions)
        return [" ".join(answer["caption"].split()) for answer in answers]


def jpeg(image: RGB, longest: int = LONGEST_SIDE) -> bytes:
    """An (H, W, 3) uint8 RGB image as JPEG, its longer side at most ``longest`` pixels.

    Raises:
        InvalidInput: If the image has another form or holds no pixel.
    """
    height, width = checked(image).shape[:2]
    scale = min(1.0, longest / max(height, width))
    picture = PillowImage.fromarray(image)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        picture = picture.resize(size, PillowImage.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
