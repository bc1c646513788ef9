"""COCO exports: ours beside the SDK's converter in one run, and ours at size.

    .venv/bin/python tests/bench/bench_export.py                       100 tasks of 10 masks, ours and the SDK's
    .venv/bin/python tests/bench/bench_export.py --size 5000           ours alone on so many tasks, with peak memory
    .venv/bin/python tests/bench/bench_export.py --polygons 100000     ours alone on so many drawn polygons

The peer (``Format.BRUSH_TO_COCO``) writes an outer polygon per blob and loses holes; ours writes exact run lengths.
"Per mask" of both holds everything from the JSON file to the finished folder, in this process and on one core, imports
left out; ours also writes the card, the contact sheet and the checksums. Processor seconds are told besides, because
they hold on a busy machine too. Masks are wobbly blobs with a hole, from 100 to 700 pixels across.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import orjson

SIZE = (1080, 1920)
CONFIG = (
    '<View><Image name="image" value="$image"/><BrushLabels name="mask" toName="image"><Label value="cat"/>'
    '<Label value="dog"/></BrushLabels><PolygonLabels name="shape" toName="image"><Label value="cat"/>'
    '<Label value="dog"/></PolygonLabels></View>'
)
MASKS_PER_TASK = 10
POLYGONS_PER_TASK = 50


def wobbly(rng: np.random.Generator, size: tuple[int, int], corners: int = 60) -> np.ndarray:
    """(N, 2) xy corners of a blob."""
    height, width = size
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radii = rng.uniform(50, 350) * (1 + 0.2 * rng.standard_normal(corners).cumsum() / np.sqrt(corners))
    centre = rng.uniform((250, 250), (width - 250, height - 250))
    return centre + np.abs(radii)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def task(number: int, results: list[dict]) -> bytes:
    annotation = {
        "id": number, "completed_by": 1, "was_cancelled": False, "ground_truth": False, "lead_time": 12.5,
        "created_at": "2026-01-01T00:00:00.000000Z", "updated_at": "2026-01-01T00:00:00.000000Z", "result": results,
    }  # fmt: skip
    return orjson.dumps({
        "id": number, "project": 1, "data": {"image": f"/data/upload/1/{number:08x}-picture.jpg"},
        "annotations": [annotation], "predictions": [],
    })  # fmt: skip


def region(kind: str, control: str, value: dict, number: int) -> dict:
    label = "cat" if number % 3 else "dog"
    return {
        "id": f"r{number}", "type": kind, "from_name": control, "to_name": "image", "original_width": SIZE[1],
        "original_height": SIZE[0], "image_rotation": 0, "origin": "manual", "value": {**value, kind: [label]},
    }  # fmt: skip


def write_brush(path: Path, tasks: int) -> None:
    """A project of brush masks; each of 50 different tasks is repeated, so that writing it does not take all day."""
    from maskwright.masks import Mask
    from maskwright_label_studio.brush import encode_brush

    rng = np.random.default_rng(4)
    different = []
    for _ in range(min(tasks, 50)):
        results = []
        for number in range(MASKS_PER_TASK):
            corners = wobbly(rng, SIZE)
            hole = Mask.from_ellipse(*corners.mean(axis=0), 20, 15, 0, SIZE)
            mask = Mask.from_polygons([corners], SIZE) - hole
            rle = encode_brush(mask).tolist()
            results.append(region("brushlabels", "mask", {"format": "rle", "rle": rle}, number))
        different.append(results)
    _write(path, (task(n, different[n % len(different)]) for n in range(1, tasks + 1)))


def write_polygons(path: Path, annotations: int) -> None:
    """A project of drawn polygons of 30 corners."""
    rng = np.random.default_rng(5)

    def tasks():
        for number in range(1, annotations // POLYGONS_PER_TASK + 1):
            results = []
            for position in range(POLYGONS_PER_TASK):
                points = wobbly(rng, SIZE, corners=30) * (100 / SIZE[1], 100 / SIZE[0])
                value = {"points": points.tolist(), "closed": True}
                results.append(region("polygonlabels", "shape", value, position))
            yield task(number, results)

    _write(path, tasks())


def _write(path: Path, tasks) -> None:
    with path.open("wb") as sink:
        between = b"[\n"
        for text in tasks:
            sink.write(between + text)
            between = b",\n"
        sink.write(b"\n]\n")


def ours(tasks: Path, out: Path, *options: str) -> None:
    """Run the command as a user does; print its time, processor time and peak memory."""
    program = (
        "import sys; from maskwright import cli, cli_export\n"
        "if not any(c.callback is cli_export.export for c in cli.app.registered_commands):\n"
        "    cli_export.register(cli.app)\n"
        "import resource\n"
        "try: cli.main(sys.argv[1:])\n"
        "finally:\n"
        "    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]\n"
        "    print(sum(u.ru_utime + u.ru_stime for u in used), *(u.ru_maxrss / 1024 for u in used))"
    )
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program, "export", "--from", str(tasks), "--out", str(out), *options],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    processor, own, worker = (float(word) for word in done.stdout.splitlines()[-1].split())
    print("   ", done.stdout.splitlines()[0].partition(", written")[0])
    print(f"    {seconds:.1f} s, {processor:.1f} processor seconds; peak {own:.0f} MB, largest worker {worker:.0f} MB")


def ours_here(tasks: Path, out: Path) -> None:
    """The command in this process, on one core."""
    import typer
    from typer.testing import CliRunner

    from maskwright import cli_export

    app = typer.Typer()
    cli_export.register(app)
    CliRunner().invoke(app, ["--from", str(tasks), "--out", str(out), "--workers", "1"], catch_exceptions=False)


def peer(tasks: Path, out: Path) -> None:
    """The SDK's converter."""
    from label_studio_sdk.converter import Converter
    from label_studio_sdk.converter.converter import Format

    Converter(CONFIG, str(out), download_resources=False).convert(
        str(tasks), str(out), Format.BRUSH_TO_COCO, is_dir=False
    )


def compare(path: Path, folder: Path, masks: int) -> None:
    """Both in turn, three times; the best of each."""
    times: dict[str, list[tuple[float, float]]] = {"ours": [], "SDK": []}
    for run in range(3):
        for name, convert in (("ours", ours_here), ("SDK", peer)):
            began, used = time.perf_counter(), time.process_time()
            convert(path, folder / f"{name}{run}")
            times[name].append((time.perf_counter() - began, time.process_time() - used))
    best = {name: [min(column) for column in zip(*rows, strict=True)] for name, rows in times.items()}
    for name, (wall, processor) in best.items():
        print(f"  {name:<5} {1e3 * wall / masks:8.3f} ms per mask, {1e3 * processor / masks:8.3f} ms of a processor")
    ratios = [theirs / mine for mine, theirs in zip(best["ours"], best["SDK"], strict=True)]
    print(f"  ours is {ratios[0]:.1f} times faster, {ratios[1]:.1f} times by processor time, on one core each")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=0, help="tasks with brush masks, ours alone")
    parser.add_argument("--polygons", type=int, default=0, help="drawn polygons, ours alone")
    parser.add_argument("--tasks", type=int, default=100, help="tasks of the comparison")
    parser.add_argument("--workers", default="", help="processes of ours; one per core by default")
    given = parser.parse_args()
    workers = ("--workers", given.workers) if given.workers else ()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tasks.json"
        if given.size:
            write_brush(path, given.size)
            print(f"{given.size} tasks of {MASKS_PER_TASK} brush masks, {path.stat().st_size / 1e6:.0f} MB of JSON")
            ours(path, Path(folder) / "ours", *workers)
        elif given.polygons:
            write_polygons(path, given.polygons)
            for segmentation in ("polygon", "rle"):
                print(f"{given.polygons} polygons as {segmentation}, {path.stat().st_size / 1e6:.0f} MB of JSON")
                ours(path, Path(folder) / segmentation, "--segmentation", segmentation, *workers)
        else:
            write_brush(path, given.tasks)
            print(f"{given.tasks} tasks of {MASKS_PER_TASK} brush masks, {path.stat().st_size / 1e6:.1f} MB of JSON")
            compare(path, Path(folder), given.tasks * MASKS_PER_TASK)


if __name__ == "__main__":
    main()
