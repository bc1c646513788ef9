"""Pack the regions that annotators drew on the photographs into the file that the recipe reads.

Run: python -m maskwright.learn.base.collect MANIFEST MASKS [--out FILE]

``MANIFEST`` is a JSON object of photographs: id to ``source`` (key as in ``corpus.Corpus.photograph``) and ``sha256``
of the encoded file. ``MASKS`` is a folder with ``ID.json``: a list of regions with ``name``, ``size`` and ``counts``
(COCO run lengths, compressed). Photographs without masks are listed too; scenes use them as backgrounds. The same
input gives the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path

from maskwright.errors import InvalidInput
from maskwright.learn.base.photographs import PACKED
from maskwright.masks import Mask


def packed(manifest: Path, masks: Path) -> tuple[bytes, int, int]:
    """The packed file, how many photographs it lists, and how many regions.

    Raises:
        InvalidInput: If a mask file is damaged or names nothing in the manifest.
    """
    listed = json.loads(manifest.read_text())
    if unknown := sorted({path.stem for path in masks.glob("*.json")} - set(listed)):
        raise InvalidInput(f"{unknown[0]}.json: no such photograph in {manifest.name}")
    photographs = []
    for name, item in listed.items():
        path = masks / f"{name}.json"
        try:
            regions = json.loads(path.read_text()) if path.is_file() else []
            for region in regions:
                Mask.from_coco(region)
            regions = [{key: region[key] for key in ("name", "size", "counts")} for region in regions]
        except (ValueError, KeyError, TypeError, InvalidInput) as error:
            raise InvalidInput(f"{path.name}: not a list of regions with name, size and counts") from error
        photographs.append({"source": item["source"], "sha256": item["sha256"], "regions": regions})
    photographs.sort(key=lambda photograph: (photograph["source"], photograph["sha256"]))
    text = json.dumps({"photographs": photographs}, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    count = sum(len(photograph["regions"]) for photograph in photographs)
    return gzip.compress(text.encode(), mtime=0), len(photographs), count


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("masks", type=Path)
    parser.add_argument("--out", type=Path, default=PACKED)
    arguments = parser.parse_args()
    content, photographs, regions = packed(arguments.manifest, arguments.masks)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_bytes(content)
    print(f"{photographs} photographs, {regions} regions, {len(content) / 1e6:.2f} MB in {arguments.out.name}")


if __name__ == "__main__":
    main()
