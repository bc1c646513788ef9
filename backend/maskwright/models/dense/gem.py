"""GEM and its relatives: patches attend to patches with like queries, keys or values.

GEM (Bousselham et al., CVPR 2024) runs beside the last six blocks; SCLIP (Wang et al., ECCV 2024), NACLIP (Hajimiri et
al., WACV 2025) and ClearCLIP (Lan et al., ECCV 2024) change the last block alone.
"""

from __future__ import annotations

from maskwright.models.checkpoints import Checkpoint
from maskwright.models.dense.phrases import PHOTO
from maskwright.models.dense.self_attention import DenseCLIP, Method, load_dense_clip
from maskwright.models.device import ComputeDevice
from maskwright.models.stages import StageDescription

GEM = Method(("queries", "keys", "values"), blocks=6, normalised=True, averaged=True, residual=True, templates=PHOTO)
SCLIP = Method(("queries", "keys"), residual=True, mlp=True)
NACLIP = Method(("keys",), spread=5.0)
CLEARCLIP = Method(("queries",))


def load_gem(checkpoint: Checkpoint, description: StageDescription, device: ComputeDevice) -> DenseCLIP:
    """CLIP weights read by GEM; see ``load_dense_clip``."""
    return load_dense_clip(checkpoint, description, device, GEM)


def load_sclip(checkpoint: Checkpoint, description: StageDescription, device: ComputeDevice) -> DenseCLIP:
    """CLIP weights read by SCLIP; see ``load_dense_clip``."""
    return load_dense_clip(checkpoint, description, device, SCLIP)


def load_naclip(checkpoint: Checkpoint, description: StageDescription, device: ComputeDevice) -> DenseCLIP:
    """CLIP weights read by NACLIP; see ``load_dense_clip``."""
    return load_dense_clip(checkpoint, description, device, NACLIP)


def load_clearclip(checkpoint: Checkpoint, description: StageDescription, device: ComputeDevice) -> DenseCLIP:
    """CLIP weights read by ClearCLIP; see ``load_dense_clip``."""
    return load_dense_clip(checkpoint, description, device, CLEARCLIP)
