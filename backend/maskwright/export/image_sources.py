"""Image files for an export from a folder of the user's own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from maskwright.errors import InvalidInput

_UPLOAD_MARK = re.compile(r"^[0-9a-f]{8}-")


@dataclass(frozen=True)
class FolderImages:
    """Finds the images of tasks in a folder. Can be pickled.

    An image is looked for under its path, then under its bare name, then without the eight hex digits that Label Studio
    puts before the names of uploads. Links that lead out of the folder are not followed.

    Attributes:
        folder: The folder.
        largest: Bytes of the largest file that is read.
    """

    folder: Path
    largest: int = 1 << 30

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise InvalidInput(f"there is no folder {self.folder}")

    def __call__(self, source: str, file_name: str) -> bytes | None:
        """The encoded file of an image, or None where it is not there.

        Args:
            source: Its address at the platform; not used.
            file_name: Its name in the dataset, see :func:`maskwright.export.file_names.file_name`.
        """
        name = PurePosixPath(file_name).name
        for candidate in dict.fromkeys((file_name, name, _UPLOAD_MARK.sub("", name))):
            found = self._read(candidate)
            if found is not None:
                return found
        return None

    def _read(self, relative: str) -> bytes | None:
        try:
            path = (self.folder / relative).resolve()
            if not path.is_relative_to(self.folder.resolve()) or not path.is_file():
                return None
            return path.read_bytes() if path.stat().st_size <= self.largest else None
        except (OSError, ValueError, RuntimeError):
            return None
