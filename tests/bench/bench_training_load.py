"""How long clicks take while a worker trains: eight annotators on the real server, before and during training.

The server is ``maskwright serve`` in a process of its own; training runs in another, as modest as ``maskwright worker``
makes itself, without an end. Every annotator clicks on pictures of 1920x1080, thinks for about a second, clicks again.

    .venv/bin/python tests/bench/bench_training_load.py [--seconds 60] [--annotators 8]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NoReturn

import cv2
import httpx
import numpy as np
import orjson
from numpy.typing import NDArray

from maskwright.settings import read_settings

WIDTH, HEIGHT, PICTURES, THINK_S = 1920, 1080, 4, 1.0
CONFIG = """<View><Image name="image" value="$image"/>
<BrushLabels name="brush" toName="image" smart="false"><Label value="Thing"/></BrushLabels>
<KeyPointLabels name="kp" toName="image" smart="true"><Label value="Thing"/></KeyPointLabels></View>"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0, help="of each of the two measurements")
    parser.add_argument("--annotators", type=int, default=8)
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train:
        train_for_ever()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(PICTURES):
            cv2.imwrite(f"{folder}/{number}.png", picture(number)[0])
        server, url = serve(Path(folder))
        trainer: subprocess.Popen[bytes] | None = None
        try:
            click(url, 0, 0)  # loads the model
            for number in range(PICTURES):
                click(url, number, number)
            alone = session(url, arguments.annotators, arguments.seconds)
            trainer = subprocess.Popen([sys.executable, __file__, "--train"], stdout=subprocess.PIPE)
            assert trainer.stdout is not None
            trainer.stdout.readline()  # the first step is done
            beside = session(url, arguments.annotators, arguments.seconds)
            assert trainer.poll() is None, "training ended early"
        finally:
            for process in (trainer, server):
                if process is not None:
                    process.kill()
                    process.wait()
    print(
        f"{arguments.annotators} annotators on {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the end"
    )
    for name, (times, failed) in (("alone", alone), ("beside training", beside)):
        p50, p95 = np.percentile(times, (50, 95))
        print(f"{name:16} {len(times):5} clicks, {failed} failed, p50 {p50:6.1f} ms, p95 {p95:6.1f} ms")
    print(f"p95 beside training / alone: {np.percentile(beside[0], 95) / np.percentile(alone[0], 95):.2f}")


def serve(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    settings = {
        "MASKWRIGHT_HOME": str(folder / "home"), "MASKWRIGHT_PORT": "0", "MASKWRIGHT_LOCAL_FILES_ROOT": str(folder),
        "MASKWRIGHT_SYNC_INTERVAL_S": "0",
    }  # fmt: skip
    command = [sys.executable, "-m", "maskwright.cli", "serve"]
    server = subprocess.Popen(command, env=os.environ | settings, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert server.stdout is not None
    line = server.stdout.readline().decode()
    return server, next(word for word in line.split() if word.startswith("http"))


def picture(seed: int) -> tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]:
    """A picture of discs on a textured ground, and their masks."""
    rng = np.random.default_rng(seed)
    ground = rng.normal(110, 25, (HEIGHT // 8, WIDTH // 8, 3)).clip(0, 255).astype(np.uint8)
    image = cv2.resize(ground, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    masks = []
    for _ in range(12):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        centre = (int(rng.integers(150, WIDTH - 150)), int(rng.integers(150, HEIGHT - 150)))
        cv2.circle(mask, centre, int(rng.integers(40, 140)), 1, -1)
        image[mask > 0] = image[mask > 0] // 2 + rng.integers(0, 127, 3).astype(np.uint8)
        masks.append(mask > 0)
    return image, masks


def click(url: str, task: int, seed: int) -> float:
    """Milliseconds from request to answer of one click at a random place; an error status raises."""
    rng = np.random.default_rng([task, seed])
    x, y = (float(part) for part in rng.uniform(10, 90, 2))
    value = {"x": x, "y": y, "width": 0.1, "keypointlabels": ["Thing"]}
    point = {"id": f"k{seed}", "type": "keypointlabels", "from_name": "kp", "to_name": "image", "is_positive": True,
             "original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0, "value": value}  # fmt: skip
    data = {"image": f"/data/local-files/?d={task % PICTURES}.png"}
    body = {"tasks": [{"id": task + 1, "data": data, "annotations": [], "predictions": []}], "project": "1.1",
            "label_config": CONFIG, "params": {"context": {"result": [point]}}}  # fmt: skip
    start = time.perf_counter()
    httpx.post(f"{url}/predict", content=orjson.dumps(body), timeout=60).raise_for_status()
    return (time.perf_counter() - start) * 1000


def session(url: str, annotators: int, seconds: float) -> tuple[list[float], int]:
    times: list[float] = []
    failures: list[Exception] = []
    end = time.monotonic() + seconds

    def annotate(person: int) -> None:
        rng = np.random.default_rng([person, len(times)])
        while time.monotonic() < end:
            time.sleep(float(rng.uniform(0.5, 1.5)) * THINK_S)
            try:
                times.append(click(url, person, int(rng.integers(1 << 30))))
            except httpx.HTTPError as error:
                failures.append(error)

    people = [threading.Thread(target=annotate, args=(number,)) for number in range(annotators)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    return times, len(failures)


def train_for_ever() -> NoReturn:
    from maskwright.learn.training.options import TrainingConfig
    from maskwright.learn.training.records import TrainingImage, TrainingObject
    from maskwright.learn.training.train import train
    from maskwright.masks import Mask
    from maskwright.models.registry import ModelRegistry
    from maskwright.server.worker import be_modest

    settings = be_modest(read_settings())
    segmenter = ModelRegistry(settings).segmenter()
    images = []
    for seed in range(4):
        pixels, masks = picture(100 + seed)
        objects = tuple(TrainingObject(Mask.from_array(mask)) for mask in masks)
        images.append(TrainingImage(f"{seed:064x}", lambda pixels=pixels: pixels, objects))  # type: ignore[misc]
    told = False

    def progress(_: object) -> None:
        nonlocal told
        if not told:
            print("step", flush=True)
        told = True

    while True:
        train(segmenter, images, TrainingConfig(), progress=progress)


if __name__ == "__main__":
    main()
