"""Weights load whole and only as what they are said to be."""

import pytest
import torch

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.adapters.attaching import attach, trained_tensors
from maskwright.models.adapters.config import AdapterConfig
from maskwright.models.adapters.merging import merged
from maskwright.models.embedded.network import MaskDecoder
from maskwright.models.embedded.weights import card, read_network, write_weights


@pytest.fixture
def stored(network, tmp_path):
    path = tmp_path / "weights.safetensors"
    return path, write_weights(path, network.state_dict())


def test_what_is_written_is_read_back_in_half_precision(stored, network):
    path, digest = stored
    read = dict(read_network(path, digest).named_parameters())
    for name, tensor in network.named_parameters():
        if name in read:
            torch.testing.assert_close(read[name], tensor.to(torch.float16).to(torch.float32), rtol=0, atol=0)
    assert path.stat().st_size < 12 * 2**20


def test_equal_weights_are_equal_files(stored, network, tmp_path):
    _, digest = stored
    assert write_weights(tmp_path / "again.safetensors", network.state_dict()) == digest


def test_a_file_that_is_not_the_cards_is_refused(stored):
    path, digest = stored
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelUnavailable, match="not those of their model card"):
        read_network(path, digest)


@pytest.mark.parametrize("damage", [lambda b: b[:1000], lambda b: b"", lambda b: b"PK" + b[2:]])
def test_a_damaged_file_is_refused_with_its_name(stored, damage):
    path, _ = stored
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelUnavailable, match=r"weights\.safetensors"):
        read_network(path)


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    write_weights(path, MaskDecoder().state_dict())
    with pytest.raises(ModelUnavailable, match="another version"):
        read_network(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelUnavailable, match=r"nowhere\.safetensors"):
        read_network(tmp_path / "nowhere.safetensors")


def test_a_variant_without_a_card_is_refused():
    with pytest.raises(ModelUnavailable, match="model card"):
        card("unheard-of")


def _decoded(network):
    from maskwright.models.embedded.evidence import CHANNELS
    from maskwright.models.embedded.network import WIDTHS, Prompts

    generator = torch.Generator().manual_seed(0)
    image = {s: torch.randn(1, w, 64 // s, 64 // s, generator=generator) for s, w in WIDTHS.items()}
    dense = torch.randn(2, len(CHANNELS), 32, 32, generator=generator)
    prompts = Prompts(
        dense, torch.full((2, 1, 2), 30.0), torch.ones(2, 1, dtype=torch.int64) * 2, torch.full((2, 3), 0.5), (32, 32)
    )
    return network.decoder(image, prompts)[0]


@pytest.mark.parametrize("kind", ["decoder", "lora"])
def test_an_untrained_adapter_changes_nothing(kind, network):
    learner = attach(network, AdapterConfig(kind))
    torch.testing.assert_close(_decoded(learner), _decoded(network))
    torch.testing.assert_close(_decoded(merged(network, trained_tensors(learner))), _decoded(network))


@pytest.mark.parametrize("kind", ["decoder", "lora"])
def test_a_merged_adapter_answers_as_the_learner_did_and_leaves_the_base_alone(kind, network):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    learner = attach(network, AdapterConfig(kind))
    generator = torch.Generator().manual_seed(1)
    for parameter in learner.parameters():
        if parameter.requires_grad:
            parameter.data += torch.randn(parameter.shape, generator=generator) * 0.02
    served = merged(network, trained_tensors(learner))
    torch.testing.assert_close(_decoded(served), _decoded(learner), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(_decoded(served), _decoded(network))
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_low_rank_corrections_are_small(network):
    count = sum(t.numel() for t in trained_tensors(attach(network, AdapterConfig("lora", rank=8))).values())
    assert count < 70_000


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"decoder.nothing": torch.zeros(3)}, "decoder.nothing"),
        ({"decoder.steepness": torch.zeros(9)}, "shape"),
        ({"decoder.steepness": torch.full((4,), torch.nan)}, "not finite"),
        ({"decoder.layers.0.self_attn.q_proj.down": torch.zeros(8, 128)}, "counterpart"),
    ],
)
def test_an_adapter_of_another_network_is_refused_by_name(tensors, said, network):
    with pytest.raises(InvalidInput, match=said):
        merged(network, tensors)


def test_a_rank_of_nothing_is_refused(network):
    with pytest.raises(InvalidInput, match="rank is 0"):
        attach(network, AdapterConfig("lora", rank=0))
