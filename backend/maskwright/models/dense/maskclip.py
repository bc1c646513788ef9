"""MaskCLIP: every patch keeps its own value (Zhou et al., ECCV 2022, the strict form).

The last block's queries and keys are dropped: ``y = P(LN(W_o v))``, so that value and output projection become 1x1
convolutions; no residual, no second half of the block.
"""

from __future__ import annotations

from maskwright.models.checkpoints import Checkpoint
from maskwright.models.dense.self_attention import DenseCLIP, Method, load_dense_clip
from maskwright.models.device import ComputeDevice
from maskwright.models.stages import StageDescription

MASKCLIP = Method()


def load_maskclip(checkpoint: Checkpoint, description: StageDescription, device: ComputeDevice) -> DenseCLIP:
    """CLIP weights read by MaskCLIP; see ``load_dense_clip``."""
    return load_dense_clip(checkpoint, description, device, MASKCLIP)
