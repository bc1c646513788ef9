"""Checked and compressed rows out of what is to be stored; every error names the task and what is wrong with it."""

from __future__ import annotations

from typing import Any, get_args

from maskwright.annotated import AnnotationKind
from maskwright.errors import InvalidInput
from maskwright.store.documents import checked_number, checked_text, pack
from maskwright.store.records import Proposal, Stored, TaskState
from maskwright.store.times import to_microseconds

KINDS = get_args(AnnotationKind)


def task_row(state: TaskState) -> dict[str, Any]:
    """Columns of a version of a task; ``number`` and ``created_at`` are the task's own, no ``document``: none told."""
    where = f"task {state.number}"
    row: dict[str, Any] = {
        "number": checked_number(state.number, "task"),
        "updated_at": to_microseconds(state.updated_at, f"{where}: time"),
        "created_at": to_microseconds(state.created_at, f"{where}: time of creation"),
    }
    if state.data is None:
        return {**row, "document": None}
    packed = pack(state.data, f"{where}: data")
    return {**row, "digest": packed.digest, "nbytes": packed.nbytes, "document": packed.stream}


def correction_row(task_number: int, stored: Stored) -> dict[str, Any]:
    """Columns of a state of an annotation; ``draft`` and ``number`` are the annotation's own, as is ``said_at``."""
    where = f"task {task_number}: annotation {stored.number}"
    if stored.kind not in KINDS:
        raise InvalidInput(f"{where}: kind {stored.kind!r} is none of {', '.join(KINDS)}")
    proposal_number = stored.proposal_number
    if proposal_number is not None:
        checked_number(proposal_number, f"{where}: prediction")
    packed = pack(stored.document, where)
    created = to_microseconds(stored.created_at, f"{where}: time of creation")
    updated = to_microseconds(stored.updated_at, f"{where}: time of update")
    return {
        "draft": stored.kind == "draft",
        "number": checked_number(stored.number, where),
        "said_at": max(created, updated),
        "task_number": task_number,
        "kind": stored.kind,
        "person": None if stored.person is None else checked_text(stored.person, f"{where}: person", 1000),
        "created_at": created,
        "updated_at": updated,
        "lead_time": None if stored.lead_time is None else float(stored.lead_time),
        "proposal_number": proposal_number,
        "model_version": None if stored.model_version is None else checked_text(stored.model_version, where, 10_000),
        "digest": packed.digest,
        "nbytes": packed.nbytes,
        "document": packed.stream,
    }


def proposal_row(project_id: int, task_number: int, proposal: Proposal) -> dict[str, Any]:
    """Columns of a state of a proposal."""
    where = f"task {task_number}: prediction {proposal.number}"
    packed = pack(proposal.document, where)
    return {
        "project_id": project_id,
        "task_number": task_number,
        "number": checked_number(proposal.number, where),
        "updated_at": to_microseconds(proposal.updated_at, where),
        "model_version": checked_text(proposal.model_version, where, 10_000),
        "digest": packed.digest,
        "nbytes": packed.nbytes,
        "document": packed.stream,
    }
