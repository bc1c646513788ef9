"""Adapters on every family's network: trainable copies, what they learn, and copies with it merged in."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from maskwright.errors import InvalidInput
from maskwright.models.adapters.attaching import attach, trained_parameters, trained_tensors
from maskwright.models.adapters.config import DECODER_TARGETS, ENCODER_TARGETS, AdapterConfig, touches_encoder
from maskwright.models.adapters.low_rank import SplitLinear
from maskwright.models.adapters.merging import adapted, check_tensors
from maskwright.models.adapters.targets import expected_shapes, resolved, sites_of

TRANSFORMERS = {"sam": "SamModel", "sam-hq": "SamHQModel", "sam2": "Sam2Model", "sam3": "Sam3TrackerModel"}
FAMILIES = (*TRANSFORMERS, "package", "embedded")
SIDE = {"sam": 64, "sam-hq": 64, "sam2": 128, "sam3": 112, "package": 128}
CONFIGS = {
    "lora": AdapterConfig("lora", rank=3, alpha=6.0),
    "everything": AdapterConfig("lora", rank=2, targets=(*ENCODER_TARGETS, *DECODER_TARGETS)),
    "conv-lora": AdapterConfig("conv-lora", rank=2, scales=(1, 2)),
    "decoder": AdapterConfig("decoder"),
    "both": AdapterConfig("both", rank=2),
}
CASES = [
    (family, kind) for family in FAMILIES for kind in CONFIGS if family != "embedded" or kind in ("lora", "decoder")
]


@pytest.fixture(scope="module")
def networks(tiny_folders, original_sam):
    import transformers

    from maskwright.models.efficientnet_lite import EfficientNetLite0, folded
    from maskwright.models.embedded.network import EmbeddedNetwork

    made = {
        scheme: getattr(transformers, name).from_pretrained(tiny_folders[scheme])
        for scheme, name in TRANSFORMERS.items()
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        made["embedded"] = EmbeddedNetwork(folded(EfficientNetLite0().eval()))
        for head in made["embedded"].decoder.hyper:
            torch.nn.init.normal_(head[-1].weight, std=0.2)
    made["package"] = original_sam[0]
    return {name: model.eval().requires_grad_(False) for name, model in made.items()}


def encoded(family, network):
    """What the image encoder leaves of one picture, as a list of tensors."""
    side = SIDE.get(family, 64)
    pixels = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    if family in ("sam", "sam-hq"):
        out = network.vision_encoder(pixels)
        return [out.last_hidden_state, *(out.get("intermediate_embeddings") or [])]
    if family in ("sam2", "sam3"):
        return list(network.get_image_embeddings(pixels))
    return [network.image_encoder(pixels)] if family == "package" else list(network.encode(pixels).values())


def answer(family, network):
    """Logits of one click, through encoder and decoder."""
    if family == "embedded":
        from maskwright.models.embedded.evidence import CHANNELS
        from maskwright.models.embedded.network import Prompts

        generator = torch.Generator().manual_seed(2)
        dense = torch.randn(1, len(CHANNELS), 32, 32, generator=generator)
        kinds = torch.full((1, 1), 2)
        prompts = Prompts(dense, torch.full((1, 1, 2), 30.0), kinds, torch.full((1, 3), 0.5), (32, 32))
        image = network.encode(torch.randn(1, 3, 64, 64, generator=generator))
        return network.decoder(image, prompts)[0]
    side = SIDE[family]
    pixels = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    if family == "package":
        points = (torch.tensor([[[20.0, 30.0]]]), torch.ones(1, 1, dtype=torch.int64))
        sparse, dense = network.prompt_encoder(points=points, boxes=None, masks=None)
        return network.mask_decoder(
            network.image_encoder(pixels), network.prompt_encoder.get_dense_pe(), sparse, dense, True
        )[0]
    points = torch.tensor([[[[20.0, 30.0]]]])
    labels = torch.ones(1, 1, 1, dtype=torch.int64)
    return network(pixel_values=pixels, input_points=points, input_labels=labels, multimask_output=True).pred_masks


def taught(network, config, seed=0, size=0.05):
    """A learner whose trained parameters were moved as training would."""
    learner = attach(network, config, seed)
    generator = torch.Generator().manual_seed(seed + 7)
    with torch.no_grad():
        for parameter in trained_parameters(learner).values():
            parameter += torch.randn(parameter.shape, generator=generator) * size
    return learner


def storages(network):
    return {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in network.parameters()}


@pytest.mark.parametrize(("family", "kind"), CASES)
def test_an_untrained_adapter_changes_no_answer(family, kind, networks):
    network = networks[family]
    learner = attach(network, CONFIGS[kind])
    with torch.no_grad():
        torch.testing.assert_close(answer(family, learner), answer(family, network), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("family", "kind"), CASES)
def test_what_is_served_answers_as_the_learner_did_and_the_base_stays_as_it_was(family, kind, networks):
    network, config = networks[family], CONFIGS[kind]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    learner = taught(network, config)
    served = adapted(network, config, trained_tensors(learner))
    with torch.no_grad():
        base, learnt, now = (answer(family, model) for model in (network, learner, served))
    assert (learnt - base).abs().max() > 1e-3
    torch.testing.assert_close(now, learnt, rtol=1e-5, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in served.parameters())
    assert not any(parameter.requires_grad for parameter in network.parameters())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize(("family", "kind"), CASES)
def test_only_the_adapter_is_trained_and_gradients_reach_all_of_it(family, kind, networks):
    learner = taught(networks[family], CONFIGS[kind])
    expected = expected_shapes(networks[family], CONFIGS[kind])
    assert {name: tuple(p.shape) for name, p in trained_parameters(learner).items()} == expected
    answer(family, learner).square().mean().backward()
    reached = {name for name, p in trained_parameters(learner).items() if p.grad is not None and p.grad.abs().any()}
    # One mask of several, or IoU alone, may be all that some heads work for; corrections are always reached.
    assert {name for name in expected if name.endswith((".down", ".up"))} <= reached
    assert reached


@pytest.mark.parametrize(("family", "kind"), CASES)
def test_embeddings_change_only_where_names_say_so(family, kind, networks):
    network = networks[family]
    learner = taught(network, CONFIGS[kind])
    with torch.no_grad():
        pairs = list(zip(encoded(family, network), encoded(family, learner), strict=True))
    same = all(torch.equal(before, after) for before, after in pairs)
    assert same != touches_encoder(trained_tensors(learner))
    assert same == (kind == "decoder" or family == "embedded")


@pytest.mark.parametrize("family", ["sam", "sam-hq", "sam2", "package"])
def test_of_a_fused_projection_queries_and_values_are_corrected_and_keys_are_not(family, networks):
    network, config = networks[family], AdapterConfig("lora", rank=2)
    sites = sites_of(network, config)
    assert {site.part for site in sites} == {"q", "v"}
    served = adapted(network, config, trained_tensors(taught(network, config)))
    for site in sites:
        old, new = (model.get_submodule(site.layer).weight for model in (network, served))
        third = old.shape[0] // 3
        changed = [
            not torch.equal(old[i * third : (i + 1) * third], new[i * third : (i + 1) * third]) for i in range(3)
        ]
        assert changed == [True, False, True]


def test_a_split_projection_answers_as_the_fused_one_and_takes_no_memory():
    fused = torch.nn.Linear(12, 36)
    split, x = SplitLinear(fused), torch.randn(2, 5, 12)
    torch.testing.assert_close(split(x), fused(x), rtol=1e-6, atol=1e-6)
    assert storages(split) == storages(fused)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["lora", "decoder"])
def test_two_adapters_over_one_base_cost_only_what_they_change(family, kind, networks):
    network, config = networks[family], CONFIGS[kind]
    base = storages(network)
    both = [adapted(network, config, trained_tensors(taught(network, config, seed))) for seed in (1, 2)]
    extra = {}
    for model in both:
        extra.update({pointer: size for pointer, size in storages(model).items() if pointer not in base})
    if kind == "decoder":
        changed = set(expected_shapes(network, config))
    else:
        changed = {f"{site.layer}.weight" for site in sites_of(network, config)}
    parameters = dict(network.named_parameters())
    assert sum(extra.values()) == 2 * sum(parameters[name].nbytes for name in changed)
    assert sum(extra.values()) < 2 * sum(base.values())


def test_a_trainable_copy_shares_what_it_does_not_train(networks):
    network = networks["sam"]
    learner = attach(network, AdapterConfig("lora", rank=2))
    own = sum(size for pointer, size in storages(learner).items() if pointer not in storages(network))
    assert own == sum(p.nbytes for p in trained_parameters(learner).values())


@pytest.mark.parametrize("kind", ["lora", "conv-lora", "both"])
def test_equal_seeds_give_equal_adapters_and_draw_no_global_number(kind, networks):
    state = torch.random.get_rng_state()
    one, two, other = (trained_tensors(attach(networks["sam"], CONFIGS[kind], seed)) for seed in (4, 4, 5))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", list(CONFIGS))
def test_training_goes_on_from_an_earlier_adapter(kind, networks):
    network, config = networks["sam"], CONFIGS[kind]
    earlier = taught(network, config)
    later = attach(network, config, 9, start=trained_tensors(earlier))
    with torch.no_grad():
        torch.testing.assert_close(answer("sam", later), answer("sam", earlier))


def test_dropout_of_the_adapter_acts_in_training_mode_only(networks):
    config = AdapterConfig("lora", rank=2, dropout=0.5)
    learner = taught(networks["sam"], config, size=0.3)
    with torch.no_grad():
        assert torch.equal(answer("sam", learner), answer("sam", learner))
        learner.train()
        assert not torch.equal(answer("sam", learner), answer("sam", learner))


@pytest.mark.parametrize("family", ["sam", "sam2", "sam3", "package"])
@pytest.mark.parametrize("kind", ["lora", "conv-lora"])
def test_half_precision_autocast_serves_and_trains(family, kind, networks):
    config = CONFIGS[kind]
    learner = taught(networks[family], config)
    served = adapted(networks[family], config, trained_tensors(learner))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        learnt = answer(family, learner)
        with torch.inference_mode():
            now = encoded(family, served)[-1]
    learnt.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained_parameters(learner).values())
    exact = encoded(family, served)[-1]
    assert (now.float() - exact).abs().mean() < 0.1 * exact.abs().mean() + 0.02


def test_conv_lora_sees_neighbours_and_without_experts_is_plain_lora():
    from maskwright.models.adapters.low_rank import ConvLowRankLinear

    base = torch.nn.Linear(6, 5)
    layer = ConvLowRankLinear(base, 2, 0.5, (1, 2, 4), 0.0, torch.Generator().manual_seed(0))
    x = torch.randn(1, 8, 8, 6)
    with torch.no_grad():
        layer.up.normal_()
        moved = x.clone()
        moved[0, 4, 4] += 1.0
        changed = (layer(moved) - layer(x)).abs().amax(dim=-1)[0] > 1e-6
        assert changed[4, 5]
        assert changed[3, 4]
        layer.experts.zero_()
        plain = base(x) + 0.5 * (x @ layer.down.T) @ layer.up.T
        torch.testing.assert_close(layer(x), plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", ["sam", "sam2", "sam3", "package"])
def test_only_the_last_blocks_are_corrected_where_that_is_asked_for(family, networks):
    every = {site.block for site in sites_of(networks[family], AdapterConfig("lora"))}
    last = {site.block for site in sites_of(networks[family], AdapterConfig("lora", last_blocks=1))}
    assert last == {max(every)} != every


def test_each_family_has_targets_of_its_own(networks):
    config = AdapterConfig("lora")
    for family in FAMILIES:
        expected = DECODER_TARGETS if family == "embedded" else ("encoder.q", "encoder.v")
        assert resolved(networks[family], config).targets == expected


@pytest.mark.parametrize("kind", ["conv-lora", "both"])
def test_the_embedded_network_says_which_kinds_it_takes(kind, networks):
    with pytest.raises(InvalidInput, match=r"no attention.*take 'lora'.*or 'decoder'"):
        attach(networks["embedded"], AdapterConfig(kind))


def test_a_target_that_a_network_lacks_is_named(networks):
    with pytest.raises(InvalidInput, match=r"no encoder\.q to correct"):
        attach(networks["embedded"], AdapterConfig("lora", targets=("encoder.q",)))


@pytest.mark.parametrize("kind", list(CONFIGS))
def test_tensors_that_are_not_exactly_the_adapter_s_are_refused_by_name(kind, networks):
    network, config = networks["sam"], CONFIGS[kind]
    tensors = trained_tensors(attach(network, config))
    name = sorted(tensors)[0]
    check_tensors(network, config, tensors)
    for wrong, said in (
        ({k: v for k, v in tensors.items() if k != name}, f"{name} is missing"),
        (tensors | {"vision_encoder.pos_embed": torch.zeros(1)}, "vision_encoder.pos_embed is no part"),
        (tensors | {name: tensors[name][:1, :1]} if tensors[name].ndim > 1 else tensors | {name: torch.zeros(1)}, name),
        (tensors | {name: torch.full_like(tensors[name], torch.inf)}, f"{name} holds a number that is not finite"),
    ):
        with pytest.raises(InvalidInput, match=said):
            adapted(network, config, wrong)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "full"}, "kind is 'full'"),
        ({"rank": 0}, "rank is 0"),
        ({"rank": True}, "rank is True"),
        ({"alpha": -1.0}, "alpha is -1.0"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"last_blocks": -1}, "last_blocks is -1"),
        ({"kind": "lora", "targets": ("encoder.x",)}, "target 'encoder.x'"),
        ({"kind": "both", "targets": ("decoder.q",)}, "target 'decoder.q'"),
        ({"scales": ()}, "scales are"),
        ({"scales": (1, 99)}, "scales are"),
    ],
)
def test_a_config_out_of_bounds_is_refused_by_field(fields, said):
    with pytest.raises(InvalidInput, match=said):
        AdapterConfig(**fields)


@given(
    kind=st.sampled_from(["lora", "conv-lora", "decoder", "both"]),
    rank=st.integers(1, 256),
    alpha=st.none() | st.floats(0.01, 1e3),
    targets=st.lists(st.sampled_from(ENCODER_TARGETS), unique=True).map(tuple),
    last_blocks=st.integers(0, 40),
    dropout=st.floats(0, 0.99),
    scales=st.lists(st.integers(1, 8), min_size=1, max_size=8).map(tuple),
)
def test_a_config_survives_its_file(**fields):
    config = AdapterConfig(**fields)
    assert AdapterConfig.from_json(config.to_json()) == config
    assert replace(config) == config


def test_serving_never_imports_peft():
    code = (
        "import sys, maskwright.models.adapters.merging, maskwright.models.adapters.attaching\n"
        "import maskwright.models.adapters.serving, maskwright.models.registry\n"
        "assert 'peft' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
