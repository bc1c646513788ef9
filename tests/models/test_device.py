"""The choice of device, arithmetic and threads."""

import pytest
import torch

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.models.device import ComputeDevice, bound_threads, choose_device
from maskwright.settings import Settings


def settings(**values):
    return Settings(_env_file=None, **values)


@pytest.fixture
def gpus(monkeypatch):
    def pretend(count):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return pretend


@pytest.mark.parametrize(
    ("wanted", "count", "name", "dtype"),
    [
        ("cpu", 2, "cpu", "float32"),
        ("CPU ", 0, "cpu", "float32"),
        ("auto", 0, "cpu", "float32"),
        ("auto", 1, "cuda", "bfloat16"),
        ("cuda", 1, "cuda", "bfloat16"),
        ("cuda:1", 2, "cuda:1", "bfloat16"),
    ],
)
def test_the_device_and_its_arithmetic(wanted, count, name, dtype, gpus):
    gpus(count)
    device = choose_device(settings(device=wanted))
    assert (device.name, device.dtype, device.attention) == (name, dtype, "sdpa")


@pytest.mark.parametrize(("wanted", "count"), [("cuda", 0), ("cuda:1", 1)])
def test_a_missing_gpu_is_named(wanted, count, gpus):
    gpus(count)
    with pytest.raises(ModelUnavailable, match=f"MASKWRIGHT_DEVICE is {wanted}, but"):
        choose_device(settings(device=wanted))


@pytest.mark.parametrize("wanted", ["gpu", "cuda:x", "", "mps"])
def test_an_unknown_device_is_refused_with_the_forms(wanted):
    with pytest.raises(InvalidInput, match="auto, cpu, cuda or cuda:N"):
        choose_device(settings(device=wanted))


def test_no_gradients_and_full_precision_on_the_cpu():
    device = ComputeDevice("cpu", "float32")
    for context in (device.inference, device.encoder_inference):
        with context():
            product = torch.ones(2, 2, requires_grad=True) @ torch.ones(2, 2)
        assert product.dtype == torch.float32
        assert not product.requires_grad


def test_only_the_encoder_runs_in_reduced_precision():
    # Autocast of the CPU stands in for that of CUDA, which no test machine has.
    device = ComputeDevice("cpu", "bfloat16")
    with device.encoder_inference():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    with device.inference():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_threads_are_bounded():
    before = torch.get_num_threads()
    try:
        bound_threads(settings(cpu_threads=1))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
