"""``maskwright answers``: what language models answered, to see it and to delete what is wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from maskwright.errors import NotFound

if TYPE_CHECKING:
    from maskwright.models.language.answers_cache import AnswersCache

_SHOWN = 120


def register(app: typer.Typer) -> None:
    """Add this module's commands to ``app``."""
    answers = typer.Typer(no_args_is_help=True)
    answers.command("list")(list_answers)
    answers.command()(forget)
    app.add_typer(answers, name="answers", help="What language models answered: see it, and delete what is wrong.")


def list_answers(
    words: Annotated[str, typer.Argument(help="Only where question or answer hold these words.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="Show no more than so many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List answers that are kept, the ones used last first: of whom, to what, and the key that deletes each.

    Every image whose question is the same gets the same answer, such as which class "jockey" is.
    """
    found = []
    for one in _kept().answers():
        answer = json.dumps(one.answer, ensure_ascii=False)
        if words.casefold() in f"{one.question} {answer}".casefold():
            found.append((one, answer))
        if len(found) == limit:
            break
    if as_json:
        documents = [
            {"key": one.key, "used": one.used.isoformat(), "model": one.model, "question": one.question,
             "answer": one.answer}
            for one, _ in found
        ]  # fmt: skip
        typer.echo(json.dumps(documents, indent=1, ensure_ascii=False))
        return
    for one, answer in found:
        question = " ".join(one.question.split())
        typer.echo(f"{one.key}  {one.used:%Y-%m-%d %H:%M}  {one.model}")
        typer.echo(f"    {question[:_SHOWN]}{'...' if len(question) > _SHOWN else ''}")
        typer.echo(f"    {answer[:_SHOWN]}{'...' if len(answer) > _SHOWN else ''}")
    if not found:
        typer.echo("no answer is kept that holds these words" if words else "no answer is kept")


def forget(keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="As 'answers list' shows them.")]) -> None:
    """Delete answers, so that the next image asks anew; servers that run notice at once.

    A model that is asked the same may answer the same: what it takes for a class is better told by the words of the
    classes, or by the project's own prompts.
    """
    kept = _kept()
    unknown = [key for key in keys if not kept.forget(key)]
    typer.echo(f"deleted: {len(keys) - len(unknown)}")
    if unknown:
        raise NotFound(f"no answer is kept under {', '.join(unknown)}; 'maskwright answers list' shows those there are")


def _kept() -> AnswersCache:
    from maskwright.models.language.answers_cache import kept_answers
    from maskwright.settings import read_settings

    return kept_answers(read_settings())
