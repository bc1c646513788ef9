"""Tokenizers of checkpoints."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch

from maskwright.errors import ModelUnavailable
from maskwright.models.checkpoints import Checkpoint

_FILES = ("tokenizer.json", "vocab.txt", "vocab.json")


class Words:
    """A checkpoint's tokenizer. Safe under threads, which transformers' own are not: each call changes their padding.

    Args:
        tokenizer: A ``transformers`` tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._lock = threading.Lock()

    def pieces(self, phrases: Sequence[str]) -> list[list[int]]:
        """The tokens of each phrase, without those that mark where a text begins and ends."""
        with self._lock:
            ids: list[list[int]] = self._tokenizer(list(phrases), add_special_tokens=False)["input_ids"]
        return ids

    def padded(self, phrases: Sequence[str], length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, length) int64 tokens and attention mask; what is longer is cut."""
        with self._lock:
            made = self._tokenizer(
                list(phrases), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
            )
        return made["input_ids"], made["attention_mask"]

    def number(self, token: str) -> int:
        """The number of a token."""
        return int(self._tokenizer.convert_tokens_to_ids(token))

    @property
    def frame(self) -> tuple[int, int]:
        """The tokens that open and close a text."""
        return int(self._tokenizer.cls_token_id), int(self._tokenizer.sep_token_id)


def load_words(checkpoint: Checkpoint) -> Words:
    """Load the tokenizer in a checkpoint's folder.

    Raises:
        ModelUnavailable: If there is none.
    """
    from transformers import AutoTokenizer

    if checkpoint.path is None or not any((checkpoint.path / name).is_file() for name in _FILES):
        raise ModelUnavailable(
            f"model {checkpoint.uri}: its folder holds no tokenizer ({', '.join(_FILES)}); save the processor beside "
            "the model (save_pretrained writes it)"
        )
    return Words(AutoTokenizer.from_pretrained(checkpoint.path, local_files_only=True))
