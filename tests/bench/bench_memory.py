"""Memory of the server process over many predictions on the embedded default.

Starts ``maskwright serve`` as users do, sends interactive and batch predictions over HTTP and prints the growth of
resident memory after the first 50.

    .venv/bin/python tests/bench/bench_memory.py [--predictions 2000]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import httpx
import numpy as np
import psutil

CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image" smart="false"><Label value="Thing"/></BrushLabels>
<KeyPointLabels name="kp" toName="image" smart="true"><Label value="Thing"/></KeyPointLabels></View>"""


def resident_mb(process: psutil.Process) -> float:
    return process.memory_info().rss / 1e6


def measure(predictions: int, images: int = 8, settle: int = 50) -> tuple[float, float]:
    """(resident MB after ``settle`` predictions, growth in MB after ``predictions``)."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for index in range(images):
            picture = rng.integers(60, 90, (480, 640, 3), dtype=np.uint8)
            cv2.circle(picture, (200 + 20 * index, 240), 90, (40, 80, 220), -1)
            cv2.imwrite(f"{folder}/{index}.png", picture)
        environment = os.environ | {"MASKWRIGHT_HOME": f"{folder}/home", "MASKWRIGHT_LOCAL_FILES_ROOT": folder}
        command = [str(Path(sys.executable).with_name("maskwright")), "serve", "--host", "127.0.0.1", "--port", "0"]
        log = Path(folder) / "log"
        with log.open("w") as sink:
            server = subprocess.Popen(command, env=environment, stdout=sink, stderr=subprocess.STDOUT)
        try:
            while not (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
                time.sleep(0.1)
                if server.poll() is not None:
                    raise RuntimeError(log.read_text())
            client = httpx.Client(base_url=found.group(0), timeout=120)
            process = psutil.Process(server.pid)
            base = 0.0
            for index in range(predictions):
                task = {"id": index % images, "data": {"image": f"/data/local-files/?d={index % images}.png"},
                        "project": 1, "annotations": [], "predictions": [], "drafts": []}  # fmt: skip
                x, y = 31 + 3 * (index % images) + rng.uniform(-8, 8), 50 + rng.uniform(-12, 12)
                value = {"x": x, "y": y, "width": 0.1, "keypointlabels": ["Thing"]}
                click = {"id": "k", "type": "keypointlabels", "from_name": "kp", "to_name": "image", "value": value,
                         "is_positive": True, "original_width": 640, "original_height": 480}  # fmt: skip
                context = None if index % 20 == 19 else {"result": [click]}
                body = {"tasks": [task], "project": "1.1", "label_config": CONFIG, "params": {"context": context}}
                client.post("/predict", json=body).raise_for_status()
                if index + 1 == settle:
                    base = resident_mb(process)
                if (index + 1) % 500 == 0:
                    print(f"{index + 1:5d} predictions: {resident_mb(process):7.1f} MB", flush=True)
            return base, resident_mb(process) - base
        finally:
            server.terminate()
            server.wait(20)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--predictions", type=int, default=2000)
    predictions = parser.parse_args().predictions
    start = time.perf_counter()
    base, growth = measure(predictions)
    print(f"after 50: {base:.1f} MB; growth over {predictions} predictions: {growth:+.1f} MB (aim: under 20 MB); "
          f"{(time.perf_counter() - start):.0f} s")  # fmt: skip


if __name__ == "__main__":
    main()
