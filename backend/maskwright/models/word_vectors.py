"""The vectors of the vocabulary's words, ready made: what the sentence encoder says about 3,000 words takes it seconds.

``data/word_vectors.safetensors`` holds them in eight bits with a scale per word (1.2 MB; a dot product is off by about
0.001), and says which encoder and which words they are of. ``python -m maskwright.models.word_vectors`` makes it anew.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskwright.models.imagenet_words import vocabulary
from maskwright.models.protocols import TextEncoder

FILE = "data/word_vectors.safetensors"


def words_of_concepts() -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """All words of all concepts, (W,), and the index of the concept that each belongs to, (W,) int64 ascending."""
    pairs = [(word, i) for i, concept in enumerate(vocabulary().concepts) for word in concept.words]
    return tuple(word for word, _ in pairs), np.array([i for _, i in pairs], dtype=np.int64)


def word_vectors(encoder: TextEncoder) -> NDArray[np.float32]:
    """(W, d) float32, rows of length about 1: the stored vectors where they are this encoder's, else its own answer."""
    words, _ = words_of_concepts()
    from safetensors import safe_open

    with resources.as_file(resources.files("maskwright.models").joinpath(FILE)) as path:
        if path.is_file():
            with safe_open(path, framework="numpy") as stored:
                if stored.metadata() == _metadata(encoder.version, words):
                    scales: NDArray[np.float32] = stored.get_tensor("scales")[:, None]
                    vectors: NDArray[np.float32] = scales * stored.get_tensor("vectors").astype(np.float32)
                    return vectors
    return encoder.embed(words)


def store_word_vectors(encoder: TextEncoder, path: Path) -> None:
    """Write the file anew."""
    from safetensors.numpy import save_file

    words, _ = words_of_concepts()
    vectors = encoder.embed(words)
    scales = (np.abs(vectors).max(axis=1) / 127).astype(np.float32)
    whole = np.round(vectors / scales[:, None]).astype(np.int8)
    save_file({"vectors": whole, "scales": scales}, path, metadata=_metadata(encoder.version, words))


def _metadata(encoder: str, words: tuple[str, ...]) -> dict[str, str]:
    return {"encoder": encoder, "words": hashlib.sha256("\n".join(words).encode()).hexdigest()}


if __name__ == "__main__":
    from maskwright.models.sentences import SentenceEncoder

    store_word_vectors(SentenceEncoder(), Path(__file__).parent / FILE)
