"""What the learning loop saves: projects played from zero on nuclei, in random order and in the default one.

Run: .venv/bin/python tests/bench/bench_learning.py [--seeds 0,1,2] [--objects 1] [--looks 30] [--train-seconds S]
     [--processes 1] [--work DIR] [--plot FILE.png] [--only-report]

The base has never seen nuclei (``embedded-no-nuclei``). Tasks come from the first 100 images, five rounds of 10 each;
figures are of the other 93, which no project is shown and nothing is tuned on, with the same seeded objects in every
play. Everything goes over the real server (``maskwright simulate``). Each play (seed x acquisition) is kept in a folder
of its own, one JSON file a round: a run that was killed goes on, one that is done prints its tables again at once.

What a round trains is served unless the gate refuses it: with few images the verdict is "not enough data", which in a
project means that the next batch is annotated with the model as it was (``--promote gate``).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from bench_classical import ANNOTATIONS, DATA, FITTED_NUCLEI
from PIL import Image, ImageDraw, ImageFont

from maskwright.cli_simulate import read_images
from maskwright.server.simulation import Simulation, simulate
from maskwright.settings import Settings

MODEL = "embedded-no-nuclei"
COLOURS = {"random": "#777777", "hybrid": "#0072b2"}
OTHER_COLOURS = ("#d55e00", "#009e73", "#cc79a7", "#e69f00")
COLUMNS = (("clicks_per_object", "clicks an object to IoU 0.85"), ("iou_1", "IoU at 1 click"))
ROUND_S = {"random": 340.0, "other": 440.0}
"""Seconds of one core for a round with the defaults, to foresee how long all of it takes."""

Rounds = list[dict[str, Any]]


def simulation(arguments: argparse.Namespace, seed: int, acquisition: str) -> Simulation:
    """The play of a seed and an acquisition function."""
    folder = DATA / "nuclei"
    images, labels = read_images(folder / ANNOTATIONS["nuclei"], folder, settings())
    return Simulation(
        folder, images[:FITTED_NUCLEI], images[FITTED_NUCLEI:], labels, arguments.rounds, arguments.batch, acquisition,
        seed, arguments.promote, arguments.objects, 0, arguments.train_seconds, arguments.looks,
    )  # fmt: skip


def settings() -> Settings:
    """One core for every play, and nothing of this machine's settings."""
    return Settings(_env_file=None, model=MODEL, cpu_threads=1, threads=2)


def folder_of(work: Path, seed: int, acquisition: str) -> Path:
    """Where a play is kept."""
    return work / f"{acquisition}-{seed}"


def played(arguments: argparse.Namespace, seed: int, acquisition: str) -> Rounds:
    """Play, or go on; every round is told as it ends."""
    found = []
    folder = folder_of(arguments.work, seed, acquisition)
    for record in simulate(simulation(arguments, seed, acquisition), settings(), folder):
        found.append(record)
        print(line(seed, acquisition, record), flush=True)
    return found


def line(seed: int, acquisition: str, record: Mapping[str, Any]) -> str:
    """A round in a line."""
    labour, spent = record["annotator"], record["seconds_of"]
    return (
        f"{acquisition:8s} seed {seed} round {record['round']} {record['images_labelled']:3d} images: "
        f"{record['clicks_per_object']:5.2f} clicks, IoU {record['iou_1']:.3f} at 1 click, {record['iou_box']:.3f} "
        f"with a box; annotator {labour['clicks_per_object']:5.2f} clicks an object, "
        f"{labour['accepted_share']:4.0%} accepted; "
        f"{' + '.join(f'{name} {seconds:.0f}' for name, seconds in spent.items())} s; {record['verdict'] or 'base'}"
        f"{' (served)' if record['taken'] else ''}"
    )


def play_all(arguments: argparse.Namespace) -> dict[tuple[int, str], Rounds]:
    """All plays. The base is measured once: it is the same in each."""
    wanted = [(seed, acquisition) for seed in arguments.seeds for acquisition in arguments.acquisitions]
    first = folder_of(arguments.work, *wanted[0])
    if not (first / "round-0.json").is_file():
        beginning = simulate(simulation(arguments, *wanted[0]), settings(), first)
        next(beginning)
        beginning.close()
    for one in wanted[1:]:
        folder = folder_of(arguments.work, *one)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "round-0.json").is_file():
            shutil.copyfile(first / "round-0.json", folder / "round-0.json")
    if arguments.processes == 1:
        return {one: played(arguments, *one) for one in wanted}
    with ProcessPoolExecutor(arguments.processes, multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(played, arguments, *one): one for one in wanted}
        return {futures[future]: future.result() for future in as_completed(futures)}


def played_so_far(arguments: argparse.Namespace) -> dict[tuple[int, str], Rounds]:
    """Plays with at least one round, as far as they have come."""
    found = {}
    for seed in arguments.seeds:
        for acquisition in arguments.acquisitions:
            folder = folder_of(arguments.work, seed, acquisition)
            files = [folder / f"round-{n}.json" for n in range(arguments.rounds + 1)]
            rounds = [json.loads(file.read_bytes()) for file in files if file.is_file()]
            if len(rounds) > 1:
                found[seed, acquisition] = rounds
    if not found:
        raise SystemExit(f"nothing has been played yet in {arguments.work}")
    arguments.acquisitions = [one for one in arguments.acquisitions if any(one == known for _, known in found)]
    return found


def foresee(arguments: argparse.Namespace) -> str:
    """How long what is left takes, as far as one can tell."""
    seconds = 0.0
    for seed in arguments.seeds:
        for acquisition in arguments.acquisitions:
            folder = folder_of(arguments.work, seed, acquisition)
            done = sum((folder / f"round-{n}.json").is_file() for n in range(1, arguments.rounds + 1))
            seconds += (arguments.rounds - done) * ROUND_S.get(acquisition, ROUND_S["other"])
    return f"about {seconds / 60 / arguments.processes:.0f} minutes to go on {arguments.processes} idle core(s)"


def columns_of(plays: Mapping[tuple[int, str], Rounds], acquisition: str, name: str) -> list[list[float]]:
    """Values of a figure by round, each of all seeds."""
    mine = [rounds for (_, one), rounds in sorted(plays.items()) if one == acquisition]
    return [[rounds[n][name] for rounds in mine] for n in range(min(map(len, mine)))]


def images_to(target: float, images: Sequence[int], values: Sequence[float]) -> float | None:
    """Images after which a falling figure first is ``target`` or less, on straight lines between the rounds."""
    for n, value in enumerate(values):
        if value <= target:
            if n == 0 or values[n - 1] == value:
                return float(images[n])
            share = (values[n - 1] - target) / (values[n - 1] - value)
            return images[n - 1] + share * (images[n] - images[n - 1])
    return None


def report(plays: Mapping[tuple[int, str], Rounds], arguments: argparse.Namespace) -> None:
    """Print the tables."""
    images = [record["images_labelled"] for record in max(plays.values(), key=len)]
    for name, title in COLUMNS:
        print(f"\n{title} by images labelled: mean over {len({seed for seed, _ in plays})} seeds (lowest to highest)")
        print("acquisition " + "".join(f"{count:>23d}" for count in images))
        for acquisition in arguments.acquisitions:
            cells = [
                f"{statistics.mean(seeds):.3f} ({min(seeds):.3f} to {max(seeds):.3f})"
                for seeds in columns_of(plays, acquisition, name)
            ]
            print(f"{acquisition:12s}" + "".join(f"{cell:>23s}" for cell in cells))
    print()
    curves = {
        acquisition: [statistics.mean(seeds) for seeds in columns_of(plays, acquisition, "clicks_per_object")]
        for acquisition in arguments.acquisitions
    }
    for acquisition, clicks in curves.items():
        single = columns_of(plays, acquisition, "clicks_per_object")
        fewer = [100 * (1 - last / first) for first, last in zip(single[0], single[-1], strict=True)]
        print(
            f"{acquisition}: {1 - clicks[-1] / clicks[0]:.1%} fewer clicks an object after {len(clicks) - 1} rounds "
            f"({min(fewer):.1f} to {max(fewer):.1f} % by seed); aim: at least 40 %"
        )
    if "random" in curves:
        for acquisition, clicks in curves.items():
            reached = images_to(curves["random"][-1], images, clicks)
            if acquisition != "random":
                share = (
                    "never"
                    if reached is None
                    else f"{reached:.0f} images, {reached / images[len(curves['random']) - 1]:.0%} of random's"
                )
                print(f"{acquisition} reaches random's last clicks an object after: {share}; aim: at most 70 %")
    counts: dict[str, int] = {}
    for rounds in plays.values():
        for record in rounds[1:]:
            verdict = record["verdict"] + (" (served)" if record["taken"] else "")
            counts[verdict] = counts.get(verdict, 0) + 1
    print("verdicts: " + ", ".join(f"{count} x {verdict}" for verdict, count in sorted(counts.items())))


def plot(plays: Mapping[tuple[int, str], Rounds], acquisitions: Sequence[str], path: Path) -> None:
    """Draw the curves of ``COLUMNS`` beside each other: means, and the range of the seeds behind them."""
    wide, high, left, top, right, bottom = 640, 440, 70, 60, 20, 60
    picture = Image.new("RGB", (wide * len(COLUMNS), high), "white")
    font = ImageFont.load_default(15)
    images = [record["images_labelled"] for record in max(plays.values(), key=len)]
    for panel, (name, title) in enumerate(COLUMNS):
        found = {acquisition: columns_of(plays, acquisition, name) for acquisition in acquisitions}
        low = min(min(seeds) for column in found.values() for seeds in column)
        up = max(max(seeds) for column in found.values() for seeds in column)
        low, up = low - 0.05 * (up - low or 1), up + 0.05 * (up - low or 1)

        def place(
            count: float, value: float, low: float = low, up: float = up, x0: int = panel * wide
        ) -> tuple[float, float]:
            x = x0 + left + (wide - left - right) * count / images[-1]
            return x, top + (high - top - bottom) * (up - value) / (up - low)

        drawing = ImageDraw.Draw(picture, "RGBA")
        drawing.text((panel * wide + left, 15), title, "black", font)
        for tick in range(5):
            value = low + (up - low) * tick / 4
            x, y = place(0, value)
            drawing.line([(x, y), place(images[-1], value)], "#dddddd")
            drawing.text((x - 8, y), f"{value:.3g}", "#444444", font, anchor="rm")
        for count in images:
            x, y = place(count, low)
            drawing.text((x, y + 8), str(count), "#444444", font, anchor="ma")
        drawing.text((panel * wide + wide / 2, high - 14), "images labelled", "#444444", font, anchor="mm")
        for number, acquisition in enumerate(acquisitions):
            colour = COLOURS.get(acquisition, OTHER_COLOURS[number % len(OTHER_COLOURS)])
            column = list(zip(images, found[acquisition], strict=False))
            band = [place(c, max(s)) for c, s in column] + [place(c, min(s)) for c, s in reversed(column)]
            drawing.polygon(band, fill=colour + "30")
            drawing.line([place(c, statistics.mean(s)) for c, s in column], colour, 3)
            drawing.text((panel * wide + left + 110 * number, 36), acquisition, colour, font)
    picture.save(path)


def numbers(text: str) -> list[int]:
    """Numbers between commas."""
    return [int(part) for part in text.split(",")]


def main() -> None:
    """Play, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=numbers, default=[0, 1, 2])
    parser.add_argument("--acquisitions", type=lambda text: text.split(","), default=["random", "hybrid"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--objects", type=int, default=1, help="measured on every test image at most")
    parser.add_argument("--looks", type=int, default=30, help="waiting images that a batch is chosen from, at random")
    parser.add_argument("--train-seconds", type=float, help="CPU seconds of a round at most; default: no limit")
    parser.add_argument("--promote", choices=("gate", "always"), default="always")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--only-report", action="store_true", help="of what has been played so far")
    parser.add_argument("--work", type=Path, default=Path("build/bench-learning"))
    parser.add_argument("--plot", type=Path, help="PNG; default: learning-curve.png in --work")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        print(f"left out: the development sets are not beside this checkout ({DATA.parent.name}/{DATA.name})")
        return
    print(foresee(arguments), flush=True)
    if arguments.only_report:
        plays = played_so_far(arguments)
    else:
        started = time.perf_counter()
        plays = play_all(arguments)
        print(f"played for {(time.perf_counter() - started) / 60:.1f} minutes")
    report(plays, arguments)
    path = arguments.plot or arguments.work / "learning-curve.png"
    plot(plays, arguments.acquisitions, path)
    print(f"curves: {path}")


if __name__ == "__main__":
    main()
