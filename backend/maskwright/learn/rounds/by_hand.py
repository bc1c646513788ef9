"""Putting into service what a round has learnt because a person says so, whatever the gate said."""

from __future__ import annotations

from pathlib import Path

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.learn.rounds.candidates import MOST_KEPT
from maskwright.store.corrections import CorrectionsStore
from maskwright.store.rounds import RoundState, RoundStore
from maskwright.store.served import Served, ServedRegister


def promote_by_hand(
    store: CorrectionsStore, home: Path, project_id: int, number: int, *, force: bool = False
) -> Served:
    """Serve a round's candidate from the next click on.

    Args:
        store: The corrections.
        home: Of the settings; its adapters and class heads are read and checked here, not at the next click.
        project_id: The store's own number of the project.
        number: The round's number in it.
        force: Also if the gate did not let it through.

    Raises:
        NotFound: If there is no such round.
        InvalidInput: If it is still at work, has no candidate, was not promoted (without ``force``), or is in service.
        ModelUnavailable: If what it learnt is damaged or gone.
    """
    from maskwright.models.adapters.shelf import AdapterShelf
    from maskwright.models.class_heads import ClassHeadShelf

    one = RoundStore(store.database).get(project_id, number)
    if one.state.is_active:
        raise InvalidInput(f"round {number} is still at work ({one.state}); wait for its end, or cancel it")
    if one.adapter is None and one.classes is None:
        raise InvalidInput(f"round {number} ended without a candidate ({one.state}: {one.reason}); train again")
    if one.state is not RoundState.PROMOTED and not force:
        raise InvalidInput(
            f"the gate did not let round {number} through ({one.state}: {one.reason}); insist (--force) to serve it"
        )
    register = ServedRegister(store.database)
    present = register.current(project_id, one.base)
    if present is not None and (present.adapter, present.classes) == (one.adapter, one.classes):
        raise InvalidInput(f"what round {number} learnt is in service already")
    for folder, name in (("adapters", one.adapter), ("classes", one.classes)):
        if name is not None and not (home / folder / f"{name}.safetensors").is_file():
            raise ModelUnavailable(
                f"the files of round {number} are gone (of candidates that were never served only the newest "
                f"{MOST_KEPT} are kept); train again"
            )
    if one.adapter is not None:
        AdapterShelf(home / "adapters").summary(one.adapter)
    if one.classes is not None:
        ClassHeadShelf(home / "classes").read(one.classes)
    reason = "promoted by hand" if one.state is RoundState.PROMOTED else f"promoted by hand although {one.state}"
    return register.put(project_id, one.base, one.adapter, one.classes, round_number=number, reason=reason)
