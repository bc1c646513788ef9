"""Where an adapter attaches in each family's network, by the names of its modules.

Known networks: transformers' ``SamModel``, ``SamHQModel``, ``Sam2Model`` and ``Sam3TrackerModel``, the
``segment-anything`` package's ``Sam``, and ``EmbeddedNetwork``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from torch import nn

from maskwright.errors import InvalidInput
from maskwright.models.adapters.config import DECODER_TARGETS, AdapterConfig, touches_encoder

_ENCODER = re.compile(
    r"(?:vision_encoder|image_encoder)\.(?:backbone\.)?(?:layers|blocks)\.(?P<block>\d+)\."
    r"(?:(?:attn|attention)\.(?P<attention>qkv|proj|[qkvo]_proj)|mlp\.(?P<mlp>\w+))"
)
_DECODER = re.compile(r"(?:mask_decoder\.transformer|decoder)\.(?:\w+\.)*(?P<attention>[qkvo]_proj|out_proj)")
_FUSED = "qkv"
"""One linear layer whose output is queries, keys and values, a third each: SAM's and SAM 2's image encoders."""


@dataclass(frozen=True)
class Site:
    """A linear layer, or a part of its output, that gets a correction of its own.

    Attributes:
        layer: Name of the layer in the network.
        part: ``q``, ``k`` or ``v`` of a fused layer; empty = the whole layer.
        rows: First and last + 1 of the output channels.
        in_features: Input channels.
        target: The name by which a config asks for it.
        block: Index of the image encoder's block; -1 in the decoder.
    """

    layer: str
    part: str
    rows: tuple[int, int]
    in_features: int
    target: str
    block: int

    @property
    def name(self) -> str:
        """Name under which its tensors are stored."""
        return f"{self.layer}.{self.part}" if self.part else self.layer


def resolved(model: nn.Module, config: AdapterConfig) -> AdapterConfig:
    """The config with the family's own targets in place of none.

    Raises:
        InvalidInput: If the network has nothing of what the config asks for; the message says what to take instead.
    """
    if config.kind == "decoder" or config.targets:
        return config
    inside = any(site.target.startswith("encoder.") for site in _all_sites(model))
    if not inside and config.kind in ("conv-lora", "both"):
        raise InvalidInput(
            f"adapter: this network's image encoder has no attention for kind '{config.kind}' to correct; "
            "take 'lora' (the decoder's attention) or 'decoder'"
        )
    return replace(config, targets=("encoder.q", "encoder.v") if inside else DECODER_TARGETS)


def sites_of(model: nn.Module, config: AdapterConfig) -> tuple[Site, ...]:
    """The places that a config corrects, in the order of the network.

    Raises:
        InvalidInput: If the network lacks one of the targets.
    """
    if not config.has_corrections:
        return ()
    config = resolved(model, config)
    everywhere = _all_sites(model)
    for target in config.targets:
        if not any(site.target == target for site in everywhere):
            raise InvalidInput(f"adapter: this network has no {target} to correct; leave targets empty for its own")
    blocks = sorted({site.block for site in everywhere if site.block >= 0})
    first = blocks[-config.last_blocks] if 0 < config.last_blocks <= len(blocks) else 0
    return tuple(s for s in everywhere if s.target in config.targets and (s.block < 0 or s.block >= first))


def decoder_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Every parameter of the mask decoder that no image embedding depends on."""
    return {name: p for name, p in model.named_parameters() if not touches_encoder([name])}


def expected_shapes(model: nn.Module, config: AdapterConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that an adapter of this config has on this network."""
    shapes: dict[str, tuple[int, ...]] = {}
    for site in sites_of(model, config):
        shapes[f"{site.name}.down"] = (config.rank, site.in_features)
        shapes[f"{site.name}.up"] = (site.rows[1] - site.rows[0], config.rank)
        if config.kind == "conv-lora":
            shapes[f"{site.name}.experts"] = (len(config.scales), config.rank, config.rank, 3, 3)
            shapes[f"{site.name}.gate"] = (len(config.scales), config.rank)
    if config.has_decoder:
        shapes.update({name: tuple(p.shape) for name, p in decoder_parameters(model).items()})
    return shapes


def _all_sites(model: nn.Module) -> list[Site]:
    sites: list[Site] = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        inside, after = _ENCODER.fullmatch(name), _DECODER.fullmatch(name)
        found = inside or after
        if found is None:
            continue
        room, block = ("encoder", int(found["block"])) if inside else ("decoder", -1)
        if inside and inside["mlp"]:
            projection = "mlp"
        elif found["attention"] == _FUSED:
            third = module.out_features // 3
            for index, part in enumerate(_FUSED):
                rows = (index * third, (index + 1) * third)
                sites.append(Site(name, part, rows, module.in_features, f"{room}.{part}", block))
            continue
        else:
            projection = found["attention"][0] if found["attention"][1:] == "_proj" else "out"
            projection = "out" if projection == "o" else projection
        sites.append(Site(name, "", (0, module.out_features), module.in_features, f"{room}.{projection}", block))
    return sites
