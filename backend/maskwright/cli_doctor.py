"""``maskwright doctor``: is everything in place, and if not, what to do."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def register(app: typer.Typer) -> None:
    """Add this module's command to ``app``."""
    app.command()(doctor)


def doctor(
    model: Annotated[str | None, typer.Option(help="Model URI to try instead of the configured one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check this installation and what it is connected to; fails if something that is needed does not work."""
    from maskwright.doctor import examine
    from maskwright.settings import read_settings

    findings = list(examine(read_settings(model=model)))
    healthy = all(finding.status != "fail" for finding in findings)
    if as_json:
        typer.echo(json.dumps({"ok": healthy, "checks": [asdict(finding) for finding in findings]}, indent=1))
    else:
        from rich.console import Console
        from rich.markup import escape

        console = Console(soft_wrap=True, highlight=False)
        for finding in findings:
            console.print(
                f"[{_COLOURS[finding.status]}]{finding.status:4}[/] {escape(finding.name)}: {escape(finding.detail)}"
            )
            if finding.remedy:
                console.print(f"     -> {escape(finding.remedy)}")
    if not healthy:
        raise typer.Exit(1)
