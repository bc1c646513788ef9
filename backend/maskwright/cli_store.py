"""``maskwright purge``, ``backup`` and ``restore``: erasure requests, and the corrections store as one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwright.errors import InvalidInput

if TYPE_CHECKING:
    from maskwright.settings import Settings
    from maskwright.store.corrections import CorrectionsStore
    from maskwright.store.purge import PurgeReport

_FILE = "corrections.sqlite3"


def register(app: typer.Typer) -> None:
    """Add this module's commands to ``app``."""
    app.command()(purge)
    app.command()(backup)
    app.command()(restore)


def purge(
    image: Annotated[
        str | None, typer.Option("--image", metavar="ADDRESS", help="Image address as in the tasks, or its SHA-256.")
    ] = None,
    annotator: Annotated[
        str | None, typer.Option("--annotator", metavar="PERSON", help="As the platform numbers or names the person.")
    ] = None,
    project: Annotated[
        int | None, typer.Option("--project", min=0, help="Only in the platform's project of this number.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", help="Kept with the tombstones; should name nobody.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Erase without asking.")] = False,
) -> None:
    """Erase what an image or a person left in the corrections store, for good, in every state and snapshot.

    What was there is still known (numbers, times, the reason); its content is overwritten. Run `maskwright sync`
    before, so that nothing comes in later; backups made earlier and the platform itself are not reached.
    """
    from maskwright.models.language.answers_cache import kept_answers
    from maskwright.store.purge import purge_annotator, purge_image

    if (image is None) == (annotator is None):
        raise InvalidInput("say what to erase: either --image ADDRESS or --annotator PERSON")
    settings = _settings()
    store = _open(settings)
    try:
        scopes = _scopes(store, project)

        def run(rehearse: bool) -> list[PurgeReport]:
            more = {} if reason is None else {"reason": reason}
            if image is not None:
                return [purge_image(store.database, image, project_id=s, rehearse=rehearse, **more) for s in scopes]
            return [
                purge_annotator(store.database, str(annotator), project_id=s, rehearse=rehearse, **more) for s in scopes
            ]

        found = run(rehearse=True)
        typer.echo(f"to erase: {_describe(found)}")
        for address in sorted({copy for report in found for copy in report.copies}):
            typer.echo(f"maskwright: the same image is also at {address}; --image SHA-256 erases both", err=True)
        if not yes and not any(
            report.annotations or report.corrections or report.tasks or report.proposals or report.images
            or report.snapshots for report in found
        ):  # fmt: skip
            # What comes in from now on was not shown, so it is not erased without being asked for.
            typer.echo("nothing matches; with --yes the database's files are rewritten all the same")
            return
        if not yes:
            typer.confirm("Erase it for good?", abort=True)
        done = run(rehearse=False)
        for picture in (picture for report in done for picture in report.pictures):
            (settings.home / picture).unlink(missing_ok=True)
        for measured in settings.home.glob("rounds/*/measured/*"):  # by checksums of images; rounds measure anew
            measured.unlink(missing_ok=True)
        kept_answers(settings).clear()  # what was asked about erased images cannot be told from the rest
    finally:
        store.close()
    typer.echo(f"erased: {_describe(done)}")
    if not all(report.rewritten for report in done):
        typer.echo(
            "maskwright: the content is overwritten, but the files could not be rewritten (no room, or the database is "
            "in use); run the same command again with --yes when the server is stopped", err=True,
        )  # fmt: skip
        raise typer.Exit(1)


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it (a ZIP file).")],
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite FILE.")] = False,
) -> None:
    """Write the whole corrections store into one file; the server may go on meanwhile."""
    from maskwright.store.backup import write_backup

    store = _open(_settings())
    try:
        report = write_backup(store.database, file, replace=replace)
    finally:
        store.close()
    typer.echo(f"{file}: {sum(report.rows.values())} rows, {report.nbytes / 1e6:.1f} MB")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of `maskwright backup`.")],
    replace: Annotated[bool, typer.Option("--replace", help="Throw away what the store holds now.")] = False,
) -> None:
    """Fill the corrections store from a backup, on SQLite or PostgreSQL: all of it or nothing.

    Stop the server before. With --replace a damaged SQLite database is put aside (not deleted) and a sound one made
    from the backup.
    """
    from maskwright.store.database import StoreDamaged
    from maskwright.store.restore import restore_backup, restore_beside_damaged

    settings = _settings()
    try:
        store = _open(settings)
        try:
            if replace:
                store.database.check()  # opening looks through small ones only
            report = restore_backup(store.database, file, replace=replace)
        finally:
            store.close()
    except StoreDamaged as damage:
        if not replace or settings.database_url.get_secret_value():
            raise InvalidInput(f"{damage}; give --replace to put the damaged database aside") from None
        aside = restore_beside_damaged(settings.home / _FILE, file)
        typer.echo(f"restored from {file}; the damaged database is now {aside}")
        return
    typer.echo(f"restored from {file}: {sum(report.rows.values())} rows")


def _settings() -> Settings:
    from maskwright.settings import read_settings

    return read_settings()


def _open(settings: Settings) -> CorrectionsStore:
    from maskwright.store.corrections import open_store

    return open_store(settings.home, settings.database_url.get_secret_value())


def _scopes(store: CorrectionsStore, project: int | None) -> list[int | None]:
    if project is None:
        return [None]
    found: list[int | None] = [row.id for row in store.projects() if row.number == project]
    if not found:
        raise InvalidInput(f"the store has no project {project}")
    return found


def _describe(reports: list[PurgeReport]) -> str:
    def total(name: str) -> int:
        return sum(int(getattr(report, name)) for report in reports)

    snapshots = sorted({name for report in reports for name in report.snapshots})
    marked = f"; snapshots concerned: {', '.join(snapshots)}" if snapshots else ""
    return (
        f"{total('tasks')} whole tasks, {total('annotations')} annotations in {total('corrections')} states, "
        f"{total('proposals')} proposals, {sum(len(report.pictures) for report in reports)} pictures of rounds{marked}"
    )
