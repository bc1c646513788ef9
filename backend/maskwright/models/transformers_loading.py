"""Loading transformers' model classes from a folder, without pickles and without silently random weights."""

from __future__ import annotations

from typing import Any

import torch

from maskwright.errors import ModelUnavailable
from maskwright.models.checkpoints import Checkpoint
from maskwright.models.device import ComputeDevice

_NAMED = 3


def load_pretrained(model_class: Any, checkpoint: Checkpoint, device: ComputeDevice) -> Any:
    """Load a model for inference.

    Args:
        model_class: A ``transformers`` model class.
        checkpoint: With ``path``, a folder that holds safetensors weights.
        device: Where it will run.

    Returns:
        The model in evaluation mode, float32 weights, no gradients.

    Raises:
        ModelUnavailable: If the folder lacks weights that the model needs, or their shapes differ from its config.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()  # a log has no use for one, and loading takes seconds
    model, info = model_class.from_pretrained(
        checkpoint.path,
        dtype=torch.float32,
        attn_implementation=device.attention,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
    )
    missing = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise ModelUnavailable(
            f"model {checkpoint.uri}: its weights are incomplete for {model_class.__name__}; "
            f"missing or of another shape: {', '.join(missing[:_NAMED])}{more}"
        )
    return model.eval().requires_grad_(False).to(device.torch)
