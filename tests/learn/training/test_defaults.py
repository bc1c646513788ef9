"""What is trained where nothing else was asked for."""

import pytest

from maskwright.learn.training.defaults import FEW_OBJECTS, default_adapter, default_pace
from maskwright.learn.training.trainable import trainable_of
from maskwright.models.adapters.config import AdapterConfig
from maskwright.models.device import ComputeDevice


@pytest.mark.parametrize("scheme", ["sam", "sam-hq", "sam2", "sam3"])
def test_encoders_are_corrected_late_and_on_a_gpu_only(tiny, scheme):
    trainable = trainable_of(tiny(scheme))
    assert default_adapter(trainable, 10**6) == AdapterConfig("decoder")
    trainable.device = ComputeDevice("cuda", "bfloat16")
    assert default_adapter(trainable, FEW_OBJECTS - 1) == AdapterConfig("decoder")
    many = default_adapter(trainable, FEW_OBJECTS)
    assert (many.kind, many.rank) == ("both", 8)
    blocks = 6 if scheme == "sam2" else 2
    assert many.last_blocks == -(-blocks // 3)
    assert default_pace(trainable, many).steps > 0


def test_the_embedded_model_learns_its_decoder(embedded):
    assert default_adapter(trainable_of(embedded), 10**6) == AdapterConfig("decoder")
