"""``maskwright suggest-labels``: classes for a project, proposed from a sample of its images."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskwright.cli_images import told_once
from maskwright.errors import InvalidInput

if TYPE_CHECKING:
    from maskwright.assist.suggestion.label_sets import LabelProposal
    from maskwright.labels import LabelSet
    from maskwright.models.protocols import RGB
    from maskwright.server.platforms import Labelling
    from maskwright.settings import Settings

_SIDE, _QUALITY = 320, 90

_Sample = Annotated[int, typer.Option("--sample", min=0, help="Images to read; 0: only tell the rates.")]
_Write = Annotated[
    Path | None,
    typer.Option(
        "--write",
        metavar="FILE",
        help="Write a labelling configuration with all proposed classes; beside it the proposal as JSON, and a folder "
        "of pictures.",
    ),
]
_Apply = Annotated[
    list[str], typer.Option("--apply", metavar="NAME", help="Give this class to the project; once for each class.")
]


_Describe = Annotated[
    bool, typer.Option("--describe", help="Have the language model say how each class looks; written as its hint.")
]


def register(app: typer.Typer) -> None:
    """Add this module's command to ``app``."""
    app.command()(suggest_labels)


def suggest_labels(
    project: Annotated[str, typer.Argument(metavar="PROJECT", help="Number of the project on its platform.")],
    sample: _Sample = 50,
    least: Annotated[int, typer.Option("--least", min=1, help="Images that have to show a class.")] = 2,
    write: _Write = None,
    describe: _Describe = False,
    apply: _Apply = [],  # noqa: B006 - typer reads it, nobody changes it
    platform: Annotated[str, typer.Option("--platform", help="Which platform, if several are installed.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Propose classes for a project by what a sample of its images shows, with counts, aliases and examples.

    They are read by the tagger, captioner, language model and detector of the project, or else of the settings, and
    are the same images each time. Nothing is changed unless --apply names what is approved. Told beside it: how often
    classes were suggested so far, supported by pixels, and accepted.
    """
    from maskwright.server.platforms import labelling_platform
    from maskwright.settings import read_settings

    approved = [name.strip() for name in apply if name.strip()]
    if not sample and (write is not None or approved):
        raise InvalidInput("without a sample nothing is proposed that could be written or applied")
    if write is not None and approved:
        raise InvalidInput("either write a configuration to a file (--write) or change the project (--apply)")
    settings, where = read_settings(), labelling_platform(platform)
    document: dict[str, Any] = {"project": project, "rates": _rates(settings, where.name, project)}
    if not sample:
        typer.echo(json.dumps(document)) if as_json else _print_rates(document["rates"])
        return
    written = None if write is None else Written(write)
    config = where.project_config(settings, project)
    labels = where.label_set(config)
    with told_once():
        proposal = propose(settings, where, project, labels, sample, least, written, describe=describe)
    names = [one.name for one in proposal.classes]
    document |= {
        "images": proposal.images,
        "classes": [one.to_json() for one in proposal.classes],
        "present": dict(proposal.present),
        "problems": list(proposal.problems),
    }
    if unknown := [name for name in approved if name not in names]:
        raise InvalidInput(f"not proposed: {', '.join(unknown)}; proposed are: {', '.join(names) or 'none'}")
    added = proposal.extend(labels, approved or names).classes[len(labels) :]
    if written is not None:
        written.put(where.extended_config(config, added), document)
    if approved:
        # Reading the sample takes minutes: what people changed in the meantime stays.
        config = where.project_config(settings, project)
        where.change_config(settings, project, where.extended_config(config, added))
    if as_json:
        typer.echo(json.dumps(document))
        return
    _print(proposal)
    _print_rates(document["rates"])
    if written is not None:
        typer.echo(f"written: {', '.join(map(str, written.files))}")
    elif approved:
        typer.echo(f"project {project} now has {', '.join(approved)}")
    elif names:
        typer.echo(f"nothing was changed; approve with: maskwright suggest-labels {project} --apply NAME --apply NAME")


class Written:
    """Where a proposal is written; nothing that is there is replaced.

    Args:
        config: File of the labelling configuration.

    Raises:
        InvalidInput: If something is there, or nothing can be written.
    """

    def __init__(self, config: Path) -> None:
        self.config, self.proposal = config, config.with_suffix(".json")
        self.examples = config.with_name(f"{config.stem}-examples")
        for path in {self.config, self.proposal, self.examples}:
            if path.exists():
                raise InvalidInput(f"{path} exists; take another name")
        if self.config == self.proposal:
            raise InvalidInput(f"{config}: the configuration is XML; take a name that does not end in .json")
        if not os.access(config.absolute().parent, os.W_OK | os.X_OK):
            raise InvalidInput(f"{config.absolute().parent} is no folder that can be written to")

    @property
    def files(self) -> list[Path]:
        """What was written; without an example there is no folder of them."""
        return [path for path in (self.config, self.proposal, self.examples) if path.exists()]

    def keep(self, name: str, number: int, crop: RGB) -> None:
        """Write the picture of an example."""
        from PIL import Image as Pillow

        picture = Pillow.fromarray(crop)
        picture.thumbnail((_SIDE, _SIDE))
        self.examples.mkdir(exist_ok=True)
        plain = re.sub(r"[^\w-]+", "-", name)[:60]
        picture.save(self.examples / f"{plain}-{number}.jpg", "JPEG", quality=_QUALITY)

    def put(self, config: str, proposal: dict[str, Any]) -> None:
        """Write the rest."""
        self.config.write_text(config, encoding="utf-8")
        self.proposal.write_text(json.dumps(proposal, indent=1, ensure_ascii=False), encoding="utf-8")


def propose(
    settings: Settings,
    where: Labelling,
    project: str,
    labels: LabelSet,
    sample: int,
    least: int,
    written: Written | None = None,
    *,
    describe: bool = False,
) -> LabelProposal:
    """Read a sample of a project's images and propose classes, with boxes around their examples.

    Raises:
        InvalidInput: If the project has no image, or names models or prompts that cannot be used; or if classes shall
            be described, and there is no language model that could.
    """
    from dataclasses import replace

    from maskwright.assist.suggestion.label_sets import described_proposal, propose_labels
    from maskwright.assist.suggestion.loading import load_models
    from maskwright.assist.suggestion.sampling import drawn, find_examples, read_sample
    from maskwright.assist.suggestion.stager import Stager
    from maskwright.assist.suggestion.values import StageOptions
    from maskwright.models.language.matcher import SentenceMatcher
    from maskwright.models.language.prompt_sets import PromptSet
    from maskwright.models.sentences import SentenceEncoder
    from maskwright.models.stages import Stages

    own = where.project_stages(settings, project)
    stages = Stages(settings)
    Stager(settings, stages).is_staged(own)  # refuses what a project must not name
    options = own.options or StageOptions()
    models, missing = load_models(stages, settings, options, own.uris)
    if describe and isinstance(models.language, SentenceMatcher | None):
        raise InvalidInput(
            "--describe needs a language model (openai:... or hf:...): set MASKWRIGHT_LANGUAGE, or the project's own; "
            + ("; ".join(missing) or ("the sentence matcher describes nothing" if models.language else "none is set"))
        )
    images = drawn(where.project_images(settings, project), sample)
    if not images:
        raise InvalidInput(f"project {project} has no image")
    with typer.progressbar(length=len(images), label="reading images", file=sys.stderr) as bar:
        samples, problems = read_sample(images, models, options, lambda done: bar.update(1))
    prompts = PromptSet(options.domain, options.prompts)
    proposal = propose_labels(
        samples, labels, prompts, language=models.language, encoder=SentenceEncoder(), least=least
    )
    if describe and models.language is not None:
        proposal = described_proposal(proposal, labels, models.language, prompts)
    proposal = replace(proposal, problems=(*missing, *problems, *proposal.problems))
    return find_examples(proposal, dict(images), models.detector, *([] if written is None else [written.keep]))


def _rates(settings: Settings, platform: str, project: str) -> dict[str, Any] | None:
    """What the worker counted last of a project that the store knows, and has only one of that number."""
    from maskwright.learn.rounds.suggestions import RATES
    from maskwright.store.corrections import open_store
    from maskwright.store.project_notes import ProjectNotes

    store = open_store(settings.home, settings.database_url.get_secret_value())
    try:
        rows = [row for row in store.projects(platform=platform) if str(row.number) == project]
        found: dict[str, Any] | None = ProjectNotes(store.database).get(rows[0].id, RATES) if len(rows) == 1 else None
        return found
    finally:
        store.close()


def _print(proposal: LabelProposal) -> None:
    here = ", ".join(f"{name} in {count}" for name, count in proposal.present.items())
    typer.echo(f"{proposal.images} images read; of the classes that there are: {here or 'none'}")
    for one in proposal.classes:
        aliases = f"  also called {', '.join(one.aliases)}" if one.aliases else ""
        reason = f"  {one.reason}" if one.reason else ""
        typer.echo(f"  {one.name:24} {one.images:5} images{aliases}{reason}")
        if one.descriptors:
            typer.echo(f"    looks: {'; '.join(one.descriptors)}")
    if not proposal.classes:
        typer.echo("  nothing is proposed")
    for problem in proposal.problems:
        typer.echo(f"maskwright: {problem}", err=True)


def _print_rates(rates: dict[str, Any] | None) -> None:
    if rates is None:
        typer.echo("no worker has counted yet what became of suggested classes")
        return
    seen, skew = rates["looked_at"], rates["skew"]
    typer.echo(f"suggested so far in {rates['images']} images, {seen} of them looked at; skew {skew:.3f} nats")
    for one in rates["classes"]:
        told = "  ".join(f"{name} {_share(one[name])}" for name in ("suggested", "supported", "accepted", "missed"))
        typer.echo(f"  {one['label']:24} {told}")


def _share(rate: dict[str, Any]) -> str:
    if rate["share"] is None:
        return "-"
    return f"{rate['share']:.0%} ({rate['low']:.0%} to {rate['high']:.0%} of {rate['of']})"
