"""Constrained decoding: at every step only tokens that keep the answer on the way to a valid one.

The grammar is llguidance's. A model that would write on and on is brought to an end in the same way: from a number of
tokens or a moment on, only the token that leads to the end of the answer soonest is allowed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import llguidance
import llguidance.hf
import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LogitsProcessor, PreTrainedTokenizerFast, StoppingCriteria

from maskwright.errors import ModelUnavailable

CLOSING_TOKENS = 512
"""Tokens within which every answer is closed: a label's name and the closing of what is open take far fewer."""


class Vocabulary:
    """A tokenizer as grammars see it; made once for a model.

    Raises:
        ModelUnavailable: If the tokenizer is none of the tokenizers library.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise ModelUnavailable(
                "its tokenizer is not one of the tokenizers library, which constrained decoding needs"
            )
        self.tokens = llguidance.hf.from_tokenizer(tokenizer)
        self.texts = [self.tokens.decode_bytes([index]) for index in range(self.tokens.vocab_size)]
        lengths = np.array([len(text) for text in self.texts], dtype=np.int32)
        starts = np.array([text[:1] for text in self.texts], dtype="S1")
        far = int(lengths.max(initial=0)) + 1
        self.cost_inside = np.where(starts == b'"', 0, far) + lengths
        """Of each token inside a JSON string: those that end it come first, then the shortest."""
        closing = (starts == b"}") | (starts == b"]")
        self.cost_outside = np.where(closing, 0, np.where(starts == b",", far, 2 * far)) + lengths
        """Of each token outside strings: those that close an object or a list come first."""


class Guide:
    """Leads one generation, of a single sequence, to an answer that is valid under a schema.

    Args:
        vocabulary: Of the model.
        schema: JSON Schema of an object.
        max_tokens: From this many tokens on the answer is being closed.
        close_at: From this moment (``time.monotonic``) on, too.
        end_at: At this moment generation stops, wherever it is.

    Raises:
        ModelUnavailable: If the grammar cannot follow the schema.
    """

    def __init__(
        self, vocabulary: Vocabulary, schema: Mapping[str, Any], *, max_tokens: int, close_at: float, end_at: float
    ) -> None:
        grammar = llguidance.LLMatcher.grammar_from_json_schema(
            json.dumps(schema), overrides={"whitespace_flexible": False}
        )
        self._matcher = llguidance.LLMatcher(vocabulary.tokens, grammar)
        if self._matcher.is_error():
            raise ModelUnavailable(f"answers cannot be forced into this schema: {self._matcher.get_error()}")
        self._vocabulary = vocabulary
        self._max_tokens, self._close_at, self._end_at = max_tokens, close_at, end_at
        self._written = bytearray()
        self._in_string = self._is_escaped = False
        self.count = 0

    @property
    def text(self) -> str:
        """What was written so far."""
        return self._written.decode("utf-8", "replace")

    @property
    def is_complete(self) -> bool:
        """Whether it is a whole answer."""
        return bool(self._matcher.is_accepting())

    def restrict(self, scores: torch.Tensor) -> torch.Tensor:
        """(1, vocabulary) logits with -inf for every token that may not come next."""
        allowed = self._allowed()
        if self.count >= self._max_tokens or time.monotonic() >= self._close_at:
            cost = self._vocabulary.cost_inside if self._in_string else self._vocabulary.cost_outside
            soonest = int(np.where(allowed, cost, np.iinfo(np.int32).max).argmin())
            allowed = np.arange(len(allowed)) == soonest
        mask = np.zeros(scores.shape[-1], dtype=np.bool_)  # a model's table may be longer than its vocabulary
        mask[: len(allowed)] = allowed[: len(mask)]
        forbidden = torch.from_numpy(~mask).to(scores.device)
        kept = scores.masked_fill(forbidden, -torch.inf)
        # Where another rule of the model forbade all that is allowed, or its numbers are broken, any of it will do.
        return kept if kept.max().isfinite() else torch.zeros_like(scores).masked_fill(forbidden, -torch.inf)

    def advance(self, token: int) -> bool:
        """Take the token that was chosen; whether the answer is complete, or has to be broken off."""
        if not self._matcher.consume_token(token):
            raise ModelUnavailable(f"the answer left its grammar: {self._matcher.get_error()}")
        self.count += 1
        for byte in self._vocabulary.texts[token]:
            if self._is_escaped:
                self._is_escaped = False
            elif byte == ord("\\"):
                self._is_escaped = self._in_string
            elif byte == ord('"'):
                self._in_string = not self._in_string
        self._written += self._vocabulary.texts[token]
        return self.is_complete or time.monotonic() >= self._end_at

    def _allowed(self) -> NDArray[np.bool_]:
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        return np.unpackbits(bits, bitorder="little")[: len(self._vocabulary.texts)].astype(np.bool_)


class Restricting(LogitsProcessor):  # type: ignore[misc]
    """A guide as ``generate`` asks it before each token."""

    def __init__(self, guide: Guide) -> None:
        self._guide = guide

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """See ``Guide.restrict``."""
        return self._guide.restrict(scores)


class Advancing(StoppingCriteria):  # type: ignore[misc]
    """A guide as ``generate`` tells it each token."""

    def __init__(self, guide: Guide) -> None:
        self._guide = guide

    def __call__(self, input_ids: torch.Tensor, scores: Any, **more: Any) -> torch.Tensor:
        """See ``Guide.advance``."""
        is_done = self._guide.advance(int(input_ids[0, -1]))
        return torch.full((1,), is_done, dtype=torch.bool, device=input_ids.device)
