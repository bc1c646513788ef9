"""The ``maskwright`` command. Whatever costs time to import is imported by the command that needs it."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from maskwright import (
    cli_answers,
    cli_doctor,
    cli_evaluate,
    cli_export,
    cli_images,
    cli_import,
    cli_models,
    cli_preannotate,
    cli_precompute,
    cli_rounds,
    cli_simulate,
    cli_snapshot,
    cli_store,
    cli_suggest,
    cli_train,
    cli_train_base,
    cli_worker,
)
from maskwright.errors import MaskwrightError
from maskwright.server.logs import start_logging

if TYPE_CHECKING:
    pass

USER_ERROR = 2

app = typer.Typer(
    name="maskwright",
    help="An annotation assistant: masks and classes before the annotator arrives, a mask for every click.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"maskwright {version('maskwright')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """An annotation assistant: masks and classes before the annotator arrives, a mask for every click."""


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind; beyond loopback credentials are needed.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port to bind; 0 takes a free one.")] = None,
    model: Annotated[str | None, typer.Option(help="Model URI of the default segmenter.")] = None,
) -> None:
    """Serve every installed platform until Ctrl-C or SIGTERM. Other settings come from MASKWRIGHT_* variables."""
    from maskwright.server.serve import serve as run
    from maskwright.settings import read_settings

    settings = read_settings(host=host, port=port, model=model)
    start_logging(settings)
    run(settings, started=lambda url: print(f"Maskwright listens on {url} (Ctrl-C stops it)", flush=True))


cli_images.register(app)
cli_preannotate.register(app)
cli_precompute.register(app)
cli_snapshot.register(app)
cli_export.register(app)
cli_import.register(app)
cli_store.register(app)
cli_evaluate.register(app)
cli_simulate.register(app)
cli_rounds.register(app)
cli_train.register(app)
cli_train_base.register(app)
cli_worker.register(app)
cli_models.register(app)
cli_answers.register(app)
cli_suggest.register(app)
cli_doctor.register(app)


def _join_platforms() -> None:
    from maskwright.server.platforms import installed_platforms

    for platform in installed_platforms():
        commands = platform.commands()
        if commands is not None:
            # Beside our own, not below a name: typer merges groups without a name only together with their callback.
            app.registered_commands.extend(commands.registered_commands)
            app.registered_groups.extend(commands.registered_groups)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run a command and exit: 0 on success, 2 and one line on standard error for what a user can mend."""
    # PyTorch's threads wait for each other thousands of times a second. Spinning, as they do unless told before PyTorch
    # is there, they take the cores from the worker, the server and Label Studio on the same machine, and vice versa.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _join_platforms()
    call: dict[str, Any] = {} if arguments is None else {"args": arguments}
    try:
        app(prog_name="maskwright", **call)
    except MaskwrightError as error:
        print(f"maskwright: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(USER_ERROR)
    sys.exit(0)


if __name__ == "__main__":
    main()
