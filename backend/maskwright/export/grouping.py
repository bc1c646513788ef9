"""Sharing out all tasks of a project: by near-duplicate content, by a field, or each for itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from maskwright.annotated import AnnotatedTask
from maskwright.errors import InvalidInput
from maskwright.export.records import Split
from maskwright.export.splits import CONTENT, SplitRule, leaders, task_name
from maskwright.images.similar import Fingerprint, near_duplicates

_FAR_OFF = 0.1

Look = Callable[[str], Fingerprint | None]
"""The fingerprint of the image at an address; None where it cannot be had."""


@dataclass(frozen=True)
class SharedOut:
    """Which task goes where.

    Attributes:
        parts: By the tasks' keys.
        groups: How many groups there are.
        largest: How many tasks the largest group has.
        unseen: How many images could not be looked at; only their own task is known to be like them.
        wanted: The share that each part was to get.
    """

    parts: dict[str, Split]
    groups: int
    largest: int
    unseen: int = 0
    wanted: Mapping[Split, Fraction] = field(default_factory=dict)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What should be told about it, in sentences."""
        told = []
        if self.unseen:
            told.append(f"{self.unseen} images could not be looked at; a near-duplicate of one may be in another part")
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


def share_out(tasks: Iterable[AnnotatedTask], rule: SplitRule, look: Look | None = None) -> SharedOut:
    """Find what belongs together and share it out.

    Args:
        tasks: All tasks; read once, and only what is needed of each is kept.
        rule: Says how.
        look: Finds fingerprints; needed to split by content.

    Raises:
        InvalidInput: If a task lacks the field to split by, or content is to be compared without ``look``.
    """
    if rule.by == CONTENT and look is None:
        raise InvalidInput("splitting by content needs the images; give them, or split by task or by field:NAME")
    groups: dict[str, str] = {}
    fingerprints: list[Fingerprint] = []
    owners: list[str] = []
    unseen = 0
    for task in tasks:
        name = task_name(task.project, task.key)
        groups[task.key] = rule.group_of_field(task.key, task.data) if rule.field else name
        if rule.by == CONTENT and look is not None:
            for image in task.images:
                found = look(image.source)
                if found is None:
                    unseen += 1
                else:
                    fingerprints.append(found)
                    owners.append(name)
    if not rule.field:
        together = [[owners[n] for n in group] for group in near_duplicates(fingerprints)]
        of_name = leaders(groups.values(), together)
        groups = {key: of_name[name] for key, name in groups.items()}
    parts = {key: rule.split_of(group) for key, group in groups.items()}
    sizes = Counter(groups.values())
    return SharedOut(parts, len(sizes), max(sizes.values(), default=0), unseen, dict(rule.shares))
