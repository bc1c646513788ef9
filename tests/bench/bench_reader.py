"""Reading tasks of a JSON export at 1920 x 1080, 10 regions a task, beside orjson alone and the SDK's brush reader.

``orjson`` only makes Python objects of the text; the SDK's time is that of its own reader on numbers already parsed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import orjson
from label_studio_sdk.converter.brush import decode_rle

from maskwright.masks import Mask
from maskwright_label_studio.brush import encode_brush
from maskwright_label_studio.reader import LabelStudioReader

SIZE = (1080, 1920)
REGIONS = 10


def milliseconds(run: Callable[[], object], runs: int = 21) -> float:
    """Median over some runs, after one that does not count."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:]) * 1e3


def star(rng: np.random.Generator, radius: float, corners: int) -> np.ndarray:
    """(corners, 2) float64 xy in pixels around the middle of the image."""
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radii = radius * rng.uniform(0.5, 1, corners)
    return np.stack([960 + radii * np.cos(angles), 540 + radii * np.sin(angles)], axis=1)


def task(kind: str, values: list[dict[str, Any]]) -> bytes:
    """The JSON text of a task with one annotation."""
    frame = {"to_name": "image", "original_width": SIZE[1], "original_height": SIZE[0], "image_rotation": 0}
    result = [
        {"id": f"r{n}", "type": f"{kind}labels", "from_name": kind, "value": value | {f"{kind}labels": ["Cat"]}} | frame
        for n, value in enumerate(values)
    ]
    annotation = {"id": 1, "completed_by": 1, "updated_at": "2026-11-21T02:46:43.910663Z", "result": result}
    document = {"id": 1, "project": 1, "data": {"image": "/data/upload/1/a.png"}, "annotations": [annotation]}
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def main() -> None:
    """Print one line per kind of region."""
    rng = np.random.default_rng(0)
    reader = LabelStudioReader('<View><Image name="image" value="$image"/></View>')
    for radius in (80, 250, 500):
        streams = [encode_brush(Mask.from_polygons([star(rng, radius, 60)], SIZE)) for _ in range(REGIONS)]
        text = task("brush", [{"format": "rle", "rle": stream} for stream in streams])
        numbers = streams[0].tolist()
        ours, parse = milliseconds(partial(reader, text)), milliseconds(partial(orjson.loads, text))
        sdk = milliseconds(partial(decode_rle, numbers), 1)
        print(
            f"brush, {np.mean([len(s) for s in streams]):6.0f} bytes: ours {ours / REGIONS:7.3f} ms a region, "
            f"orjson alone {parse / REGIONS:6.3f} ms, the SDK {sdk:8.1f} ms"
        )
    percent = np.array([100 / SIZE[1], 100 / SIZE[0]])
    outlines = [(star(rng, 120, 30) * percent).tolist() for _ in range(REGIONS)]
    shapes = {
        "polygon": [{"points": points, "closed": True} for points in outlines],
        "rectangle": [{"x": 10, "y": 10, "width": 20, "height": 20, "rotation": 0}] * REGIONS,
        "ellipse": [{"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "rotation": 30}] * REGIONS,
    }
    for kind, values in shapes.items():
        text = task(kind, values)
        print(f"{kind + ':':<19} ours {milliseconds(partial(reader, text)) / REGIONS:7.3f} ms a region")
    empty = task("brush", [])
    print(f"an empty task:      ours {milliseconds(partial(reader, empty)):7.3f} ms")


if __name__ == "__main__":
    main()
