"""``maskwright worker``: the process that runs training rounds."""

from __future__ import annotations

from collections.abc import Callable

import typer


def register(app: typer.Typer) -> None:
    """Add this module's command to ``app``."""
    app.command()(worker)


def worker() -> None:
    """Run the training rounds of all projects until Ctrl-C or SIGTERM. Several may run, on several machines.

    Rounds are queued by corrections, by people and by timers; what was running when a worker ended goes on with the
    next. Settings come from MASKWRIGHT_* variables, which must name the same store, home and queue as the server's.
    """
    from maskwright.learn.rounds.requests import queue_due_rounds, seconds_until_due
    from maskwright.learn.rounds.run import run_pending
    from maskwright.learn.rounds.suggestions import learn_from_suggestions
    from maskwright.server.logs import start_logging
    from maskwright.server.work_queue import WorkQueue
    from maskwright.server.worker import be_modest, run_worker
    from maskwright.server.workshops import open_workshop
    from maskwright.settings import read_settings
    from maskwright.store.corrections import open_store

    settings = be_modest(read_settings())
    start_logging(settings)
    store = open_store(settings.home, settings.database_url.get_secret_value())
    try:
        workshop = open_workshop(settings, store)
        workshop.registry.adapters.sweep()

        def work(owner: str, stopping: Callable[[], bool]) -> float:
            queue_due_rounds(workshop)
            if run_pending(workshop, owner, stopping=stopping):
                return 0.0  # what became due meanwhile is seen to at once
            learn_from_suggestions(workshop, stopping=stopping)
            return seconds_until_due(workshop)

        run_worker(
            store.database, WorkQueue(settings), work,
            started=lambda name: print(f"worker {name} looks for rounds (Ctrl-C stops it)", flush=True),
        )  # fmt: skip
    finally:
        store.close()
