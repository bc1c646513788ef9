"""Where the free pictures come from, under which licences, and how their files are found on this machine.

Nothing is downloaded here: the packages are installed by whoever trains.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from maskwright.errors import InvalidInput, ModelUnavailable
from maskwright.learn.base.qt_resources import QtResources


@dataclass(frozen=True)
class Package:
    """A package whose pictures are learnt from.

    Attributes:
        name: To install it by.
        licence: Of the pictures that are used, as the package's copyright file states it.
        used: What is taken from it.
        folder: Where its pictures lie below the root, for a Debian package; the import name of a Python package.
        debian: Whether ``apt-get`` installs it; ``pip`` does otherwise.
    """

    name: str
    licence: str
    used: str
    folder: str
    debian: bool = True


PACKAGES = {
    package.name: package
    for package in (
        Package(
            "gcompris-qt-data",
            "per picture: GPL-3+, GPL-2+, CC BY-SA 2.0-4.0, CC BY 1.0-3.0, public domain, CC0, GFDL 1.2",
            "photographs of the activities on animals, monuments, music and categories",
            "usr/share/gcompris-qt/rcc",
        ),
        Package("mate-backgrounds", "GPL-2+", "photographs of nature", "usr/share/backgrounds/mate"),
        Package("plasma-workspace-wallpapers", "GPL-2+", "photographs and pictures", "usr/share/wallpapers"),
        Package("tuxpaint-stamps-default", "GPL-2", "cut-outs of photographs, drawings", "usr/share/tuxpaint/stamps"),
        Package("openclipart-png", "public domain", "cut-outs of drawings", "usr/share/openclipart/png"),
        Package(
            "fonts-noto-color-emoji", "SIL Open Font License 1.1", "cut-outs of drawings",
            "usr/share/fonts/truetype/noto",
        ),
        Package("tango-icon-theme", "public domain", "small cut-outs of drawings", "usr/share/icons/Tango"),
        Package("scikit-image", "CC0 or public domain", "photographs and textures", "skimage", debian=False),
        Package("scikit-learn", "CC BY 2.0", "two photographs", "sklearn", debian=False),
    )
}  # fmt: skip
"""What the weights learn from beside the nuclei (2018 Data Science Bowl, CC0). The model card quotes this table."""
PYTHON_FOLDERS = {"scikit-image": "data", "scikit-learn": "datasets/images"}
MOST_BYTES = 64 << 20


class Corpus:
    """The installed packages.

    Args:
        root: Below which the Debian packages are installed.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._containers: dict[str, QtResources] = {}

    def folder(self, name: str) -> Path | None:
        """Where a package's pictures lie, None if it is not installed. Python packages are not imported."""
        package = PACKAGES[name]
        if package.debian:
            folder = self._root / package.folder
            return folder if folder.is_dir() else None
        spec = importlib.util.find_spec(package.folder)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            if (inside := Path(place) / PYTHON_FOLDERS[name]).is_dir():
                return inside
        return None

    def require(self, names: Iterable[str]) -> None:
        """Check that packages are installed.

        Raises:
            ModelUnavailable: If some are not; the message says how to install them all.
        """
        missing = [PACKAGES[name] for name in names if self.folder(name) is None]
        ways = [
            f"'{command} {' '.join(p.name for p in missing if p.debian == debian)}'"
            for command, debian in (("apt-get install", True), ("pip install", False))
            if any(p.debian == debian for p in missing)
        ]
        if ways:
            raise ModelUnavailable(f"pictures to learn from are missing: run {' and '.join(ways)}")

    def photograph(self, key: str, sha256: str) -> bytes | None:
        """The encoded picture that a key names, None if it is not installed or has another content.

        Args:
            key: ``package:container.rcc:/path/inside``, ``package:/path/below/the/root``, or ``package:file`` for a
                Python package.
            sha256: Hex digest that the encoded file must have.

        Raises:
            InvalidInput: If the key is not of that form, or the container is damaged.
        """
        package, _, place = key.partition(":")
        parts = PurePosixPath(place.rpartition(":")[2]).parts
        if package not in PACKAGES or not parts or ".." in parts:
            raise InvalidInput(f"photograph: {key!r} is not PACKAGE:FILE of a known package")
        if (folder := self.folder(package)) is None:
            return None
        if ".rcc:" in place:
            container, _, inside = place.partition(":")
            if container not in self._containers:
                if "/" in container or not (folder / container).is_file():
                    return None
                self._containers[container] = QtResources.open(folder / container)
            content = self._containers[container].read(inside) if inside in self._containers[container].names else b""
        else:
            path = self._root / place.lstrip("/") if PACKAGES[package].debian else folder / place
            content = path.read_bytes() if path.is_file() and path.stat().st_size <= MOST_BYTES else b""
        return content if hashlib.sha256(content).hexdigest() == sha256 else None

    def release(self) -> None:
        """Forget the containers that were opened."""
        self._containers.clear()
