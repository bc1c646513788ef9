"""A click's way through the plugin without the model: what one region costs, and what 200 drawn ones add to it.

From the bytes of the request to the bytes of the answer at 1920x1080, the assistant answering at once with a fixed
mask. The same is done the plain way beside it: the whole body parsed, the mask packed by the SDK, Flask's JSON.

    .venv/bin/python tests/bench/bench_context.py [--times 50]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import orjson
from flask import Flask
from label_studio_sdk.converter.brush import mask2rle

from maskwright.assist.assistant import InteractiveAnswer
from maskwright.assist.jobs import BackgroundJobs
from maskwright.assist.services import Services
from maskwright.images import Image
from maskwright.masks import Mask
from maskwright.settings import Settings
from maskwright_label_studio.platform import PLATFORM

WIDTH, HEIGHT = 1920, 1080
CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image" smart="false"><Label value="Thing"/></BrushLabels>
<KeyPointLabels name="kp" toName="image" smart="true"><Label value="Thing"/></KeyPointLabels></View>"""


class FixedAssistant:
    """Answers at once."""

    def __init__(self, mask: Mask) -> None:
        self.mask = mask
        self.picture = Image(np.zeros((HEIGHT, WIDTH, 3), np.uint8), "0", "0")

    def model_version(self, _labels: Any, _model: Any = None, *, stages: Any = None) -> str:
        return "fixed"

    def image(self, _key: Any, _load: Any) -> Image:
        return self.picture

    def answer(self, _image: Any, _prompt: Any, **_about: Any) -> InteractiveAnswer:
        return InteractiveAnswer(self.mask, 0.9, "fixed", None)


def median_ms(call: Callable[[], Any], times: int) -> float:
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        spent.append((time.perf_counter() - start) * 1000)
    return statistics.median(spent)


def request(drawn: int, rle: list[int]) -> bytes:
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0, "to_name": "image"}
    value = {"format": "rle", "rle": rle, "brushlabels": ["Thing"]}
    regions = [
        {"id": f"r{n}", "type": "brushlabels", "from_name": "brush", "value": value, **size} for n in range(drawn)
    ]
    click = {"id": "k", "type": "keypointlabels", "from_name": "kp", "is_positive": True,
             "value": {"x": 30.0, "y": 40.0, "width": 0.1, "keypointlabels": ["Thing"]}, **size}  # fmt: skip
    task = {"id": 1, "data": {"image": "/data/x.png"}, "annotations": [], "predictions": [],
            "drafts": [{"id": 1, "result": regions}]}  # fmt: skip
    params = {"context": {"result": [*regions, click]}}
    return orjson.dumps({"tasks": [task], "project": "1.1", "label_config": CONFIG, "params": params})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=50)
    times = parser.parse_args().times
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(pixels, (600, 500), 180, 255, -1)
    rle = [int(v) for v in mask2rle(pixels)]
    settings = Settings(_env_file=None, home=Path(tempfile.mkdtemp()))
    jobs = BackgroundJobs()
    services = Services(settings, FixedAssistant(Mask.from_array(pixels)), jobs, lambda _stage, _seconds: None)  # type: ignore[arg-type]
    app = Flask("bench")
    app.register_blueprint(PLATFORM.blueprint(services))
    plain = Flask("plain")

    @plain.post("/predict")
    def predict() -> dict[str, Any]:
        from flask import request as incoming

        document = incoming.get_json()
        region = {"value": {"format": "rle", "rle": [int(v) for v in mask2rle(pixels)]}}
        return {"results": [{"result": [region], "tasks": len(document["tasks"])}]}

    ours, theirs = app.test_client(), plain.test_client()
    print(f"{'drawn':>6} {'body':>9} {'ours':>9} {'plain':>9} {'ratio':>7}")
    for drawn in (1, 200):
        body = request(drawn, rle)
        mine = median_ms(lambda: ours.post("/predict", data=body, content_type="application/json"), times)  # noqa: B023
        other = median_ms(
            lambda: theirs.post("/predict", data=body, content_type="application/json"),  # noqa: B023
            max(5, times // 10),
        )
        print(f"{drawn:>6} {len(body) / 1e6:>6.2f} MB {mine:>6.2f} ms {other:>6.1f} ms {other / mine:>6.1f}x")
    jobs.close()


if __name__ == "__main__":
    main()
