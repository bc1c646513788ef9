"""The acquisition functions by name, as a project chooses among them.

What the hybrid is made of was chosen on the first 100 nuclei images, with the segmenter that has never seen nuclei
(``tests/bench/bench_acquisition.py --signals``). Rank correlation over images with the true error at 1 click, give or
take 0.1: BALD .61, disagreement .46, predicted IoU .27, entropy .04; of sums of ranks BALD + disagreement .64, the best
of all pairs, and disagreement + predicted IoU .51, the best without a stochastic decoder.
"""

from __future__ import annotations

from dataclasses import dataclass

from maskwright.errors import InvalidInput
from maskwright.learn.acquisition.bald import BALD, StochasticDecoder
from maskwright.learn.acquisition.candidates import AcquisitionFunction, Signal
from maskwright.learn.acquisition.coreset import CoreSet
from maskwright.learn.acquisition.disagreement import Disagreement
from maskwright.learn.acquisition.hybrid import Chance, Hybrid, PerSecond
from maskwright.learn.acquisition.typicality import Typicality
from maskwright.learn.acquisition.uncertainty import ClassEntropy, PredictedIoU, PredictiveEntropy
from maskwright.models.protocols import Segmenter

DEFAULT = "hybrid"
NAMES = (
    "hybrid",
    "entropy",
    "predicted-iou",
    "disagreement",
    "bald",
    "class-entropy",
    "core-set",
    "typicality",
    "correction-cost",
    "random",
)


@dataclass(frozen=True, eq=False)
class Tools:
    """What functions look at images with.

    Attributes:
        segmenter: In service.
        decoder: Draws answers for BALD, or None where the family has no such decoder.
        classes: Classes of the project; class suggestions say something from two on.
    """

    segmenter: Segmenter
    decoder: StochasticDecoder | None = None
    classes: int = 1


def acquisition_function(name: str, tools: Tools) -> AcquisitionFunction:
    """The function of this name.

    Raises:
        InvalidInput: If there is none, or the models in service cannot serve it; the message says which can.
    """
    signals: dict[str, Signal] = {
        signal.name: signal
        for signal in (PredictiveEntropy(), PredictedIoU(), Disagreement(tools.segmenter), ClassEntropy())
    }
    match name:
        case "bald":
            if tools.decoder is None:
                raise InvalidInput(
                    f"acquisition 'bald' needs a decoder with dropout, which {tools.segmenter.name} has not; "
                    "choose 'disagreement'"
                )
            return BALD(tools.decoder)
        case "core-set":
            return CoreSet()
        case "typicality":
            return Typicality()
        case "correction-cost":
            return PerSecond(signals["disagreement"])
        case "random":
            return Chance()
        case "hybrid":
            second = signals["predicted-iou"] if tools.decoder is None else BALD(tools.decoder)
            doubts: list[AcquisitionFunction] = [signals["disagreement"], second]
            if tools.classes > 1:
                doubts.append(signals["class-entropy"])
            return Hybrid(tuple(doubts))
    if name not in signals:
        raise InvalidInput(f"acquisition {name!r} is unknown; choose one of {', '.join(NAMES)}")
    return signals[name]


def needed_signals(function: AcquisitionFunction) -> tuple[Signal, ...]:
    """What must be measured on every image for a function, each once; none for those that need no look."""
    match function:
        case Signal():
            return (function,)
        case PerSecond(information=information):
            return needed_signals(information)
        case Hybrid(uncertainty=parts):
            found = {signal.name: signal for part in parts for signal in needed_signals(part)}
            return tuple(found.values())
    return ()
