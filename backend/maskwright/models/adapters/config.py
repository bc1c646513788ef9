"""What an adapter changes, told in words that can be written into its file. Imports no PyTorch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from maskwright.errors import InvalidInput

Kind = Literal["lora", "conv-lora", "decoder", "both"]

ENCODER_TARGETS = ("encoder.q", "encoder.k", "encoder.v", "encoder.out", "encoder.mlp")
DECODER_TARGETS = ("decoder.q", "decoder.k", "decoder.v", "decoder.out")
MOST_RANK = 256
_MOST_SCALE = 8
_MOST_EXPERTS = 8
_DECODER_PREFIXES = ("mask_decoder.", "decoder.")
_ENCODING_PARTS = ("mask_decoder.conv_s0.", "mask_decoder.conv_s1.")
"""SAM 2 and SAM 3 keep these in the mask decoder, but they make two levels of the cached embedding."""


@dataclass(frozen=True)
class AdapterConfig:
    """What is trained on top of a frozen base.

    Attributes:
        kind: ``lora``: low-rank corrections of linear layers (Hu et al. 2021); ``conv-lora``: the same with a mixture
            of convolutions between their factors (Zhong et al. 2024); ``decoder``: the whole mask decoder;
            ``both``: low-rank corrections of the image encoder and the whole mask decoder.
        rank: Of the corrections.
        alpha: Corrections are weighed by ``alpha / rank``; None = ``rank``, a weight of 1.
        targets: Of ``ENCODER_TARGETS`` and ``DECODER_TARGETS``; empty = the family's own: ``encoder.q`` and
            ``encoder.v`` where the image encoder has attention, else all four projections of the decoder's attention.
        last_blocks: Only the last so many blocks of the image encoder are corrected; 0 = all.
        dropout: Share of a layer's inputs that corrections do not see in training mode.
        scales: For ``conv-lora``: an expert for each, which convolves the picture enlarged so many times.
    """

    kind: Kind = "decoder"
    rank: int = 8
    alpha: float | None = None
    targets: tuple[str, ...] = ()
    last_blocks: int = 0
    dropout: float = 0.0
    scales: tuple[int, ...] = (1, 2, 4)

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise InvalidInput(f"adapter: kind is {self.kind!r}; write one of {', '.join(get_args(Kind))}")
        if not _whole(self.rank, 1, MOST_RANK):
            raise InvalidInput(f"adapter: rank is {self.rank!r}; an adapter's rank is 1 to {MOST_RANK}")
        if self.alpha is not None and not (_number(self.alpha) and 0 < self.alpha < math.inf):
            raise InvalidInput(f"adapter: alpha is {self.alpha!r}; it is a positive number")
        if not _whole(self.last_blocks, 0, 10_000):
            raise InvalidInput(f"adapter: last_blocks is {self.last_blocks!r}; it is 0 (all) or more")
        if not (_number(self.dropout) and 0 <= self.dropout < 1):
            raise InvalidInput(f"adapter: dropout is {self.dropout!r}; it is at least 0 and less than 1")
        allowed = ENCODER_TARGETS if self.kind in ("conv-lora", "both") else ENCODER_TARGETS + DECODER_TARGETS
        if wrong := [target for target in self.targets if target not in allowed]:
            raise InvalidInput(f"adapter: target {wrong[0]!r} is none of {', '.join(allowed)} (kind {self.kind})")
        if not 1 <= len(self.scales) <= _MOST_EXPERTS or not all(_whole(s, 1, _MOST_SCALE) for s in self.scales):
            raise InvalidInput(f"adapter: scales are {self.scales!r}; give 1 to {_MOST_EXPERTS} of 1 to {_MOST_SCALE}")

    @property
    def scale(self) -> float:
        """The weight of a correction."""
        return 1.0 if self.alpha is None else self.alpha / self.rank

    @property
    def has_corrections(self) -> bool:
        """Whether linear layers get low-rank corrections."""
        return self.kind != "decoder"

    @property
    def has_decoder(self) -> bool:
        """Whether the whole mask decoder is trained."""
        return self.kind in ("decoder", "both")

    @property
    def may_change_encoder(self) -> bool:
        """Whether the image encoder may be changed; without targets of its own that is for the family to say."""
        return self.has_corrections and (not self.targets or any(one in ENCODER_TARGETS for one in self.targets))

    @property
    def can_be_merged(self) -> bool:
        """Whether the corrections are sums of matrices, so that they cost nothing once merged into the weights."""
        return self.kind != "conv-lora"

    def to_json(self) -> dict[str, Any]:
        """As JSON values; ``from_json`` reads them."""
        return dataclasses.asdict(self) | {"targets": list(self.targets), "scales": list(self.scales)}

    @classmethod
    def from_json(cls, value: object) -> AdapterConfig:
        """Read what ``to_json`` wrote.

        Raises:
            InvalidInput: If a field is unknown, malformed or out of its bounds.
        """
        if not isinstance(value, Mapping):
            raise InvalidInput("adapter: its config is no object")
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(str(name) for name in value if name not in known):
            raise InvalidInput(f"adapter: its config has an unknown field {unknown[0]!r}")
        fields = dict(value)
        for name in ("targets", "scales"):
            if name in fields:
                if not isinstance(fields[name], (list, tuple)):
                    raise InvalidInput(f"adapter: {name} is no list")
                fields[name] = tuple(fields[name])
        return cls(**fields)


def touches_encoder(names: Iterable[str]) -> bool:
    """Whether an adapter with tensors of these names changes image embeddings.

    Only what is known to come after the embedding is taken for harmless: a wrong "no" would serve stale embeddings.
    """
    return any(not name.startswith(_DECODER_PREFIXES) or name.startswith(_ENCODING_PARTS) for name in names)


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
