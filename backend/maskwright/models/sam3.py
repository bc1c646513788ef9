"""SAM 3 for clicks and boxes, through the tracker head of transformers (``Sam3TrackerModel``).

Source: "SAM 3: Segment Anything with Concepts" (Meta, 2025). Its phrase prompts belong to a detector, not here.
"""

from __future__ import annotations

from maskwright.models.checkpoints import Checkpoint
from maskwright.models.device import ComputeDevice
from maskwright.models.families import ModelDescription
from maskwright.models.preprocessing import HALF
from maskwright.models.sam2 import FeaturePyramidSegmenter, stretched_frame
from maskwright.models.transformers_loading import load_pretrained


def load_sam3(checkpoint: Checkpoint, description: ModelDescription, device: ComputeDevice) -> FeaturePyramidSegmenter:
    """Load SAM 3's tracker from a folder in transformers' format (tracker alone, or the whole model)."""
    from transformers import Sam3TrackerModel

    model = load_pretrained(Sam3TrackerModel, checkpoint, device)
    frame = stretched_frame(model, checkpoint.processor, HALF, HALF)
    return FeaturePyramidSegmenter(model, description, device, frame)
