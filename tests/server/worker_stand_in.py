"""A worker whose rounds are a count to ``STEPS``, kept in a file as they go: run as a program by ``test_worker``."""

from __future__ import annotations

import math
import os
import sys
import time
from pathlib import Path

from maskwright.server.work_queue import WorkQueue
from maskwright.server.worker import be_modest, run_worker
from maskwright.settings import Settings
from maskwright.store.corrections import open_store
from maskwright.store.rounds import RoundState, RoundStore

STEPS = 20


def main(home: str, queue_url: str, lease_s: float, look_s: float) -> None:
    settings = be_modest(Settings(_env_file=None, home=Path(home), queue_url=queue_url, training_threads=1))
    store = open_store(settings.home)
    rounds, checkpoint, due = RoundStore(store.database), settings.home / "steps", settings.home / "due in s"

    def work(owner, stopping):
        if (settings.home / "broken").exists():
            print("broken", flush=True)
            raise RuntimeError("a fault of the runner")
        while (claimed := rounds.claim(owner, lease_s)) is not None:
            step = int(checkpoint.read_text()) if checkpoint.exists() else 0
            print(f"claimed at {step}", flush=True)
            while step < STEPS:
                if stopping():
                    return 0.0  # and leave the round: the worker itself must give it back
                step += 1
                checkpoint.write_text(str(step))
                rounds.renew(claimed.id, owner, lease_s, {"step": step})
                time.sleep(0.05)
            rounds.finish(claimed.id, owner, RoundState.REFUSED, reason=f"niceness {os.nice(0)}")
            print("finished", flush=True)
        return float(due.read_text()) if due.exists() else math.inf

    run_worker(store.database, WorkQueue(settings), work, look_s=look_s, started=lambda name: print(name, flush=True))
    store.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
