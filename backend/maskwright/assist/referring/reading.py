"""A text to expressions: by the grammar, and where it fails by a language model that fills in the same values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maskwright.assist.referring.expressions import Expression
from maskwright.assist.referring.grammar import NotUnderstood, parse_phrase, split_phrases
from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.language.prompt_sets import PromptSet
from maskwright.models.protocols import LanguageModel

PROMPT = "referring"


@dataclass(frozen=True)
class PhraseReading:
    """What a phrase asks for.

    Attributes:
        phrase: As it was written.
        expressions: Mostly one; a language model may see several things in a phrase, or none.
        problems: Why it was not read as it should have been, in words; empty if all went well.
    """

    phrase: str
    expressions: tuple[Expression, ...]
    problems: tuple[str, ...] = ()


def read_phrases(
    text: str, *, language: LanguageModel | None = None, prompts: PromptSet | None = None
) -> list[PhraseReading]:
    """Read every phrase of a text.

    What the grammar does not understand is read by the language model; without one, or if it does not answer, the
    whole phrase is taken for the name of a thing, and the problem is told.

    Args:
        text: Phrases as ``grammar.split_phrases`` separates them.
        language: Asked only about what the grammar does not understand.
        prompts: The project's; None = the package's general ones.

    Raises:
        InvalidInput: If there are too many phrases, or one is too long.
    """
    return [_read(phrase, language, prompts or PromptSet()) for phrase in split_phrases(text)]


def _read(phrase: str, language: LanguageModel | None, prompts: PromptSet) -> PhraseReading:
    try:
        return PhraseReading(phrase, (parse_phrase(phrase),))
    except NotUnderstood as error:
        problem = str(error)
    except InvalidInput as error:
        return PhraseReading(phrase, (), (str(error),))
    if language is not None:
        question = prompts.question(PROMPT, phrase=phrase)
        try:
            answer = language.answer(question.messages, question.schema)
            return PhraseReading(phrase, tuple(_expression(part) for part in answer["regions"]))
        except ModelUnavailable as error:
            problem = f"{problem}, and the language model could not be asked: {error}"
        except InvalidInput as error:
            problem = f"{problem}, and the language model's reading makes no sense: {error}"
    return PhraseReading(phrase, (Expression(phrase),), (f"{problem}; the phrase is taken for a name as a whole",))


def _expression(part: Mapping[str, Any]) -> Expression:
    """One thing of an answer that is valid under the schema of the prompt."""
    anchors = tuple(_expression(anchor) for anchor in part.get("anchors", ()))
    relation = part.get("relation") if anchors else None
    return Expression(
        " ".join(str(part["noun"]).split()),
        part["count"],
        part["order"],
        part["rank"],
        relation,
        anchors if relation else (),
        tuple(_expression(other) for other in part.get("excluded", ())),
    )
