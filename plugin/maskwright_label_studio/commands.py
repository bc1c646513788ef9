"""Commands that join ``maskwright``'s own."""

from __future__ import annotations

from typing import Annotated

import typer

from maskwright.errors import InvalidInput
from maskwright.settings import read_settings
from maskwright_label_studio import local_commands, queue_commands, sync_commands

app = typer.Typer(no_args_is_help=True)
local_commands.register(app)
sync_commands.register(app)
queue_commands.register(app)


@app.command("connect")
def connect_command(
    project: Annotated[int, typer.Argument(help="Number of the Label Studio project.", min=1)],
    backend: Annotated[str, typer.Option(help="This backend as Label Studio sees it.")] = "",
    extra_params: Annotated[str | None, typer.Option(help="Options of the project as JSON.")] = None,
    interactive: Annotated[bool, typer.Option(help="Whether clicks are answered.")] = True,
) -> None:
    """Connect this backend to a project of the Label Studio that MASKWRIGHT_LABEL_STUDIO_URL and _API_KEY name."""
    from maskwright_label_studio.client import LabelStudioClient
    from maskwright_label_studio.connect import connect, read_extra_params

    settings = read_settings()
    key = settings.label_studio_api_key.get_secret_value()
    if not settings.label_studio_url or not key:
        raise InvalidInput("set MASKWRIGHT_LABEL_STUDIO_URL and MASKWRIGHT_LABEL_STUDIO_API_KEY")
    made = connect(
        LabelStudioClient.of_operator(settings.label_studio_url, key),
        project,
        backend or f"http://{settings.host}:{settings.port}",
        username=settings.username,
        password=settings.password.get_secret_value(),
        extra_params=read_extra_params(extra_params),
        interactive=interactive,
    )
    typer.echo(f"connected as {made.id}, model version {made.model_version}")
    for warning in made.warnings:
        typer.echo(f"note: {warning}", err=True)
