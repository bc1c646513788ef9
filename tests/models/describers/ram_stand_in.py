"""A small stand-in for the package ``ram`` (Recognize Anything), which is not on PyPI and not installed here.

NOT the package: a network of a few numbers with the interface that ``maskwright.models.describers.ram`` uses:
``ram.models.ram_plus(pretrained=, image_size=, vit=)`` and, of what it returns, ``generate_tag``, ``tag_list``,
``class_threshold``, ``fc`` and a buffer that the package's network computes itself.
"""

import types

import numpy as np
import torch

TAGS = ("red", "green", "blue", "grey thing")


class StandIn(torch.nn.Module):
    """A tag for each colour channel whose mean passes its threshold."""

    def __init__(self):
        super().__init__()
        self.tag_list = np.array(TAGS)
        self.class_threshold = torch.tensor([0.5, 0.5, 0.5, 0.9])
        self.tagging_head = torch.nn.Linear(3, len(TAGS))
        self.fc = torch.nn.Linear(1, 1)
        self.register_buffer("relative_position_index", torch.arange(3))

    def generate_tag(self, image):
        assert tuple(image.shape[1:]) == (3, 384, 384)
        logits = self.fc(self.tagging_head(image.mean(dim=(2, 3)))[..., None]).squeeze(-1)
        passed = (torch.sigmoid(logits) > self.class_threshold).numpy()
        return [" | ".join(self.tag_list[row]) for row in passed], [""] * len(passed)


def weights():
    """A checkpoint's tensors: the first three tags follow their channels, the last is sure of itself at .88."""
    network = StandIn()
    with torch.no_grad():
        network.tagging_head.weight.copy_(torch.cat([torch.eye(3), torch.zeros(1, 3)]))
        network.tagging_head.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 2.0]))
        network.fc.weight.fill_(1.0)
        network.fc.bias.fill_(0.0)
    return network.state_dict()


def package(make=StandIn):
    """The modules ``ram`` and ``ram.models``."""
    whole, models = types.ModuleType("ram"), types.ModuleType("ram.models")

    def ram_plus(pretrained="", image_size=384, vit="swin_b"):
        assert (pretrained, image_size, vit) == ("", 384, "swin_l")
        return make()

    whole.models, models.ram_plus = models, ram_plus
    return {"ram": whole, "ram.models": models}
