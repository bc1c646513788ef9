"""What a round found out, as the JSON that history, command line and dashboard show (``Round.metrics``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from maskwright.learn.gate.asking import PROMPT_TYPES
from maskwright.learn.gate.bootstrap import Compared, Gain, paired_gains
from maskwright.learn.gate.preannotations import PreannotationQuality
from maskwright.learn.gate.records import PRIMARY, Measurement
from maskwright.learn.gate.verdict import Verdict


def figures(found: Measurement, calibration_error: float, quality: PreannotationQuality | None) -> dict[str, Any]:
    """What was measured of one model; what is not known is None."""
    means = {name: float(values.mean()) for name, values in found.columns().items()}
    failed = [record.clicks85 is None for record in found.records]
    return {
        "segmenter_version": found.model_version,
        "primary": means.get(PRIMARY),
        **{f"iou_{name}": means.get(f"iou_{name}") for name in PROMPT_TYPES},
        "boundary_iou_5": means.get("boundary_iou_5"),
        "noc85": means.get("noc85"),
        "noc90": means.get("noc90"),
        "failed85": float(np.mean(failed)) if failed else None,
        "calibration_error": calibration_error if failed else None,
        "miou": None if quality is None else quality.mean_iou,
        "class_accuracy": None if quality is None else quality.class_accuracy,
        "objects": len(found.records),
        "images": len(found.images),
    }


def comparison(verdict: Verdict, served: Measurement, candidate: Measurement) -> dict[str, Any]:
    """The parts of the report that a verdict tells."""
    before, after = verdict.preannotations or (None, None)
    return {
        "served": figures(served, verdict.calibration_error[0], before),
        "candidate": figures(candidate, verdict.calibration_error[1], after),
        "gain": _bounds(verdict.gains[PRIMARY]),
        "by_prompt": [{"name": name, **_row(verdict.gains[f"iou_{name}"])} for name in PROMPT_TYPES],
        "by_class": _by_class(verdict, candidate),
    }


def by_group(found: Measurement, groups: Mapping[str, str], field: str, seed: int = 0) -> dict[str, Any]:
    """Errors by what a task field says of an image, with bootstrap intervals over images.

    Args:
        found: Of one model.
        groups: Of each image by its key.
        field: The field's name.
        seed: Of the draws.
    """
    errors = _errors(found, [groups.get(record.image, "") for record in found.records], seed)
    rows = [
        {
            "name": name,
            "objects": one.objects,
            "images": one.images,
            "error": one.mean,
            "low": one.low,
            "high": one.high,
        }
        for name, one in errors.items()
    ]
    return {"field": field, "groups": rows}


def _by_class(verdict: Verdict, candidate: Measurement) -> list[dict[str, Any]]:
    errors = _errors(candidate, [record.label for record in candidate.records], verdict.rule.seed)
    return [
        {"name": label, **_row(gain), "error_low": errors[label].low, "error_high": errors[label].high}
        for label, gain in verdict.classes.items()
    ]


def _errors(found: Measurement, owners: Sequence[str | None], seed: int) -> dict[str, Gain]:
    """By what objects belong to, if to anything, their error: 1 less the primary measure."""
    errors = 1 - found.columns()[PRIMARY] if found.records else np.zeros(0)
    belong = np.array(owners, dtype=object)
    names = sorted({name for name in owners if name is not None})
    compared = [Compared(np.zeros_like(errors), errors, np.asarray(belong == name, dtype=np.bool_)) for name in names]
    gains = paired_gains(compared, [record.image for record in found.records], seed=seed)
    return dict(zip(names, gains, strict=True))


def _bounds(gain: Gain) -> dict[str, Any]:
    return {"mean": gain.mean, "low": gain.low, "high": gain.high}


def _row(gain: Gain) -> dict[str, Any]:
    return {
        "objects": gain.objects, "served": gain.served, "candidate": gain.candidate, "low": gain.low, "high": gain.high,
    }  # fmt: skip
