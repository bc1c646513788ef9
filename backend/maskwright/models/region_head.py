"""A class head that learns from corrections: what a classifier says without training, moved by what people said.

Multinomial logistic regression on top of the zero-shot log-probabilities: a correction moves the classes of regions
that look like the corrected one, a little with one example, wholly with many, because the penalty on the weights is
outweighed as examples add up. How far the zero-shot answer is to be trusted is learnt too. Classes nobody has given an
example of keep exactly their zero-shot probability; the rest is shared out among those that people have shown.

Where words say how a class looks, the penalty pulls its weights towards what they say instead of towards zero: with few
examples the words decide, with many the examples do. (After the language guidance of LangSeg, arXiv 2501.16467, whose
loss draws the features of regions to the vectors of their descriptors; here the features are fixed and the weights
move.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskwright.errors import InvalidInput

NONE = -1
"""Class index of a region that people said shows none of the classes, for instance by deleting it."""
FLOOR = 1e-2
"""Added to zero-shot probabilities before their logarithm: an answer of 0 may be wrong."""
SCALE = 8.0
"""Factor on the features; its square is the weight of an example against the penalty on the weights."""
TRUST_PENALTY = 0.3
"""Penalty on the squared logarithm of the trust in the zero-shot answer, which starts at 1."""
BALANCE = 0.5
"""Power of a class's rarity by which its examples weigh more: 0 not at all, 1 so that all classes weigh alike."""
CENTRE_EXAMPLES = 10.0
"""Examples at zero that the mean of the features starts with, so that a single example is not its own background."""
ITERATIONS = 100


@dataclass(frozen=True, eq=False)
class RegionHead:
    """What was learnt. Immutable, shared between threads.

    Attributes:
        classes: Names of the classes that it was learnt for, in the order of the columns of ``weights``.
        counts: (C + 1,) int64: examples of each class, and of none of them.
        weights: (d, C + 1) float32; zeros where there were neither examples nor words.
        centre: (d,) float32 subtracted from features.
        trust: Factor on the zero-shot log-probabilities.
        made_for: Versions of what gave the features and the zero-shot probabilities.
    """

    classes: tuple[str, ...]
    counts: NDArray[np.int64]
    weights: NDArray[np.float32]
    centre: NDArray[np.float32]
    trust: float
    made_for: str

    @classmethod
    def fit(
        cls,
        features: NDArray[np.float32],
        class_indices: Sequence[int] | NDArray[np.int64],
        prior: NDArray[np.float32],
        *,
        classes: Sequence[str],
        made_for: str,
        described: NDArray[np.float32] | None = None,
    ) -> RegionHead:
        """Learn from n corrected or confirmed regions; the same input gives the same head.

        Args:
            features: (n, d) float32.
            class_indices: n positions in ``classes``, or ``NONE``.
            prior: (n, C) zero-shot probabilities of the classes; what a row lacks to 1 is that of none.
            classes: C unique names.
            made_for: Versions of what gave ``features`` and ``prior``.
            described: (d, C) weights that words speak for, zeros for classes without; None = there are no words.

        Raises:
            InvalidInput: If shapes or indices do not fit each other, a number is not finite, or a name is repeated.
        """
        names = tuple(classes)
        if len(set(names)) != len(names) or not names:
            raise InvalidInput("a region head needs at least one class, each named once")
        features, prior = _checked(features, prior, len(names))
        indices = np.asarray(class_indices)
        if indices.shape != (len(features),) or (indices.size and indices.dtype.kind not in "iu"):
            raise InvalidInput(f"{len(features)} examples need as many whole numbers as classes, not {indices.shape}")
        if indices.size and not NONE <= int(indices.min()) <= int(indices.max()) < len(names):
            raise InvalidInput(f"a class index is outside {NONE} (none) to {len(names) - 1}")
        outcomes = np.where(indices == NONE, len(names), indices).astype(np.int64)
        counts = np.bincount(outcomes, minlength=len(names) + 1).astype(np.int64)
        centre = (features.sum(axis=0) / (len(features) + CENTRE_EXAMPLES)).astype(np.float32)
        weights = _start(described, features.shape[1], len(names))
        trust = 1.0
        if len(features):
            columns = _known(counts, weights)
            log_prior, _ = _shared_out(prior, columns)
            targets = np.searchsorted(columns, outcomes)
            start = weights[:, columns] / np.float32(SCALE)
            learnt = (counts[columns] > 0) | start.any(axis=0)
            found, trust = _solve((features - centre) * np.float32(SCALE), log_prior, targets, learnt, start)
            weights[:, columns] = found * np.float32(SCALE)
        return cls(names, counts, weights, centre, trust, made_for)

    def for_classes(self, names: Sequence[str]) -> RegionHead:
        """The head for another label set: new classes without examples, those that are gone forgotten.

        Args:
            names: C unique class names of the label set.

        Raises:
            InvalidInput: If a name is repeated or there is none.
        """
        if len(set(names)) != len(names) or not names:
            raise InvalidInput("a region head needs at least one class, each named once")
        old = {name: column for column, name in enumerate(self.classes)}
        columns = [old.get(name) for name in names]
        counts = np.zeros(len(names) + 1, dtype=np.int64)
        weights: NDArray[np.float32] = np.zeros((len(self.centre), len(names) + 1), dtype=np.float32)
        for new, column in enumerate([*columns, len(self.classes)]):
            if column is not None:
                counts[new], weights[:, new] = self.counts[column], self.weights[:, column]
        return RegionHead(tuple(names), counts, weights, self.centre, self.trust, self.made_for)

    def probabilities(self, features: NDArray[np.float32], prior: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, C) float32; what a row lacks to 1 is the probability of none of the classes.

        Args:
            features: (n, d) float32.
            prior: (n, C) zero-shot probabilities in the order of ``classes``.

        Raises:
            InvalidInput: If shapes do not fit each other or the head, or a number is not finite.
        """
        features, prior = _checked(features, prior, len(self.classes))
        if features.shape[1] != len(self.centre):
            raise InvalidInput(f"the region head reads {len(self.centre)} features, not {features.shape[1]}")
        columns = _known(self.counts, self.weights)
        if len(columns) == 1 and not self.counts[-1]:
            return prior.copy()
        log_prior, rest = _shared_out(prior, columns)
        logits = self.trust * log_prior + (features - self.centre) @ self.weights[:, columns]
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares *= rest / shares.sum(axis=1, keepdims=True)
        result = np.concatenate([prior, np.zeros((len(prior), 1), dtype=np.float32)], axis=1)
        result[:, columns] = shares
        return np.ascontiguousarray(result[:, :-1])

    @property
    def version(self) -> str:
        """Name and eight hex digits that change with anything that changes its answers."""
        from maskwright.models.region_head_files import digest

        return f"region-head-1-{digest(self)[:8]}"

    def save(self, path: Path) -> None:
        """Write a safetensors file, whole or not at all."""
        from maskwright.models.region_head_files import save

        save(self, path)

    @classmethod
    def load(cls, path: Path) -> RegionHead:
        """Read what ``save`` wrote.

        Raises:
            ModelUnavailable: If the file is missing, damaged, altered or of another kind or version.
        """
        from maskwright.models.region_head_files import load

        return load(path)


def _checked(
    features: NDArray[np.float32], prior: NDArray[np.float32], classes: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    features, prior = np.asarray(features, dtype=np.float32), np.asarray(prior, dtype=np.float32)
    if features.ndim != 2 or prior.shape != (len(features), classes):
        raise InvalidInput(
            f"features (n, d) and zero-shot probabilities (n, {classes}) do not fit: {features.shape}, {prior.shape}"
        )
    if not (np.isfinite(features).all() and np.isfinite(prior).all()):
        raise InvalidInput("features or zero-shot probabilities hold a number that is not finite")
    return features, prior


def _start(described: NDArray[np.float32] | None, width: int, classes: int) -> NDArray[np.float32]:
    """(d, C + 1) weights without any example."""
    weights: NDArray[np.float32] = np.zeros((width, classes + 1), dtype=np.float32)
    if described is not None:
        if described.shape != (width, classes) or not np.isfinite(described).all():
            raise InvalidInput(f"weights from words must be finite and ({width}, {classes}), not {described.shape}")
        weights[:, :-1] = described
    return weights


def _known(counts: NDArray[np.int64], weights: NDArray[np.float32]) -> NDArray[np.int64]:
    """Columns that the head decides on: the classes with examples or words and, in any case, none of them."""
    shown = (counts[:-1] > 0) | weights[:, :-1].any(axis=0)
    return np.array([*np.flatnonzero(shown), len(counts) - 1], dtype=np.int64)


def _shared_out(
    prior: NDArray[np.float32], columns: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Log of the zero-shot probabilities given that it is one of ``columns``, (n, k), and that it is, (n, 1)."""
    complete = np.concatenate([prior, np.clip(1.0 - prior.sum(axis=1, keepdims=True), 0.0, 1.0)], axis=1)[:, columns]
    rest = complete.sum(axis=1, keepdims=True)
    log_prior: NDArray[np.float32] = np.log(complete / np.maximum(rest, 1e-6) + FLOOR).astype(np.float32)
    return log_prior, rest.astype(np.float32)


def _solve(
    features: NDArray[np.float32],
    log_prior: NDArray[np.float32],
    targets: NDArray[np.int64],
    learnt: NDArray[np.bool_],
    start: NDArray[np.float32],
) -> tuple[NDArray[np.float32], float]:
    """Weights (d, k), zero where not ``learnt`` (k,), and the trust in the prior, by L-BFGS.

    The penalty is on the difference from ``start`` (d, k).
    """
    import torch

    counts = np.bincount(targets, minlength=len(learnt))
    emphasis = (len(targets) / (np.count_nonzero(counts) * np.maximum(counts, 1))) ** BALANCE
    x, offset, y = torch.from_numpy(features), torch.from_numpy(log_prior), torch.from_numpy(targets)
    importance = torch.from_numpy(emphasis[targets].astype(np.float32))
    active = torch.from_numpy(learnt.astype(np.float32))
    towards = torch.from_numpy(np.ascontiguousarray(start))
    weights = towards.clone().requires_grad_()
    log_trust = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weights, log_trust], max_iter=ITERATIONS, tolerance_grad=1e-4, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = torch.exp(log_trust) * offset + x @ (weights * active)
        misfit = (importance * torch.nn.functional.cross_entropy(logits, y, reduction="none")).sum()
        value = misfit + 0.5 * ((weights - towards) ** 2).sum() + 0.5 * TRUST_PENALTY * (log_trust**2).sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        optimizer.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return (weights * active).numpy().copy(), float(torch.exp(log_trust).item())
