"""Images to score: each with its content hash and, where it can be told, its class."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from edge.dataset.folder import list_images
from edge.errors import DataError, ImageError
from edge.runtime.files import sha256_file
from edge.runtime.preprocess import load
from edge.runtime.spec import Preprocessing
from edge.threads import in_threads

WNID: Final = re.compile(r"(?<![0-9a-z])n\d{8}(?!\d)")  # WordNet id, as ILSVRC names files by


class Hashed(Protocol):
    """An image file by its content."""

    @property
    def path(self) -> Path:
        """Where it lies."""
        ...

    @property
    def sha256(self) -> str:
        """Of its bytes, hex."""
        ...


@dataclass(frozen=True, slots=True)
class Picture:
    """An image to score.

    Attributes:
        path: Where it lies.
        sha256: Of its bytes, hex.
        label: Class index, or None where it is unknown.
    """

    path: Path
    sha256: str
    label: int | None = None


def pictures_root(directory: Path) -> Path:
    """The folder whose images are meant: its ``test/``, where there is one."""
    return directory / "test" if (directory / "test").is_dir() else directory


def find_pictures(
    directory: Path, labels: Sequence[str], wnids: Sequence[str] = ()
) -> tuple[Picture, ...]:
    """Every image below a folder, with the class that its place or its name states.

    The class is the folder right below ``directory`` (or below its ``test/``, where there is
    one), or the WordNet id in the file's or a folder's name.

    Args:
        directory: What to search.
        labels: Of the model; the position is the class index.
        wnids: WordNet ids of the same classes; empty for a model that is not of ImageNet.

    Raises:
        DataError: The folder cannot be read or has no images.
    """
    root = pictures_root(directory)
    paths = list_images(root)
    if not paths:
        raise DataError(f"{root} holds no images", hint="JPEG, PNG, BMP, GIF and WebP are read.")
    by_name = {label: index for index, label in enumerate(labels)}
    by_wnid = {wnid: index for index, wnid in enumerate(wnids)}
    hashes = in_threads(sha256_file, paths)
    return tuple(
        Picture(path, digest, _label(path.relative_to(root), by_name, by_wnid))
        for path, digest in zip(paths, hashes, strict=True)
    )


def _label(relative: Path, by_name: Mapping[str, int], by_wnid: Mapping[str, int]) -> int | None:
    if len(relative.parts) > 1 and relative.parts[0] in by_name:
        return by_name[relative.parts[0]]
    found = WNID.search(relative.as_posix()) if by_wnid else None
    return None if found is None else by_wnid.get(found.group())


def unreadable(images: Sequence[Hashed], preprocessing: Preprocessing) -> dict[Path, str]:
    """The images that cannot be decoded, each with the reason; nothing is kept in memory."""

    def problem(image: Hashed) -> str:
        try:
            load(image.path, preprocessing)
        except ImageError as error:
            return error.message
        return ""

    problems = in_threads(problem, images)
    return {image.path: text for image, text in zip(images, problems, strict=True) if text}
