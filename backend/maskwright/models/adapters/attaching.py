"""Trainable copies of a network, and the tensors that they have learnt."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from maskwright.models.adapters.config import AdapterConfig
from maskwright.models.adapters.low_rank import ConvLowRankLinear, SplitLinear, first_factor
from maskwright.models.adapters.merging import check_tensors
from maskwright.models.adapters.sharing import Network, put, shared_copy
from maskwright.models.adapters.targets import Site, decoder_parameters, sites_of

_PEFT_NAMES = ((".lora_A.default.weight", ".down"), (".lora_B.default.weight", ".up"))


def attach(
    model: Network, config: AdapterConfig, seed: int = 0, *, start: Mapping[str, Tensor] | None = None
) -> Network:
    """A copy in which nothing is trainable but an adapter, and which at first answers as the network does.

    Tensors that are not trained are shared with the network, which itself does not change. The copy is in the same
    mode (training or evaluation) as the network. Equal seeds give equal adapters, and no global random number is drawn.

    Args:
        model: A network of any family; see ``targets``.
        config: What is trained.
        seed: Of the first factors.
        start: Tensors of an earlier adapter of the same config to go on from.

    Raises:
        InvalidInput: If the network has nothing of what the config asks for, or ``start`` does not fit it.
    """
    learner = shared_copy(model)
    sites = sites_of(model, config)
    if start is not None:
        check_tensors(model, config, start)
    for layer in dict.fromkeys(site.layer for site in sites if site.part):
        fused = learner.get_submodule(layer)
        assert isinstance(fused, nn.Linear)
        put(learner, layer, SplitLinear(fused))
    generator = torch.Generator().manual_seed(seed)
    if config.kind == "conv-lora":
        for site in sites:
            base = learner.get_submodule(site.name)
            assert isinstance(base, nn.Linear)
            layer_of_site = ConvLowRankLinear(base, config.rank, config.scale, config.scales, config.dropout, generator)
            put(learner, site.name, layer_of_site.train(base.training))
    elif sites:
        _with_peft(learner, sites, config, generator)
    if config.has_decoder:
        for name, parameter in decoder_parameters(learner).items():
            put(learner, name, nn.Parameter(parameter.detach().clone()))
    if start is not None:
        with torch.no_grad():
            for name, parameter in trained_parameters(learner).items():
                parameter.copy_(start[name])
    return learner


def trained_parameters(learner: nn.Module) -> dict[str, nn.Parameter]:
    """The trainable parameters of what ``attach`` made, by the names under which an adapter stores them."""
    found: dict[str, nn.Parameter] = {}
    for name, parameter in learner.named_parameters():
        if parameter.requires_grad:
            for theirs, ours in _PEFT_NAMES:
                name = name.replace(theirs, ours)
            found[name] = parameter
    return found


def trained_tensors(learner: nn.Module) -> dict[str, Tensor]:
    """What a copy made by ``attach`` has learnt, to be stored: copies on the CPU."""
    return {name: p.detach().to("cpu", copy=True).contiguous() for name, p in trained_parameters(learner).items()}


def _with_peft(learner: nn.Module, sites: tuple[Site, ...], config: AdapterConfig, generator: torch.Generator) -> None:
    # Imported here: it takes seconds, and who only serves adapters does without.
    from peft import LoraConfig, inject_adapter_in_model

    training = learner.training
    with torch.random.fork_rng(devices=[]):  # peft draws factors of its own in vain
        inject_adapter_in_model(
            LoraConfig(
                r=config.rank,
                lora_alpha=config.rank * config.scale,  # type: ignore[arg-type]
                lora_dropout=config.dropout,
                target_modules=[site.name for site in sites],
                init_lora_weights=True,
            ),
            learner,
        )
    learner.train(training)
    with torch.no_grad():
        for site in sites:
            corrected = learner.get_submodule(site.name)
            down = corrected.get_submodule("lora_A").get_submodule("default").get_parameter("weight")
            down.copy_(first_factor(config.rank, site.in_features, generator))
