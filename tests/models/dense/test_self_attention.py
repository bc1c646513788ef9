"""What self-self attention does to tokens whose likeness is known."""

import pytest
import torch

from maskwright.models.dense.gem import CLEARCLIP, GEM, NACLIP, SCLIP
from maskwright.models.dense.maskclip import MASKCLIP
from maskwright.models.dense.phrases import IMAGENET_TEMPLATES
from maskwright.models.dense.self_attention import Method, attend, gaussian_nearness

METHODS = {"maskclip": MASKCLIP, "gem": GEM, "sclip": SCLIP, "naclip": NACLIP, "clearclip": CLEARCLIP}


def random_operands(tokens=7, width=8):
    return torch.randn((3, 2, 3, tokens, width), generator=torch.Generator().manual_seed(0)).unbind(0)


def test_orthonormal_groups_are_averaged_within_and_stay_as_they_are():
    group = torch.tensor([0, 0, 0, 1, 1, 2])
    tokens = torch.eye(3)[group][None, None]
    values = torch.randn(1, 1, 6, 3)
    method = Method(("keys",), normalised=True)
    same = (group[:, None] == group).float()
    averaging = same / same.sum(dim=1, keepdim=True)

    assert torch.allclose(attend(tokens, tokens, values, method, length=100.0), averaging @ values, atol=1e-6)
    assert torch.allclose(attend(tokens, tokens, tokens, method, length=100.0), tokens, atol=1e-6)


@pytest.mark.parametrize("method", [GEM, SCLIP, CLEARCLIP], ids=["gem", "sclip", "clearclip"])
def test_tokens_that_are_all_alike_attend_to_all_alike(method):
    token, values = torch.randn(1, 1, 1, 4).expand(1, 1, 5, 4), torch.randn(1, 1, 5, 4)
    method = Method(method.operands[:2], normalised=method.normalised, averaged=True)  # all but the values' own
    expected = values.mean(dim=2, keepdim=True).expand_as(values)
    assert torch.allclose(attend(token, token, values, method, length=3.0), expected, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_the_order_of_tokens_does_not_matter(name):
    queries, keys, values = random_operands()
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    straight = attend(queries, keys, values, METHODS[name], length=2.0)[:, :, order]
    permuted = attend(queries[:, :, order], keys[:, :, order], values[:, :, order], METHODS[name], length=2.0)
    assert torch.allclose(straight, permuted, atol=1e-5)


def test_sclip_adds_what_queries_and_keys_say():
    queries, keys, values = random_operands()
    parts = [torch.softmax(x @ x.mT / 8**0.5, dim=-1) for x in (queries, keys)]
    assert torch.allclose(attend(queries, keys, values, SCLIP), (parts[0] + parts[1]) @ values, atol=1e-5)


def test_naclip_prefers_neighbours_and_leaves_the_class_token_alone():
    near = gaussian_nearness((2, 3), 5.0)
    assert near.shape == (7, 7)
    assert not near[0].any()
    assert not near[:, 0].any()
    assert near[1, 1] == 1
    assert near[1, 6] == pytest.approx(float(torch.exp(torch.tensor(-5 / 50))))  # one row and two columns away
    alike = torch.ones(1, 1, 7, 4)
    weights = attend(alike, alike, torch.eye(7)[None, None], NACLIP, nearness=near)[0, 0]
    assert weights[1, 2] > weights[1, 3] > weights[1, 6]


def test_clip_names_classes_with_eighty_different_sentences():
    assert len(set(IMAGENET_TEMPLATES)) == 80
    assert all(template.count("{}") == 1 for template in IMAGENET_TEMPLATES)
    assert "a photo of the hard to see {}." in IMAGENET_TEMPLATES
