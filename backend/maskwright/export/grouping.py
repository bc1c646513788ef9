"""Sharing out all tasks of a project: by near-duplicate content, by a field, or each for itself."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from maskwright.annotated import AnnotatedTask
from maskwright.errors import InvalidInput
from maskwright.export.file_names import shown_address
from maskwright.export.looking import Look, Progress, look_at_all
from maskwright.export.records import Split
from maskwright.export.splits import CONTENT, SplitRule, leaders, task_name
from maskwright.images.similar import Fingerprint, near_duplicates

_FAR_OFF = 0.1


@dataclass(frozen=True)
class SharedOut:
    """Which task goes where.

    Attributes:
        parts: By the tasks' keys.
        groups: How many groups there are.
        largest: How many tasks the largest group has.
        unseen: How many images could not be looked at; only their own task is known to be like them.
        wanted: The share that each part was to get.
        first_unseen: Task and address of the first of these, and why it could not be looked at; or empty.
    """

    parts: dict[str, Split]
    groups: int
    largest: int
    unseen: int = 0
    wanted: Mapping[Split, Fraction] = field(default_factory=dict)
    first_unseen: str = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What should be told about it, in sentences."""
        told = []
        if self.unseen:
            told.append(
                f"{self.unseen} images could not be looked at; a near-duplicate of one may be in another part. "
                f"The first: {self.first_unseen}"
            )
        counts = Counter(self.parts.values())
        strayed = [
            f"{part} has {counts[part] / len(self.parts):.0%} of the tasks instead of {float(share):.0%}"
            for part, share in self.wanted.items()
            if self.parts and abs(counts[part] / len(self.parts) - share) > _FAR_OFF
        ]
        if strayed and self.groups < len(self.parts):
            told.append(
                f"{', '.join(strayed)}: there are only {self.groups} groups that stay together, the largest of "
                f"{self.largest} tasks; to split by something else: --split-by task or --split-by field:NAME"
            )
        return tuple(told)


def share_out(
    tasks: Iterable[AnnotatedTask], rule: SplitRule, look: Look | None = None, progress: Progress | None = None
) -> SharedOut:
    """Find what belongs together and share it out.

    Args:
        tasks: All tasks; read once, and only what is needed of each is kept.
        rule: Says how.
        look: Finds fingerprints, called from several threads; needed to split by content.
        progress: Told how many images were looked at.

    Raises:
        InvalidInput: If a task lacks the field to split by, or content is to be compared without ``look``.
    """
    if rule.by == CONTENT and look is None:
        raise InvalidInput("splitting by content needs the images; give them, or split by task or by field:NAME")
    names: dict[str, str] = {}
    groups: dict[str, str] = {}

    def images() -> Iterator[tuple[str, str]]:
        for task in tasks:
            names[task.key] = name = task_name(task.project, task.key)
            groups[task.key] = rule.group_of_field(task.key, task.data) if rule.field else name
            yield from ((image.source, task.key) for image in task.images)

    fingerprints: list[Fingerprint] = []
    owners: list[str] = []
    unseen, first_unseen = 0, ""
    if rule.by == CONTENT and look is not None:
        for looked in look_at_all(images(), look):
            if looked.fingerprint is None:
                unseen += 1
                first_unseen = first_unseen or f"task {looked.task}, {shown_address(looked.source)}: {looked.reason}"
            else:
                fingerprints.append(looked.fingerprint)
                owners.append(names[looked.task])
            if progress is not None:
                progress(len(owners) + unseen, unseen)
    else:
        deque(images(), maxlen=0)
    if not rule.field:
        together = [[owners[n] for n in group] for group in near_duplicates(fingerprints)]
        of_name = leaders(groups.values(), together)
        groups = {key: of_name[name] for key, name in groups.items()}
    parts = {key: rule.split_of(group) for key, group in groups.items()}
    sizes = Counter(groups.values())
    return SharedOut(parts, len(sizes), max(sizes.values(), default=0), unseen, dict(rule.shares), first_unseen)
