"""What an export counted: gathered per chunk of tasks in many processes, added up in the order of the tasks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from maskwright.export.agreement import Agreement
from maskwright.export.file_names import shown_address
from maskwright.export.records import ImageRecord, Loss
from maskwright.export.selection import Chosen, moment

MOST_PROBLEMS = 20
_BINS_PER_DOUBLING = 4


@dataclass
class ClassFigures:
    """Counts of one class.

    Attributes:
        regions: How many regions it has.
        images: How many images have one.
        pixels: Their pixels.
        crowds: How many of the regions stand for uncounted groups.
        smallest: Pixels of the smallest region.
        largest: Pixels of the largest region.
        sizes: Regions by size: bin ``floor(4 * log2(pixels))``, as text.
        splits: Regions by part of the dataset; empty where nothing is split.
        losses: By reason: (regions, pixels) that the format holds wrongly.
    """

    regions: int = 0
    images: int = 0
    pixels: int = 0
    crowds: int = 0
    smallest: int | None = None
    largest: int = 0
    sizes: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    losses: dict[str, tuple[int, int]] = field(default_factory=dict)

    def quantile(self, share: float) -> int:
        """Pixels that this share of the regions does not exceed, to about 10 %; 0 where there is no region."""
        wanted, passed = share * self.regions, 0
        for name in sorted(self.sizes, key=int):
            passed += self.sizes[name]
            if passed >= wanted:
                middle = round(2 ** ((int(name) + 0.5) / _BINS_PER_DOUBLING))
                return min(max(middle, self.smallest or 0), self.largest)
        return self.largest

    def add_region(self, area: int, split: str | None, *, is_crowd: bool = False) -> None:
        """Count a region of at least one pixel."""
        self.regions += 1
        self.pixels += area
        self.crowds += is_crowd
        self.smallest = area if self.smallest is None else min(area, self.smallest)
        self.largest = max(area, self.largest)
        self.sizes[str(math.floor(_BINS_PER_DOUBLING * math.log2(max(area, 1))))] += 1
        if split is not None:
            self.splits[split] += 1

    def add_loss(self, reason: str, regions: int, pixels: int) -> None:
        """Count pixels that the format holds wrongly."""
        before = self.losses.get(reason, (0, 0))
        self.losses[reason] = (before[0] + regions, before[1] + pixels)

    def add(self, other: ClassFigures) -> None:
        """Count what another has counted."""
        self.regions += other.regions
        self.images += other.images
        self.pixels += other.pixels
        self.crowds += other.crowds
        least = [value for value in (self.smallest, other.smallest) if value is not None]
        self.smallest = min(least) if least else None
        self.largest = max(self.largest, other.largest)
        self.sizes.update(other.sizes)
        self.splits.update(other.splits)
        for reason, (regions, pixels) in other.losses.items():
            self.add_loss(reason, regions, pixels)


@dataclass
class Tally:
    """What was counted over some tasks. ``to_json`` and ``from_json`` keep it in the journal.

    Attributes:
        tasks: Tasks read.
        images: Images written.
        empty_images: Images among them without a region.
        classes: Figures by class.
        splits: Images by part of the dataset; empty where nothing is split.
        annotators: Images by annotator.
        model_versions: Images by the model version whose proposals an annotation began from.
        agreement: How far several annotators agree, over all images that have several.
        left_out: Images left out, by reason.
        unsized: Images left out, because nothing tells their size.
        missing_images: Images whose file was needed and could not be had or used.
        first_missing: Task and address of the first of these, and why; or empty.
        problem_count: Sentences about what could not be read.
        problems: The first of these sentences.
        newest: Time of the newest annotation that counts, or empty.
    """

    tasks: int = 0
    images: int = 0
    empty_images: int = 0
    classes: dict[str, ClassFigures] = field(default_factory=dict)
    splits: Counter[str] = field(default_factory=Counter)
    annotators: Counter[str] = field(default_factory=Counter)
    model_versions: Counter[str] = field(default_factory=Counter)
    agreement: Agreement = field(default_factory=Agreement)
    left_out: Counter[str] = field(default_factory=Counter)
    unsized: int = 0
    missing_images: int = 0
    first_missing: str = ""
    problem_count: int = 0
    problems: list[str] = field(default_factory=list)
    newest: str = ""

    @property
    def regions(self) -> int:
        """All regions written."""
        return sum(figures.regions for figures in self.classes.values())

    @property
    def lost_pixels(self) -> int:
        """All pixels that the format holds wrongly."""
        return sum(pixels for figures in self.classes.values() for _, pixels in figures.losses.values())

    def add_chosen(self, chosen: Chosen) -> None:
        """Count what a selection left out of a task, and when the newest of the rest was made."""
        for reason, images in chosen.left_out:
            self.left_out[reason] += images
        self.newest = _later(self.newest, chosen.newest)

    def add_record(self, record: ImageRecord, lost: Iterable[Loss] = ()) -> None:
        """Count one image that was written."""
        self.images += 1
        self.empty_images += not record.regions
        if record.split is not None:
            self.splits[record.split] += 1
        if record.agreement is not None:
            self.agreement = self.agreement + record.agreement
        self.annotators.update(record.annotators)
        self.model_versions.update(record.model_versions)
        for problem in record.problems:
            self.add_problem(problem)
        for region in record.regions:
            figures = self.classes.setdefault(str(region.label), ClassFigures())
            figures.add_region(region.mask.area, record.split, is_crowd=region.is_crowd)
        for label in {str(region.label) for region in record.regions}:
            self.classes[label].images += 1
        for loss in lost:
            self.classes.setdefault(loss.label, ClassFigures()).add_loss(loss.reason, 1, loss.pixels)

    def add_problem(self, sentence: str) -> None:
        """Count a problem, and keep its sentence if there are not too many yet."""
        self.problem_count += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(sentence)

    def add_missing(self, task: str, source: str, reason: str) -> None:
        """Count an image whose file could not be had or used; all but the first are problems, too."""
        self.missing_images += 1
        self._tell_missing(f"task {task}, {shown_address(source)}: {reason}")

    def _tell_missing(self, what: str) -> None:
        if self.first_missing:
            self.add_problem(f"a file could not be had: {what}")
        self.first_missing = self.first_missing or what

    def add(self, other: Tally) -> None:
        """Count what another has counted, of tasks that come after."""
        self.tasks += other.tasks
        self.images += other.images
        self.empty_images += other.empty_images
        self.unsized += other.unsized
        self.missing_images += other.missing_images
        if other.first_missing:
            self._tell_missing(other.first_missing)
        self.problem_count += other.problem_count
        self.problems = [*self.problems, *other.problems][:MOST_PROBLEMS]
        self.agreement = self.agreement + other.agreement
        for mine, theirs in (
            (self.splits, other.splits), (self.annotators, other.annotators),
            (self.model_versions, other.model_versions), (self.left_out, other.left_out),
        ):  # fmt: skip
            mine.update(theirs)
        for label, figures in other.classes.items():
            self.classes.setdefault(label, ClassFigures()).add(figures)
        self.newest = _later(self.newest, other.newest)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain = dict(vars(self))
        plain["agreement"] = self.agreement.to_json()
        plain["classes"] = {label: dict(vars(figures)) for label, figures in self.classes.items()}
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Tally:
        """Back from :meth:`to_json`."""
        values = dict(plain)
        for name in ("splits", "annotators", "model_versions", "left_out"):
            values[name] = Counter(values[name])
        values["problems"] = list(values["problems"])
        values["agreement"] = Agreement.from_json(values["agreement"])
        values["classes"] = {label: _figures(figures) for label, figures in values["classes"].items()}
        return cls(**values)


def _figures(plain: Mapping[str, Any]) -> ClassFigures:
    values = dict(plain)
    for name in ("sizes", "splits"):
        values[name] = Counter(values[name])
    values["losses"] = {reason: (int(pair[0]), int(pair[1])) for reason, pair in values["losses"].items()}
    return ClassFigures(**values)


def _later(first: str, second: str) -> str:
    times = [(time, text) for text in (first, second) if (time := moment(text)) is not None]
    return max(times)[1] if times else ""
