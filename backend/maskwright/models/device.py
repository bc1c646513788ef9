"""The one place that chooses device, arithmetic, attention kernel and CPU threads.

CPU: float32. CUDA: float32 weights, the image encoder under bfloat16 autocast; prompts and mask decoder stay in
float32, because the sines that encode a click's place lose it in bfloat16, and their cost is small. Both use PyTorch's
scaled dot-product attention, which picks the fastest kernel that the device has.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.settings import Settings

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ComputeDevice:
    """Where and how a model runs.

    Attributes:
        name: ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: Arithmetic of the image encoder, ``float32`` or ``bfloat16``.
        attention: Attention implementation asked of transformers.
        prompts_per_pass: Most prompts in one decoder pass; bounds memory (about 40 MB a prompt for SAM).
    """

    name: str
    dtype: str
    attention: str = "sdpa"
    prompts_per_pass: int = 4

    @property
    def torch(self) -> torch.device:
        """As PyTorch names it."""
        import torch

        return torch.device(self.name)

    @contextmanager
    def inference(self) -> Iterator[None]:
        """No gradients, full precision."""
        import torch

        with torch.inference_mode():
            yield

    @contextmanager
    def encoder_inference(self) -> Iterator[None]:
        """No gradients, and autocast where the image encoder's arithmetic is not float32."""
        import torch

        reduced = self.dtype != "float32"
        dtype = getattr(torch, self.dtype)
        with torch.inference_mode(), torch.autocast(self.torch.type, dtype=dtype, enabled=reduced):
            yield


def choose_device(settings: Settings) -> ComputeDevice:
    """Choose the device that ``settings.device`` names; ``auto`` takes CUDA where there is one.

    PyTorch is imported only where the answer depends on the machine.

    Raises:
        InvalidInput: If the setting has another form than auto, cpu, cuda or cuda:N.
        ModelUnavailable: If it names a CUDA device that is not there.
    """
    wanted = settings.device.strip().lower()
    if wanted == "cpu":
        return ComputeDevice("cpu", "float32")
    if wanted != "auto" and not re.fullmatch(r"cuda(:\d+)?", wanted):
        raise InvalidInput(f"MASKWRIGHT_DEVICE is {settings.device!r}; write auto, cpu, cuda or cuda:N")
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return _cuda("cuda") if count else ComputeDevice("cpu", "float32")
    if int(wanted.partition(":")[2] or 0) >= count:
        found = f"{count} CUDA device(s) found" if count else "no CUDA device found"
        raise ModelUnavailable(f"MASKWRIGHT_DEVICE is {wanted}, but {found}; set it to auto or cpu")
    return _cuda(wanted)


def _cuda(name: str) -> ComputeDevice:
    return ComputeDevice(name, "bfloat16", prompts_per_pass=64)


def bound_threads(settings: Settings) -> None:
    """Bound the threads that PyTorch uses inside one operation, for the whole process; 0 = one per core."""
    import torch

    wanted = settings.cpu_threads or os.cpu_count() or 1
    if torch.get_num_threads() != wanted:
        torch.set_num_threads(wanted)
