"""Where an export finds image files: what is asked of a platform, and a folder of the user's own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from maskwright.errors import InvalidInput, NotFound, TooLarge

_UPLOAD_MARK = re.compile(r"^[0-9a-f]{8}-")


class ImageFetcher(Protocol):
    """Finds image files. A value that can be pickled; threads may share it."""

    def __call__(self, source: str, file_name: str, task: str) -> bytes:
        """The encoded file of an image.

        Args:
            source: Its address at the platform.
            file_name: Its name in the dataset, see :func:`maskwright.export.file_names.file_name`.
            task: Key of the task that it belongs to: some addresses mean something only on their task.

        Raises:
            MaskwrightError: If it cannot be had; the message says why.
        """
        ...


@dataclass(frozen=True)
class FolderImages:
    """Finds the images of tasks in a folder. Can be pickled.

    An image is looked for under its path, then under its bare name, then without the eight hex digits that Label Studio
    puts before the names of uploads. Links that lead out of the folder are not followed.

    Attributes:
        folder: The folder.
        largest: Bytes of the largest file that is read.
        refused: Files of the folder that are not taken for images of another path: several images would get them.
    """

    folder: Path
    largest: int = 1 << 30
    refused: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise InvalidInput(f"there is no folder {self.folder}")

    def __call__(self, source: str, file_name: str, task: str) -> bytes:
        """The encoded file of an image; only its name in the dataset is used. See ``ImageFetcher``.

        Raises:
            NotFound: If it is not there.
            TooLarge: If it is larger than allowed.
        """
        found = self.find(file_name)
        if found is None:
            raise NotFound(f"the folder of images has no file {PurePosixPath(file_name).name!r}")
        if found != file_name and found in self.refused:
            raise NotFound(
                f"the folder of images has a file {found!r}, but images of several addresses are called so; put each "
                f"under its path, this one under {file_name!r}"
            )
        return self._read(found)

    def find(self, file_name: str) -> str | None:
        """Where in the folder the file of an image is: a relative POSIX path, or None.

        Raises:
            NotFound: If the folder cannot be looked at.
        """
        name = PurePosixPath(file_name).name
        candidates = dict.fromkeys((file_name, name, _UPLOAD_MARK.sub("", name)))
        return next((candidate for candidate in candidates if self._is_there(candidate)), None)

    def _is_there(self, relative: str) -> bool:
        try:
            path = (self.folder / relative).resolve()
            return path.is_relative_to(self.folder.resolve()) and path.is_file()
        except OSError as error:
            raise NotFound(f"the file {relative!r} cannot be read: {error.strerror or type(error).__name__}") from error
        except (ValueError, RuntimeError):
            return False

    def _read(self, relative: str) -> bytes:
        try:
            path = self.folder / relative
            if path.stat().st_size > self.largest:
                raise TooLarge(
                    f"the file {relative!r} is larger than {self.largest} bytes (MASKWRIGHT_MAX_IMAGE_BYTES)"
                )
            return path.read_bytes()
        except OSError as error:
            raise NotFound(f"the file {relative!r} cannot be read: {error.strerror or type(error).__name__}") from error
