"""An annotator who knows the truth works through tasks, and what that costs is counted.

A task opens with the regions that the assistant proposes. Those that are good (IoU of 0.9 with an object, each object
and each region at most once: ``export.matching``) stay as they are. Every other one is deleted, and what has no region
yet is clicked on, from an empty mask, where the answer is most wrong (``clicker``), until it is good or 20 clicks were
made; the best answer stays. Clicks are counted as a person makes them: one for each region deleted, one for each region
whose class is changed, and those on objects.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

import numpy as np

from maskwright.export.matching import match_pair
from maskwright.learn.clicker import Click, clicked_masks
from maskwright.learn.interactive import MOST_CLICKS
from maskwright.learn.metrics import Pixels, iou
from maskwright.regions import Region

GOOD = 0.9
"""IoU from which the annotator is content."""
SECONDS_PER_CLICK = 2.0
"""What a click is taken to cost a person; lead times that a project learns costs from are made of it."""


class LabellingClient(Protocol):
    """The labelling platform as its annotator sees it."""

    def open(self, task: int) -> Sequence[Region]:
        """Open a task; the regions that the assistant proposes, each with its own ``key``, masks of the image's size.

        Raises:
            MaskwrightError: If the assistant does not answer as it should; so do the other methods.
        """
        ...

    def click(self, task: int, clicks: Sequence[Click], label: str) -> Region | None:
        """Point at an object of a class, all clicks so far given; the answer, or None where nothing was found."""
        ...

    def submit(self, task: int, regions: Sequence[Region], lead_seconds: float) -> None:
        """Finish a task: these regions, of those that were proposed or answered, are what is on the image."""
        ...


@dataclass(frozen=True)
class Labour:
    """What annotating came to.

    Attributes:
        images: Tasks done.
        objects: Objects that are truly there.
        accepted: Proposed regions that stayed.
        deleted: Proposed regions that were deleted.
        relabelled: Accepted regions whose class was changed.
        clicks: On objects.
        failed: Objects that were still not good after 20 clicks.
        requests: Made to the assistant.
        model_seconds: Waited for its answers.
    """

    images: int = 0
    objects: int = 0
    accepted: int = 0
    deleted: int = 0
    relabelled: int = 0
    clicks: int = 0
    failed: int = 0
    requests: int = 0
    model_seconds: float = 0.0

    def __add__(self, other: Labour) -> Labour:
        return Labour(**{name: value + getattr(other, name) for name, value in vars(self).items()})

    @property
    def actions(self) -> int:
        """Clicks of every kind."""
        return self.clicks + self.deleted + self.relabelled

    @property
    def clicks_per_object(self) -> float:
        """Clicks of every kind, shared among the objects; 0 where there are none."""
        return self.actions / self.objects if self.objects else 0.0

    @property
    def accepted_share(self) -> float:
        """Share of the objects that needed no click; 0 where there are none."""
        return self.accepted / self.objects if self.objects else 0.0


def annotate(client: LabellingClient, task: int, truths: Sequence[Region]) -> Labour:
    """Annotate one task.

    Args:
        client: Where.
        task: Its number.
        truths: What is on its image, none of them empty; a class is needed of each.

    Raises:
        MaskwrightError: What ``client`` raises.
        InvalidInput: If the regions are not of the size of the truth.
    """
    return _Session(client, task).annotate(truths)


class _Session:
    """One task in the making."""

    def __init__(self, client: LabellingClient, task: int) -> None:
        self._client, self._task = client, task
        self._requests, self._seconds, self._clicks, self._failed = 0, 0.0, 0, 0

    def annotate(self, truths: Sequence[Region]) -> Labour:
        started = time.perf_counter()
        proposed = self._client.open(self._task)
        self._answered(started)
        good = {j: proposed[i] for i, j, found in match_pair(proposed, truths) if found >= GOOD}
        relabelled = sum(region.label != truths[j].label for j, region in good.items())
        left = [
            replace(good[j], label=truth.label) if j in good else self._clicked(truth)
            for j, truth in enumerate(truths)
        ]  # fmt: skip
        labour = Labour(
            1, len(truths), len(good), len(proposed) - len(good), relabelled,
            self._clicks, self._failed, self._requests, self._seconds,
        )  # fmt: skip
        kept = [region for region in left if region is not None]
        self._client.submit(self._task, kept, SECONDS_PER_CLICK * (1 + labour.actions))
        return labour

    def _clicked(self, truth: Region) -> Region | None:
        """The best answer to clicks on an object; None if there never was one."""
        wanted = truth.mask.to_array()
        best, best_iou = None, 0.0
        answers: list[Region | None] = []

        def answer(clicks: list[Click]) -> Pixels:
            started = time.perf_counter()
            answers.append(self._client.click(self._task, clicks, truth.label or ""))
            self._answered(started)
            self._clicks += 1
            return np.zeros_like(wanted) if answers[-1] is None else answers[-1].mask.to_array()

        for mask in islice(clicked_masks(wanted, answer), MOST_CLICKS):
            if (found := iou(mask, wanted)) > best_iou:
                best, best_iou = answers[-1], found
            if best_iou >= GOOD:
                return best
        self._failed += 1
        return best

    def _answered(self, started: float) -> None:
        self._requests += 1
        self._seconds += time.perf_counter() - started
