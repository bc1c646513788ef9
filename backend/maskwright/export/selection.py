"""From a task with everything that people left on it to the images of a dataset: whose regions count, under what name.

Per person only the newest annotation counts. Skipped ones never do, drafts on request. Several people's are brought
together by one of these rules:

- ``latest``: the newest annotation of all, whoever made it (a mark as ground truth does not matter);
- ``annotator:<id>``: that person's; images without one are left out, and counted;
- ``majority``: objects drawn by more than half of the people who annotated the image, pixels held by more than half;
- ``staple``: the same objects, with the most likely pixels;
- ``all``: everything from everybody, as one image.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import orjson

from maskwright.annotated import AnnotatedTask, Annotation, TaskImage
from maskwright.errors import InvalidInput
from maskwright.export.consensus import agreement, majority, most_likely
from maskwright.export.file_names import file_name
from maskwright.export.label_mapping import LabelMapping
from maskwright.export.matching import Matching, match
from maskwright.export.records import ImageRecord, Split
from maskwright.export.splits import SplitRule, task_name
from maskwright.export.usable import is_of_other_size, is_unreadable, usable_regions
from maskwright.masks import Size
from maskwright.regions import Region

_RULES = ("latest", "all", "majority", "staple")
_ANNOTATOR = "annotator:"
NO_SIZE = "no size is known"
OTHER_SIZE = "everything was drawn on a picture of another size"
UNREADABLE = "nothing that was drawn could be read"


@dataclass(frozen=True)
class Selection:
    """What of a project goes into a dataset. A value: can be pickled, compared, and written as canonical JSON.

    Attributes:
        consensus: ``latest``, ``all``, ``majority``, ``staple`` or ``annotator:<id>``.
        mapping: What becomes of the classes; applied before people's classes are compared.
        include_drafts: Whether unsubmitted work counts too.
        since: ISO 8601 time; annotations changed before it do not count. Empty for all.
        split: How images are shared out, or None.

    Raises:
        InvalidInput: If ``consensus`` is none of these or ``since`` is no time.
    """

    consensus: str = "latest"
    mapping: LabelMapping = field(default_factory=LabelMapping)
    include_drafts: bool = False
    since: str = ""
    split: SplitRule | None = None

    def __post_init__(self) -> None:
        if self.consensus not in _RULES and not self.annotator:
            raise InvalidInput(f"a consensus is {', '.join(_RULES)} or annotator:ID, not {self.consensus!r}")
        if self.since and moment(self.since) is None:
            raise InvalidInput(f"{self.since!r} is no time; write it as 2026-01-31 or 2026-01-31T12:00:00Z")

    @property
    def annotator(self) -> str:
        """The only person whose annotations count, or empty."""
        return self.consensus[len(_ANNOTATOR) :] if self.consensus.startswith(_ANNOTATOR) else ""

    def to_json(self) -> str:
        """Canonical JSON: equal selections give equal texts."""
        value = {
            "consensus": self.consensus,
            "mapping": self.mapping.to_json(),
            "include_drafts": self.include_drafts,
            "since": self.since,
            "split": self.split.to_json() if self.split else None,
        }
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Selection:
        """The reverse of :meth:`to_json`.

        Raises:
            InvalidInput: If the text is not a selection.
        """
        try:
            value = orjson.loads(text)
            split = value["split"]
            return cls(
                value["consensus"],
                LabelMapping.from_json(value["mapping"]),
                value["include_drafts"],
                value["since"],
                SplitRule.from_json(split) if split is not None else None,
            )
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(f"this is not a selection as maskwright writes it: {error!r}") from None


@dataclass(frozen=True)
class Chosen:
    """What a selection makes of one task.

    Attributes:
        records: The images that go into the dataset, in the order of the task.
        left_out: (why, how many images) for the others; the sentences are few and the same for all tasks.
        newest: Time of the newest annotation that counts, as the platform writes it, or empty.
        problems: Sentences about what could not be read of the images left out; ``records`` tell their own.
    """

    records: tuple[ImageRecord, ...]
    left_out: tuple[tuple[str, int], ...] = ()
    newest: str = ""
    problems: tuple[str, ...] = ()


def select(
    task: AnnotatedTask, selection: Selection, *, splits: Mapping[str, Split] | None = None
) -> list[ImageRecord]:
    """The images of a task that go into a dataset; :func:`choose` also tells what does not, and explains ``splits``."""
    return list(choose(task, selection, splits=splits).records)


def choose(
    task: AnnotatedTask,
    selection: Selection,
    *,
    splits: Mapping[str, Split] | None = None,
    size_of: Callable[[TaskImage], Size | None] | None = None,
) -> Chosen:
    """Apply a selection to a task.

    Args:
        task: With all its annotations.
        selection: See there.
        splits: The part of each task by its key, where groups were found beforehand
            (:func:`maskwright.export.grouping.share_out`). A task that is not in it is shared out for itself, or by
            its field.
        size_of: Asked for the size (H, W) of an image that neither the task nor a region tells.

    Raises:
        InvalidInput: If the task lacks the field to split by.
    """
    counted, reason = _counted(task, selection)
    if reason:
        return Chosen((), ((reason, max(1, len(task.images))),))
    split = _split(task, selection.split, splits)
    used = _used(counted, selection)
    # Said once, with the first image that there is: which image an unreadable region was on is not always known.
    problems = [_named(annotation, problem) for _, annotation in used for problem in annotation.problems]
    records: list[ImageRecord] = []
    left_out: Counter[str] = Counter()
    for position, image in enumerate(task.images):
        size = image.size or _drawn_size(counted, position) or (size_of(image) if size_of is not None else None)
        if size is None:
            left_out[NO_SIZE] += 1
            continue
        usable = [usable_regions(person, a, selection.mapping, position, size) for person, a in counted]
        told = [problem for _, found in usable[: len(used)] for problem in found]
        # Whose work says nothing about this image must not count as having found it empty.
        silent = [is_unreadable(a) or is_of_other_size(a, position, size) for _, a in counted]
        if all(silent[: len(used)]):
            left_out[UNREADABLE if all(is_unreadable(a) for _, a in used) else OTHER_SIZE] += 1
            problems += told
            continue
        here = [n for n, is_silent in enumerate(silent) if not is_silent]
        record = _record(
            task, selection, [counted[n] for n in here], [usable[n][0] for n in here], position, size
        )  # fmt: skip
        records.append(replace(record, split=split, problems=(*problems, *told)))
        problems = []
    return Chosen(tuple(records), tuple(left_out.items()), counted[0][1].updated_at, tuple(problems))


def image_key(task: AnnotatedTask, position: int) -> str:
    """What identifies an image over all exports: ``<project>/<task>/<position>``."""
    return f"{task.project}/{task.key}/{position}"


def moment(text: str) -> datetime | None:
    """An ISO 8601 time; without a zone it is in UTC. None where it is none."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _counted(task: AnnotatedTask, selection: Selection) -> tuple[list[tuple[str, Annotation]], str]:
    """(person, annotation) of those that count, the newest first, or why there is none."""
    kinds = {"submitted", "draft"} if selection.include_drafts else {"submitted"}
    able = [a for a in task.annotations if a.kind in kinds]
    if not able:
        found = {a.kind for a in task.annotations}
        return [], "only drafts" if "draft" in found else "skipped" if found else "no annotation"
    if selection.annotator:
        able = [a for a in able if a.person == selection.annotator]
        if not able:
            return [], f"no annotation by {selection.annotator}"
    since = moment(selection.since) if selection.since else None
    if since is not None:
        able = [a for a in able if (time := moment(a.updated_at)) is not None and time >= since]
        if not able:
            return [], f"no annotation since {selection.since}"
    able = [able[n] for _, n in sorted(((_age(a), n) for n, a in enumerate(able)), reverse=True)]
    people: dict[str, Annotation] = {}
    for annotation in able:
        people.setdefault(annotation.person or f"#{annotation.key}", annotation)
    return list(people.items()), ""


def _age(annotation: Annotation) -> tuple[datetime, datetime]:
    never = datetime.min.replace(tzinfo=UTC)
    return moment(annotation.updated_at) or never, moment(annotation.created_at) or never


def _drawn_size(counted: Sequence[tuple[str, Annotation]], position: int) -> Size | None:
    return next((r.mask.size for _, a in counted for r in a.regions.get(position, ())), None)


def _named(annotation: Annotation, problem: str) -> str:
    """A reader's sentence, which names the region and mostly the annotation too."""
    return problem if problem.startswith(("annotation ", "draft ")) else f"annotation {annotation.key}: {problem}"


def _used(counted: list[tuple[str, Annotation]], selection: Selection) -> list[tuple[str, Annotation]]:
    return counted[:1] if selection.consensus == "latest" else counted


def _record(
    task: AnnotatedTask,
    selection: Selection,
    counted: list[tuple[str, Annotation]],
    people: list[tuple[Region, ...]],
    position: int,
    size: Size,
) -> ImageRecord:
    used = _used(counted, selection)
    several = len(people) > 1
    matching = match(people) if several else None
    image = task.images[position]
    return ImageRecord(
        key=image_key(task, position),
        task=task.key,
        is_only_image=len(task.images) == 1,
        file_name=file_name(image.source),
        source=image.source,
        size=size,
        regions=_together(selection.consensus, people, matching),
        annotators=tuple(person for person, _ in used),
        model_versions=tuple(dict.fromkeys(a.model_version for _, a in used if a.model_version)),
        agreement=agreement(people, [person for person, _ in counted], matching) if several else None,
        data=task.data,
        problems=(),
    )


def _together(consensus: str, people: list[tuple[Region, ...]], matching: Matching | None) -> tuple[Region, ...]:
    match consensus:
        case "majority":
            return majority(people, matching)
        case "staple":
            return most_likely(people, matching)
        case "all":
            return tuple(region for regions in reversed(people) for region in regions)
    return people[0]


def _split(task: AnnotatedTask, rule: SplitRule | None, splits: Mapping[str, Split] | None) -> Split | None:
    if splits is not None and task.key in splits:
        return splits[task.key]
    if rule is None:
        return None
    return rule.split_of(rule.group_of_field(task.key, task.data) if rule.field else task_name(task.project, task.key))
