"""Classes of pixels in street scenes without training: pre-annotation with and without each stage, and two baselines.

Run: OMP_NUM_THREADS=1 .venv/bin/python tests/bench/bench_zeroshot.py [--images N] [--seed 0] [--language URI] ...

Every second of the 40 CamVid frames is measured, the others teach the position prior only. Prints mean IoU and pixel
accuracy over the 11 classes with 95 % intervals over images, what each variant gains over random classes on the same
regions and how far it is from the prior, rates of suggested, supported and accepted classes, and seconds an image. The
embedded families are the default; any other model may be named by its URI. "Accepted" is what a person who knows the
truth would leave: the class is in the image.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from maskwright.assist.preannotate import Preannotation, PreannotationOptions, preannotate
from maskwright.assist.suggestion.context import Context
from maskwright.assist.suggestion.loading import load_models
from maskwright.assist.suggestion.memo import PhraseMemo
from maskwright.assist.suggestion.rates import ClassRates, ImageOutcome, Rate, skew, suggestion_rates
from maskwright.assist.suggestion.staged import preannotate_in_stages
from maskwright.assist.suggestion.values import StageModels, StageOptions
from maskwright.errors import MaskwrightError
from maskwright.images import Image, ImageLimits
from maskwright.labels import LabelSet
from maskwright.learn.metrics import Estimate
from maskwright.learn.semantic.baselines import PositionPrior, random_classes
from maskwright.learn.semantic.confusion import Confusion
from maskwright.learn.semantic.label_maps import LabelMap, proposed_map
from maskwright.learn.semantic.langseg import compare_trained
from maskwright.learn.semantic.report import SemanticTally
from maskwright.learn.semantic.truth import TrueImage, TrueImages
from maskwright.models.dense.tagger_places import TaggerPlaces
from maskwright.models.learning_classifier import tag_classifier
from maskwright.models.protocols import ImageEmbedding
from maskwright.models.registry import ModelRegistry
from maskwright.models.sentences import SentenceEncoder
from maskwright.models.stages import Stages
from maskwright.models.tagger import ImageNetTagger
from maskwright.models.uri import Role
from maskwright.settings import read_settings

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "camvid"
EMBEDDED: dict[Role, str] = {
    "tagger": "embedded", "captioner": "none", "language": "sentence-matcher", "detector": "embedded", "dense": "none",
}  # fmt: skip
DRAWS = 5
"""Random classes are drawn so often for every image."""
BASELINE, PRIOR, TRUE_CLASSES = "proposals, classified", "position prior", "true classes given"

Annotate = Callable[[Image, LabelSet], Preannotation]


@dataclass
class Variant:
    """A way to pre-annotate, and what came of it.

    Attributes:
        annotate: An image and the classes that it may show.
        tally: Of its answers.
        by_lot: Of random classes on the same regions.
        outcomes: Of its suggestions.
        seconds: Spent.
    """

    annotate: Annotate
    tally: SemanticTally
    by_lot: SemanticTally
    outcomes: list[ImageOutcome] = field(default_factory=list)
    seconds: float = 0.0


class Bench:
    """The models, loaded once, and the embedding of the image in hand, which all variants share."""

    def __init__(self, model: str, uris: dict[Role, str]) -> None:
        settings = read_settings(model=model)
        self.limits = ImageLimits(settings.max_image_bytes, settings.max_image_pixels)
        self._settings, self.uris, self._stages = settings, uris, Stages(settings)
        self.segmenter = ModelRegistry(settings).segmenter()
        self._classifier = tag_classifier()[0]
        self._memo = PhraseMemo()
        self._embedding: tuple[Image, ImageEmbedding] | None = None

    def encode(self, image: Image) -> None:
        """Encode an image, for all variants."""
        self._embedding = (image, self.segmenter.encode([image.pixels])[0])

    def classified(self, image: Image, labels: LabelSet) -> Preannotation:
        """Proposals of the whole image, each given a class: no stage at all."""
        return preannotate(
            image, labels, PreannotationOptions(), segmenter=self.segmenter, encode=lambda _: self._held(image),
            classifier=self._classifier, model_version="bench",
        )  # fmt: skip

    def staged(self, options: StageOptions, change: Callable[[StageModels], StageModels] = lambda m: m) -> Annotate:
        """Pre-annotation in stages under some options."""
        models, problems = load_models(self._stages, self._settings, options, self.uris)
        for problem in problems:
            print(f"left out: {problem}")
        models = change(models)

        def annotate(image: Image, labels: LabelSet) -> Preannotation:
            context = Context(
                models, self.segmenter, lambda _: self._held(image), self._memo, "bench", classifier=self._classifier
            )
            return preannotate_in_stages(image, labels, PreannotationOptions(), options, context)

        return annotate

    def _held(self, image: Image) -> ImageEmbedding:
        assert self._embedding is not None
        assert self._embedding[0] is image
        return self._embedding[1]


def variants(bench: Bench) -> dict[str, Annotate]:
    """What is compared: no stages, all of them, and all but each."""
    every = StageOptions()
    full = bench.staged(every)
    found: dict[str, Annotate] = {BASELINE: bench.classified, "all stages": full}
    without = {
        "no caption": replace(every, caption=False),
        "no pre-refinement": replace(every, pre_refinement=False),
        "no post-refinement": replace(every, post_refinement=False),
        "no proposals": replace(every, proposals=False),
        "no points": replace(every, point_rule="none"),
        "the paper's points": replace(every, point_rule="top20"),
        "no check of pixels": replace(every, check_pixels=False),
        "all classes looked for": replace(every, every_class=True),
    }
    if bench.uris["captioner"] == "none":
        del without["no caption"]
    found |= {title: bench.staged(options) for title, options in without.items()}
    found["no tags"] = bench.staged(every, lambda models: replace(models, tagger=None))
    found["no detector"] = bench.staged(every, lambda models: replace(models, detector=None))
    found[TRUE_CLASSES] = bench.staged(replace(every, every_class=True))
    return found


def measure(
    bench: Bench, variant: Variant, title: str, image: Image, truth: LabelMap, labels: LabelSet, seed: int
) -> None:
    """One image of one variant."""
    there = frozenset(labels.names[number] for number in np.unique(truth[truth >= 0]))
    known = LabelSet(tuple(item for item in labels if item.name in there)) if title == TRUE_CLASSES else labels
    started = time.perf_counter()
    found = variant.annotate(image, known)
    variant.seconds += time.perf_counter() - started
    variant.tally.add(truth, proposed_map(found.regions, labels.names, image.size))
    rng = np.random.default_rng([seed, len(variant.outcomes)])
    lots = Confusion.empty(len(labels))
    for _ in range(DRAWS):
        drawn = random_classes(found.regions, labels.names, rng)
        lots = lots + Confusion.of(truth, proposed_map(drawn, labels.names, image.size), len(labels))
    variant.by_lot.count(lots)
    variant.outcomes.append(ImageOutcome(found.suggestions, there))


def show(measured: dict[str, Variant], prior: SemanticTally, count: int, seed: int) -> None:
    """The figures of all variants."""
    print(f"{'':24s}{'mIoU':>24s}{'pixel accuracy':>24s}{'mIoU by lot':>12s}{'over lot':>24s}{'over prior':>24s}"
          f"{'s/image':>9s}")  # fmt: skip
    for title, one in measured.items():
        report, lot = one.tally.report(seed), one.by_lot.report(seed)
        gains = one.tally.gain(one.by_lot, seed), one.tally.gain(prior, seed)
        print(f"{title:24s}{shown(report.mean_iou)}{shown(report.pixel_accuracy)}{lot.mean_iou.mean:12.3f}"
              f"{shown(gains[0], '+')}{shown(gains[1], '+')}{one.seconds / count:9.2f}", flush=True)  # fmt: skip
    report = prior.report(seed)
    print(f"{PRIOR:24s}{shown(report.mean_iou)}{shown(report.pixel_accuracy)}")


def shown(found: Estimate, sign: str = "") -> str:
    """A mean and its interval in 24 characters."""
    mean, low, high = (format(value, f"{sign}.3f") for value in (found.mean, found.low, found.high))
    return f"{f'{mean} [{low}, {high}]':>24s}"


def show_rates(measured: dict[str, Variant]) -> None:
    """What is suggested, borne out by pixels and right, over all classes; then class by class with all stages."""
    print(f"\n{'':24s}{'suggested':>10s}{'supported':>16s}{'accepted':>16s}{'if supported':>16s}{'missed':>16s}"
          f"{'skew':>8s}")  # fmt: skip
    for title, one in measured.items():
        rates = of_the_set(one)
        suggested = sum(rate.suggested.count for rate in rates)
        if suggested:
            parts = [together(rates, name) for name in ("supported", "accepted", "accepted_when_supported", "missed")]
            print(f"{title:24s}{suggested:10d}{''.join(f'{told(part):>16s}' for part in parts)}{skew(rates):8.2f}")
    print(f"\n{'all stages, by class':24s}{'suggested':>16s}{'supported':>16s}{'accepted':>16s}{'missed':>16s}")
    for rate in of_the_set(measured["all stages"]):
        parts = [rate.suggested, rate.supported, rate.accepted, rate.missed]
        print(f"{rate.label[:23]:24s}{''.join(f'{told(part):>16s}' for part in parts)}")
    outcomes = measured["all stages"].outcomes
    others = {one.label for outcome in outcomes for one in outcome.suggestions if not one.is_known}
    print(f"offered beside the classes: {', '.join(sorted(others)) or 'nothing'}")


def of_the_set(variant: Variant) -> list[ClassRates]:
    """The rates of the classes of the label set; what else is suggested is offered to its owner only."""
    known = [
        replace(outcome, suggestions=tuple(one for one in outcome.suggestions if one.is_known))
        for outcome in variant.outcomes
    ]
    return suggestion_rates(known)


def together(rates: Sequence[ClassRates], name: str) -> Rate:
    """One rate of all classes."""
    parts = [getattr(rate, name) for rate in rates]
    return Rate(sum(part.count for part in parts), sum(part.of for part in parts))


def told(rate: Rate) -> str:
    """A share with its counts."""
    return "." if rate.share is None else f"{rate.share:.0%} ({rate.count}/{rate.of})"


def show_classes(measured: dict[str, Variant], prior: SemanticTally, labels: LabelSet) -> None:
    """IoU of each class."""
    chosen = {title: measured[title].tally for title in (BASELINE, "all stages", TRUE_CLASSES)} | {PRIOR: prior}
    print(f"\n{'IoU':24s}{''.join(f'{title[:22]:>24s}' for title in chosen)}")
    columns = [tally.report().confusion.ious for tally in chosen.values()]
    for number, name in enumerate(labels.names):
        print(f"{name:24s}{''.join(f'{column[number]:24.3f}' for column in columns)}")


def show_learnt(
    bench: Bench, learning: Sequence[TrueImage], testing: Sequence[TrueImage], labels: LabelSet, seed: int
) -> None:
    """Not zero-shot, but on the prior's terms: the embedded features brought to words by the images of the prior."""
    started = time.perf_counter()
    known, measured = (
        lambda part=part: ((one.load(bench.limits).pixels, one.labels) for one in part) for part in (learning, testing)
    )
    dense, words = TaggerPlaces(ImageNetTagger()), SentenceEncoder()
    rows = compare_trained(known, measured, dense, words.embed, labels, seed=seed)
    print(f"\n{f'learnt on {len(learning)} images':24s}{'mIoU':>24s}{'pixel accuracy':>24s}")
    for title, report in rows.items():
        print(f"{title:24s}{shown(report.mean_iou)}{shown(report.pixel_accuracy)}")
    print(f"{time.perf_counter() - started:.0f} s in all")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20, help="most images measured")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="embedded", help="URI of the segmenter")
    parser.add_argument(
        "--learnt", action="store_true", help="also what the half that teaches the prior teaches LangSeg"
    )
    for role, uri in EMBEDDED.items():
        parser.add_argument(f"--{role}", default=uri, help="URI")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        print(f"left out: the development sets are not beside this checkout ({DATA.parent.name}/{DATA.name})")
        return
    try:
        bench = Bench(arguments.model, {role: getattr(arguments, role) for role in EMBEDDED})
        with TrueImages(DATA / "stuff.json", DATA) as truth:
            listed, labels = sorted(truth.chosen(), key=lambda one: one.path.name), truth.labels
        tallies = variants(bench)
    except MaskwrightError as error:
        parser.error(str(error))
    testing = listed[1::2][: arguments.images]
    usual = PositionPrior.fit((one.labels for one in listed[::2]), len(labels))
    measured = {
        title: Variant(annotate, SemanticTally(labels.names), SemanticTally(labels.names))
        for title, annotate in tallies.items()
    }
    prior, encoding = SemanticTally(labels.names), 0.0
    for one in testing:
        image, known = one.load(bench.limits), one.labels
        started = time.perf_counter()
        bench.encode(image)
        encoding += time.perf_counter() - started
        prior.add(known, usual.predict(image.size))
        for title, variant in measured.items():
            measure(bench, variant, title, image, known, labels, arguments.seed)
    print(f"{len(testing)} images, {len(labels)} classes, {bench.segmenter.version}; prior of "
          f"{len(listed[::2])} others; encoding for all rows: {encoding / len(testing):.2f} s an image")  # fmt: skip
    show(measured, prior, len(testing), arguments.seed)
    show_rates(measured)
    show_classes(measured, prior, labels)
    if arguments.learnt:
        show_learnt(bench, listed[::2], testing, labels, arguments.seed)


if __name__ == "__main__":
    main()
