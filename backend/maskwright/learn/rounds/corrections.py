"""What a person left on an image, beside what had been proposed for it: the values that a round learns from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from maskwright.annotated import AnnotatedTask, Annotation, TaskImage
from maskwright.export.matching import match_pair
from maskwright.export.selection import Selection, choose, moment
from maskwright.learn.acquisition.cost import Effort
from maskwright.learn.training.records import TrainingObject
from maskwright.masks import Mask, Size
from maskwright.regions import Region

KEPT_PART = 0.05
"""A proposal counts as deleted if what was left holds no more of it than this: neighbours may touch it."""
WITHOUT_GROUP = "(none)"
LONGEST_GROUP = 200
"""Characters: a field may hold a whole image, and reports hold the name of every group."""
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, eq=False)
class Correction:
    """What was left on one image.

    Attributes:
        task: Key of its task.
        source: The image's address.
        file_name: Its name in datasets, for fetchers.
        size: (H, W) of the picture that was drawn on.
        group: What errors are reported by, or empty.
        objects: What the person left.
        keys: Of the objects, in their order, unique.
        negatives: Proposals that the person deleted.
        outcomes: Of each proposal its score and its IoU with what was left of it, 0 for deleted ones.
        effort: What could be known before of the work, where something was proposed or nothing was drawn.
        lead_time: Seconds that the person took, or None.
        is_only_image: Whether the lead time is that of this image alone.
        changed_at: When it was last changed; ISO 8601 in UTC, or empty.
    """

    task: str
    source: str
    file_name: str
    size: Size
    group: str
    objects: tuple[TrainingObject, ...]
    keys: tuple[str, ...]
    negatives: tuple[Mask, ...]
    outcomes: tuple[tuple[float, float], ...]
    effort: Effort
    lead_time: float | None
    is_only_image: bool
    changed_at: str


def corrections_of(
    task: AnnotatedTask,
    *,
    group_field: str = "",
    machine: Collection[str] = (),
    size_of: Callable[[TaskImage], Size | None] | None = None,
) -> tuple[list[Correction], list[str]]:
    """What the newest submitted annotation says of each image of a task, and sentences on what could not be read.

    Skipped annotations, drafts and those that the machine made itself do not count.

    Args:
        task: With its predictions.
        group_field: Field of the task by which errors are reported; empty for none.
        machine: Keys of tasks that the machine annotated itself: their annotations count only if a person has taken
            any time over them.
        size_of: Asked for the size of an image that nothing in the task tells.
    """
    annotation = newest_by_people(task, machine)
    if annotation is None:
        return [], []
    chosen = choose(replace(task, annotations=(annotation,)), Selection(), size_of=size_of)
    problems = [*chosen.problems, *(problem for record in chosen.records for problem in record.problems)]
    problems += [f"task {task.key}: {why}" for why, _ in chosen.left_out]
    proposal = _proposal(task, annotation)
    group = str(task.data.get(group_field, WITHOUT_GROUP))[:LONGEST_GROUP] if group_field else ""
    found = []
    for record in chosen.records:
        position = int(record.key.rpartition("/")[2])
        proposed = [] if proposal is None else [r for r in proposal.regions.get(position, ()) if _fits(r, record.size)]
        pairs = _pairs(proposed, record.regions)
        counted = [(n, region) for n, region in enumerate(record.regions) if not region.is_crowd]
        left = [region.mask for region in record.regions]
        found.append(
            Correction(
                task.key,
                record.source,
                record.file_name,
                record.size,
                group,
                tuple(
                    TrainingObject(r.mask, r.label, _changed(r.mask, proposed[pairs[n]].mask) if n in pairs else None)
                    for n, r in counted
                ),
                tuple(region.key or f"#{n}" for n, region in counted),
                tuple(
                    r.mask for i, r in enumerate(proposed) if i not in pairs.values() and _is_deleted(r.mask, left)
                ),
                _outcomes(proposed, record.regions, pairs),
                _effort(proposed, record.size),
                annotation.lead_time,
                record.is_only_image,
                annotation.updated_at,
            )
        )  # fmt: skip
    return found, problems


def newest_by_people(task: AnnotatedTask, machine: Collection[str] = ()) -> Annotation | None:
    """The newest submitted annotation of a task that is not the machine's own, or None; see ``corrections_of``."""
    by_machine = task.key in machine
    able = [
        (annotation, number)
        for number, annotation in enumerate(task.annotations)
        if annotation.kind == "submitted" and not (by_machine and not annotation.lead_time)
    ]
    newest = max(able, key=lambda one: (_moment(one[0].updated_at), _moment(one[0].created_at), one[1]), default=None)
    return None if newest is None else newest[0]


def _moment(text: str) -> datetime:
    return moment(text) or _NEVER


def _proposal(task: AnnotatedTask, annotation: Annotation) -> Annotation | None:
    """The prediction that an annotation began from; of several of its version the last."""
    version = annotation.model_version
    return next((p for p in reversed(task.predictions) if version and p.model_version == version), None)


def _fits(region: Region, size: Size) -> bool:
    return region.mask.size == size and not region.mask.is_empty


def _pairs(proposed: Sequence[Region], left: Sequence[Region]) -> dict[int, int]:
    """Number of a region that was left -> that of the proposal which it was: by its key, else by its pixels."""
    known = {region.key: i for i, region in enumerate(proposed) if region.key}
    pairs = {
        n: known[region.key]
        for n, region in enumerate(left)
        if region.key in known and region.mask.intersection_area(proposed[known[region.key]].mask)
    }
    open_left = [n for n in range(len(left)) if n not in pairs]
    open_proposed = [i for i in range(len(proposed)) if i not in pairs.values()]
    matched = match_pair([proposed[i] for i in open_proposed], [left[n] for n in open_left])
    return pairs | {open_left[n]: open_proposed[i] for i, n, _ in matched}


def _changed(left: Mask, proposed: Mask) -> Mask:
    return left.difference(proposed).union(proposed.difference(left))


def _is_deleted(proposed: Mask, left: Sequence[Mask]) -> bool:
    kept = sum(proposed.intersection_area(mask) for mask in left)
    return kept <= KEPT_PART * proposed.area


def _outcomes(
    proposed: Sequence[Region], left: Sequence[Region], pairs: dict[int, int]
) -> tuple[tuple[float, float], ...]:
    reached = {i: proposed[i].mask.iou(left[n].mask) for n, i in pairs.items()}
    return tuple((min(max(r.score, 0.0), 1.0), reached.get(i, 0.0)) for i, r in enumerate(proposed))


def _effort(proposed: Sequence[Region], size: Size) -> Effort:
    if not proposed:
        return Effort(0)
    shares = [region.mask.area / (size[0] * size[1]) for region in proposed]
    scores = np.clip([region.score for region in proposed], 0, 1)
    return Effort(len(proposed), float(scores.mean()), float(np.sqrt(shares).mean()))
