"""The few pure functions of torchvision that the segment-anything package imports, for machines without torchvision.

Only for tests and benchmarks. ``install`` changes nothing where the real torchvision can be imported.
"""

import importlib
import sys
import types

import torch
from PIL import Image


def to_pil_image(picture) -> Image.Image:
    return Image.fromarray(picture)


def resize(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Bilinear, as torchvision's default for a Pillow image; size is (height, width)."""
    return picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)


def box_area(boxes: torch.Tensor) -> torch.Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    order = scores.argsort(descending=True).tolist()
    areas = box_area(boxes)
    kept: list[int] = []
    for index in order:
        if kept:
            others = boxes[kept]
            low, high = torch.maximum(others[:, :2], boxes[index, :2]), torch.minimum(others[:, 2:], boxes[index, 2:])
            shared = (high - low).clamp(min=0).prod(dim=1)
            if (shared / (areas[kept] + areas[index] - shared) > iou_threshold).any():
                continue
        kept.append(index)
    return torch.tensor(kept, dtype=torch.int64)


def batched_nms(boxes: torch.Tensor, scores: torch.Tensor, idxs: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Boxes of different groups never meet: each group is moved to a place of its own."""
    if not len(boxes):
        return torch.empty((0,), dtype=torch.int64)
    offsets = idxs.to(boxes) * (boxes.max() - boxes.min() + 1)
    return nms(boxes + offsets[:, None], scores, iou_threshold)


def install() -> bool:
    """Import segment_anything with the stand-in where torchvision cannot be imported; returns whether it was needed.

    The stand-in is taken out again at once, so that no other library believes torchvision to be there.
    """
    if "segment_anything" in sys.modules:
        return False
    try:
        importlib.import_module("segment_anything")
        return False
    except (ImportError, RuntimeError):
        _forget("segment_anything")
        _forget("torchvision")
    contents = {
        "torchvision": {},
        "torchvision.transforms": {},
        "torchvision.transforms.functional": {"resize": resize, "to_pil_image": to_pil_image},
        "torchvision.ops": {},
        "torchvision.ops.boxes": {"batched_nms": batched_nms, "box_area": box_area},
    }
    for name, functions in contents.items():
        module = types.ModuleType(name)
        module.__path__ = []
        vars(module).update(functions)
        sys.modules[name] = module
    try:
        importlib.import_module("segment_anything")
    finally:
        _forget("torchvision")
    return True


def _forget(package: str) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]
