"""A warm click, ours against the reference way, in one process on the same random ViT-B weights.

Ours: one HTTP request with an interactive context to the JSON answer, 1920x1080, the image already seen.
Reference: ``SamPredictor.predict`` on the embedding that it already holds, the SDK's ``mask2rle``, then Flask's JSON.
The mask decoder itself is common to both and measured apart; what remains is the work that a backend adds.

    .venv/bin/python tests/bench/bench_click.py [--clicks 15]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import orjson
import torch
from flask import Flask

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

WIDTH, HEIGHT = 1920, 1080
CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image" smart="false"><Label value="Thing"/></BrushLabels>
<KeyPointLabels name="kp" toName="image" smart="true"><Label value="Thing"/></KeyPointLabels></View>"""


def median_ms(call: Callable[[int], Any], times: int, first: int, warm: int = 3) -> float:
    """Median of ``times`` calls; no number is given twice, so that no answer can be remembered."""
    for index in range(first, first + warm):
        call(index)
    spent = []
    for index in range(first + warm, first + warm + times):
        start = time.perf_counter()
        call(index)
        spent.append((time.perf_counter() - start) * 1000)
    return statistics.median(spent)


def key_point(x: float, y: float) -> dict[str, Any]:
    value = {"x": x / WIDTH * 100, "y": y / HEIGHT * 100, "width": 0.1, "keypointlabels": ["Thing"]}
    return {"id": "k", "type": "keypointlabels", "from_name": "kp", "to_name": "image", "is_positive": True,
            "original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0, "value": value}  # fmt: skip


def body(clicks: list[dict[str, Any]], drawn: list[dict[str, Any]]) -> bytes:
    """What Label Studio posts: the task with everything drawn so far, the context with the prompts in hand."""
    task = {"id": 1, "data": {"image": "/data/local-files/?d=picture.png"}, "project": 1, "annotations": [],
            "predictions": [], "drafts": [{"id": 1, "result": drawn}]}  # fmt: skip
    params = {"login": None, "password": None, "context": {"result": clicks}}
    return orjson.dumps({"tasks": [task], "project": "1.1", "label_config": CONFIG, "params": params})


def drawn_regions(count: int) -> list[dict[str, Any]]:
    from label_studio_sdk.converter.brush import mask2rle

    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.circle(mask, (600, 500), 180, 255, -1)
    rle = list(map(int, mask2rle(mask)))
    value = {"format": "rle", "rle": rle, "brushlabels": ["Thing"]}
    return [{"id": f"r{i}", "type": "brushlabels", "from_name": "brush", "to_name": "image", "value": value,
             "original_width": WIDTH, "original_height": HEIGHT} for i in range(count)]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clicks", type=int, default=15)
    clicks = parser.parse_args().clicks
    from torchvision_stand_in import install

    install()
    import segment_anything
    from label_studio_sdk.converter.brush import mask2rle

    from maskwright.prompts import Prompt
    from maskwright.server.app import create_app
    from maskwright.server.metrics import Metrics
    from maskwright.server.platforms import installed_platforms
    from maskwright.server.serve import WebServer, build_services
    from maskwright.settings import Settings

    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (27, 48, 3), dtype=np.uint8)
    picture = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    points = [
        (float(rng.integers(200, WIDTH - 200)), float(rng.integers(200, HEIGHT - 200))) for _ in range(4 * (clicks + 3))
    ]

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "sam_vit_b_random.pth"
        reference = segment_anything.sam_model_registry["vit_b"]()
        torch.save(reference.state_dict(), checkpoint)
        cv2.imwrite(str(Path(folder) / "picture.png"), picture[..., ::-1])
        predictor = segment_anything.SamPredictor(reference.eval())
        predictor.set_image(picture)
        flask_app = Flask("reference")

        def reference_click(index: int) -> bytes:
            xy = np.array([points[index]])
            masks, scores, _ = predictor.predict(xy, np.array([1]), multimask_output=True)
            best = masks[int(scores.argmax())].astype(np.uint8) * 255
            region = {"value": {"format": "rle", "rle": mask2rle(best), "brushlabels": ["Thing"]}}
            answer = {"results": [{"result": [region], "score": float(scores.max())}]}
            with flask_app.app_context():
                data: bytes = flask_app.json.response(answer).get_data()
            return data

        settings = Settings(
            home=Path(folder) / "home", model=f"segment-anything:{checkpoint}", local_files_root=Path(folder), port=0
        )
        metrics = Metrics()
        services = build_services(settings, metrics)
        server = WebServer(
            create_app(services, metrics, installed_platforms()), host="127.0.0.1", port=0, threads=4,
            max_request_bytes=settings.max_request_bytes,
        )  # fmt: skip
        threading.Thread(target=server.run, daemon=True).start()
        client = httpx.Client(base_url=server.url, timeout=600)

        def send(payload: bytes) -> bytes:
            answer = client.post("/predict", content=payload, headers={"Content-Type": "application/json"})
            answer.raise_for_status()
            return answer.content

        bodies = {count: [body([key_point(*p)], drawn_regions(count)) for p in points] for count in (1, 200)}
        print("encoding the picture once on each side ...", flush=True)
        first = orjson.loads(send(body([key_point(100, 100)], [])))
        assert first["results"][0]["result"] is not None

        segmenter = services.assistant.segmenter(settings.model)
        embedding = segmenter.encode([picture])[0]

        def decode_only(index: int) -> None:
            segmenter.decode(embedding, [Prompt.from_points([(*points[index], 1)])], multimask_output=True)

        step = clicks + 3
        common = median_ms(decode_only, clicks, 0)
        theirs = median_ms(reference_click, clicks, step)
        ours = {
            count: median_ms(lambda i, c=count: send(bodies[c][i]), clicks, (2 + place) * step)
            for place, count in enumerate(bodies)
        }
        added, reference_added = ours[1] - common, theirs - common
        rows = (
            ("mask decoder alone (common to both)", common, ""),
            ("reference: predict + mask2rle + Flask JSON", theirs, f"beyond the decoder {reference_added:.1f} ms"),
            ("ours: HTTP request to JSON answer", ours[1], f"beyond the decoder {added:.1f} ms"),
            ("ours with 200 regions already drawn", ours[200], f"{len(bodies[200][0]) / 1e6:.1f} MB body"),
        )
        for name, spent, note in rows:
            print(f"{name:44}{spent:8.1f} ms   {note}")
        print(f"ratio beyond the decoder: {reference_added / max(added, 1e-6):.1f}x (aim: at least 3x)")
        print(f"200 regions against 1: {ours[200] / ours[1]:.2f}x (aim: about 1)")
        server.stop()
        services.jobs.close()
        services.assistant.close()


if __name__ == "__main__":
    main()
