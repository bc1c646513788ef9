"""``maskwright models``: which models can play each part, how their weights get here, and whether they work."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from maskwright.cli_images import told_once
from maskwright.errors import InvalidInput, MaskwrightError

if TYPE_CHECKING:
    from maskwright.models.trial import Trial
    from maskwright.models.uri import Role
    from maskwright.settings import Settings

_URI = typer.Argument(metavar="URI", help="As in the settings: scheme:<hub id or folder>[@revision] and the like.")
_ROLE = typer.Option("--role", metavar="PART", help="Part that it is to play, where its scheme can play several.")
_JSON = typer.Option("--json", help="Print one JSON document.")


def register(app: typer.Typer) -> None:
    """Add this module's commands to ``app``."""
    models = typer.Typer(no_args_is_help=True)
    models.command("list")(list_models)
    models.command()(pull)
    models.command()(check)
    app.add_typer(models, name="models", help="Which models can play each part, how they get here, and do they work.")


def list_models(as_json: Annotated[bool, _JSON] = False) -> None:
    """List every part with the model that is set, the forms of URIs, public hub ids, and what this machine holds.

    A hub id names what `main` is today; pin a commit (@...) to keep it. What is on this machine is shown pinned.
    """
    from maskwright.models.roles import PUBLIC, RESTRICTED, cached_models, configured, setting_of
    from maskwright.models.uri import ROLES, known_form

    here, now = cached_models(), configured(_settings())
    document: dict[str, Any] = {}
    for role, schemes in ROLES.items():
        document[role] = {
            "setting": setting_of(role),
            "now": now[role],
            "schemes": [
                {
                    "scheme": scheme,
                    "form": known_form(scheme, role),
                    "public": [
                        {"uri": f"{scheme}:{location}", "restricted": location in RESTRICTED}
                        for location in PUBLIC.get((role, scheme), ())
                    ],
                    "here": [
                        {"uri": found.uri, "megabytes": round(found.nbytes / 1e6, 1)}
                        for found in here.get((role, scheme), ())
                    ],
                }
                for scheme in schemes
            ],
        }
    if as_json:
        typer.echo(json.dumps(document, indent=1))
        return
    for name, part in document.items():
        typer.echo(f"{name} ({part['setting']}, now {part['now']})")
        for entry in part["schemes"]:
            typer.echo(f"  {entry['form']}")
            for public in entry["public"]:
                terms = "  (accept its terms on the hub first)" if public["restricted"] else ""
                typer.echo(f"      {public['uri']}{terms}")
            for found in entry["here"]:
                typer.echo(f"      on this machine: {found['uri']}  ({found['megabytes']} MB)")
    typer.echo("\nBring one here with 'maskwright models pull URI', try it with 'maskwright models check URI'.")


def pull(
    uri: Annotated[str, _URI],
    role: Annotated[str | None, _ROLE] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Fetch a model's weights from the hub, safetensors and JSON files alone, unless they are on this machine."""
    from maskwright.models.roles import pull as fetch

    pulled = fetch(_settings(), _role(uri, role), uri)
    if as_json:
        found = {"uri": pulled.uri, "path": str(pulled.path) if pulled.path else None, "content": pulled.fingerprint}
        typer.echo(json.dumps(found))
    elif pulled.path is None:
        typer.echo(f"{pulled.uri}: there is nothing to fetch")
    else:
        typer.echo(f"{pulled.uri}: {pulled.path} ({pulled.fingerprint})")


def check(
    uri: Annotated[str | None, _URI] = None,
    role: Annotated[str | None, _ROLE] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Load a model as the server would and have it answer once; without a URI, every model that is set.

    Prints its version, seconds to load and to answer, and memory. Fails if a model cannot be had or does not answer.
    """
    from maskwright.models.roles import configured
    from maskwright.models.trial import try_model

    settings = _settings()
    if role is not None:
        _role("", role)
    if uri is not None:
        wanted: list[tuple[Role, str]] = [(_role(uri, role), uri)]
    else:
        wanted = [(part, text) for part, text in configured(settings).items() if text != "none"]
        wanted = [(part, text) for part, text in wanted if role in (None, part)]
    results: list[dict[str, Any]] = []
    for part, text in wanted:
        try:
            with told_once():
                trial = try_model(settings, part, text)
        except MaskwrightError as error:
            results.append({"ok": False, "role": part, "uri": text, "error": " ".join(str(error).split())})
        else:
            results.append({"ok": True, **asdict(trial)})
            if not as_json:
                typer.echo(_line(trial))
        if not as_json and not results[-1]["ok"]:
            typer.echo(f"fail {part} {text}: {results[-1]['error']}", err=True)
    if as_json:
        typer.echo(json.dumps(results, indent=1))
    if not all(result["ok"] for result in results):
        raise typer.Exit(1)


def _line(trial: Trial) -> str:
    gpu = f", {trial.gpu_memory_mb:g} MB on the GPU" if trial.gpu_memory_mb else ""
    return (
        f"ok   {trial.role} {trial.uri}: {trial.version}; loaded in {trial.load_seconds:g} s, answered in "
        f"{trial.answer_seconds:g} s, {trial.memory_mb:g} MB more{gpu}; {trial.answer}"
    )


def _role(uri: str, named: str | None) -> Role:
    from maskwright.models.roles import first_role
    from maskwright.models.uri import ROLES

    if named is None:
        return first_role(uri)
    if named not in ROLES:
        raise InvalidInput(f"unknown part {named!r}; known: {', '.join(ROLES)}")
    return cast("Role", named)


def _settings() -> Settings:
    from maskwright.settings import read_settings

    return read_settings()
