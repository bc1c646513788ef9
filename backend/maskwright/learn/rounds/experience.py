"""What a project's corrections teach beside masks: how far scores can be trusted, and what labelling costs.

Both are kept as notes of the project for whoever orders its queue.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from maskwright.errors import InvalidInput
from maskwright.learn.acquisition.calibration import Calibration, calibrate
from maskwright.learn.acquisition.cost import CostModel, learn_cost
from maskwright.learn.rounds.corrections import Correction
from maskwright.store.project_notes import ProjectNotes

COST, CALIBRATION = "cost", "calibration"


def learn_experience(
    notes: ProjectNotes,
    project_id: int,
    corrections: Iterable[Correction],
    proposed: Iterable[tuple[float, float]] = (),
) -> None:
    """Fit both maps anew and keep them.

    Args:
        notes: Where.
        project_id: The store's own number of the project.
        corrections: All of the project.
        proposed: More pairs of a proposal's score and its IoU with what people left, of the version in service.
    """
    known = list(corrections)
    timed = [one for one in known if one.lead_time is not None and one.is_only_image]
    cost = learn_cost([one.effort for one in timed], [one.lead_time or 0.0 for one in timed])
    pairs = [*proposed, *(pair for one in known for pair in one.outcomes)]
    both = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    calibration = calibrate(both[:, 0], both[:, 1])
    notes.put(project_id, COST, {"coefficients": cost.coefficients.tolist(), "images": len(timed)})
    notes.put(
        project_id,
        CALIBRATION,
        {
            "predicted": calibration.predicted.tolist(),
            "expected": calibration.expected.tolist(),
            "regions": len(pairs),
        },
    )


def read_cost(notes: ProjectNotes, project_id: int) -> CostModel:
    """What labelling costs in a project; what is believed before where nothing was learnt.

    Raises:
        InvalidInput: If the note is something else.
    """
    value = notes.get(project_id, COST)
    return CostModel() if value is None else CostModel(_numbers(value, "coefficients"))


def read_calibration(notes: ProjectNotes, project_id: int) -> Calibration:
    """From the score of a proposal to the IoU to be expected of it; unchanged where nothing was learnt.

    Raises:
        InvalidInput: If the note is something else.
    """
    value = notes.get(project_id, CALIBRATION)
    return Calibration() if value is None else Calibration(_numbers(value, "predicted"), _numbers(value, "expected"))


def _numbers(value: Any, name: str) -> Any:
    try:
        return np.array(value[name], dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"what the project has learnt of its work lacks {name!r}: {error!r}") from error
