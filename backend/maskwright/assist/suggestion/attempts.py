"""A stage that fails costs an image what the stage would have given, and no more."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from maskwright.errors import Busy, Cancelled, MaskwrightError

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


def attempt(work: Callable[[], _T], otherwise: _T, failure: str, problems: list[str]) -> _T:
    """What ``work`` gives; if it fails, ``otherwise``, and a sentence that a person may read among the problems.

    Raises:
        Cancelled: If the work was cancelled.
        Busy: If too much waits already: a moment later nothing would be missing.
    """
    try:
        return work()
    except (Busy, Cancelled):
        raise
    except MaskwrightError as error:
        _log.warning("%s: %s", failure, error)
        problems.append(f"{failure}: {error}")
    except Exception as error:  # noqa: BLE001 - what a model's own code raises must not cost the other stages
        _log.exception("%s", failure)
        problems.append(f"{failure}: {type(error).__name__}; the log of the server says more")
    return otherwise
