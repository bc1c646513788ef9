"""The images of a COCO file in a folder: found without leaving it, and their sizes as displayed."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from maskwright.errors import InvalidInput, MaskwrightError, TooLarge
from maskwright.export.coco_entries import CocoImage, by, shown
from maskwright.images import ImageHeader, ImageLimits, read_header
from maskwright.masks import Size

_HEAD_BYTES = 1 << 16


def find_image(folder: Path, file_name: str) -> Path | None:
    """The file that a COCO file names, or None where it is not there; see :func:`locate_image`.

    Raises:
        InvalidInput: If the name leads out of the folder, or cannot be a file's name.
    """
    try:
        root, path = folder.resolve(), (folder / file_name).resolve()
        inside, there = path.is_relative_to(root), path.is_file()
    except (OSError, ValueError, RuntimeError) as error:
        raise InvalidInput(f"file_name {shown(file_name)} cannot be a file's name") from error
    if not inside:
        raise InvalidInput(f"file_name {shown(file_name)} leads out of the folder of images; name a file inside it")
    return path if there else None


def locate_image(folder: Path, file_name: str) -> Path:
    """The file that a COCO file names, which must lie in a folder wherever links lead.

    Raises:
        InvalidInput: If it is not there or lies elsewhere.
    """
    path = find_image(folder, file_name)
    if path is None:
        raise InvalidInput(f"there is no file {shown(file_name)} in the folder of images")
    return path


class ImageFolder:
    """A folder of images. Symbolic links are followed only while they stay inside.

    Args:
        folder: The folder.
        limits: What files are accepted.

    Attributes:
        missing: File names as written, of images that are not there.
        unreadable: Sentences about files that are there, but are no images.

    Raises:
        InvalidInput: If there is no such folder.
    """

    def __init__(self, folder: Path, limits: ImageLimits) -> None:
        if not folder.is_dir():
            raise InvalidInput(f"there is no folder {folder}")
        self._folder, self._limits = folder, limits
        self.missing: list[str] = []
        self.unreadable: list[str] = []

    def path_of(self, file_name: str) -> str:
        """The POSIX path in the folder that a file name means.

        It is looked up as it is; then, where it begins with the folder's own name (``images/a.png`` in ``images/``),
        without that. A file that is not there keeps its name.

        Raises:
            InvalidInput: If it leads out of the folder, or cannot be a file's name.
        """
        return self._find(file_name)[0]

    def size_of(self, image: CocoImage) -> Size | None:
        """(H, W) in pixels of an image as displayed (EXIF orientation applied), or None where its file is not there.

        Raises:
            InvalidInput: If the COCO file gives another size, or its name leads out of the folder.
        """
        try:
            _, path = self._find(image.file_name)
        except InvalidInput as error:
            raise InvalidInput(f"{image.title}: {error}") from error
        if path is None:
            self.missing.append(image.file_name)
            return image.size
        try:
            header = self._header(path)
        except (MaskwrightError, OSError) as error:
            self.unreadable.append(f"{image.title}, {shown(image.file_name)}: {error}")
            return image.size
        if image.size is not None and header.size != image.size:
            turned = f" (turned as its EXIF orientation {header.orientation} says)" if header.orientation > 1 else ""
            raise InvalidInput(
                f"{image.title} is {by(image.size)} pixels, but its file {shown(image.file_name)} shows "
                f"{by(header.size)}{turned}; the COCO file must describe the image as displayed"
            )
        return header.size

    def _find(self, file_name: str) -> tuple[str, Path | None]:
        """Path in the folder, and the file if it is there."""
        name = PurePosixPath(file_name)
        path = find_image(self._folder, file_name)
        if path is None and len(name.parts) > 1 and name.parts[0] == self._folder.resolve().name:
            shorter = PurePosixPath(*name.parts[1:])
            path = find_image(self._folder, shorter.as_posix())
            name = name if path is None else shorter
        return name.as_posix(), path

    def _header(self, path: Path) -> ImageHeader:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            try:
                # Nearly every format tells its size at the beginning, and a folder may hold gigabytes.
                return read_header(head, limits=self._limits)
            except TooLarge:
                raise
            except InvalidInput:
                return read_header(head + file.read(self._limits.max_bytes + 1), limits=self._limits)
