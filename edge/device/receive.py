"""Files from the host: whole and as listed, or not there. What came once does not come again."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final, Self

from edge.errors import BundleError, DeviceError
from edge.runtime.files import fsync_directory, sha256_file

SPARE_BYTES: Final = 64_000_000  # what an upload leaves free, for the system and its logs
MAX_LISTING: Final = 8 << 20  # bytes; a file takes about 150
_PART: Final = ".part"
_BLOCK: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class Listed:
    """A file that is to come: sha256 (hex) and size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Listing:
    """Every file of a folder, by relative path."""

    files: Mapping[str, Listed]

    @classmethod
    def of(cls, files: Mapping[str, tuple[str, int]]) -> Self:
        """Check a listing: sha256 (hex) and size in bytes, by path.

        Raises:
            BundleError: A path leads outside, or a size is negative.
        """
        checked = {_checked_path(path): Listed(*listed) for path, listed in files.items()}
        if any(item.size < 0 for item in checked.values()):
            raise BundleError("a file of negative size is listed")
        return cls(checked)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read ``{path: [sha256, size]}``.

        Raises:
            BundleError: Not such a listing, or a path that leads outside.
        """
        try:
            return cls.of(
                {path: (str(digest), int(size)) for path, (digest, size) in value.items()}
            )
        except (AttributeError, TypeError, ValueError) as error:
            raise BundleError(f"not a listing of files: {error}") from error

    def to_json(self) -> dict[str, list[str | int]]:
        """Return the listing as JSON values."""
        return {path: [item.sha256, item.size] for path, item in self.files.items()}


@dataclass(frozen=True, slots=True)
class Incoming:
    """A folder that is being filled.

    Attributes:
        folder: Kept between two tries, so that the second goes on where the first was cut.
        listing: What it will hold.
    """

    folder: Path
    listing: Listing

    def missing(self) -> dict[str, int]:
        """Return the bytes that are here already of every file that is not whole, by path."""
        lacking = {}
        for path, listed in self.listing.files.items():
            place = self.folder / path
            if _is(place, listed):
                continue
            part = place.with_name(place.name + _PART)
            have = part.stat().st_size if part.is_file() and not part.is_symlink() else 0
            lacking[path] = have if have <= listed.size else 0
        return lacking

    def take(self, folders: Sequence[Path]) -> None:
        """Copy what earlier folders hold already; a hash is trusted only where it is computed."""
        wanted = {path: self.listing.files[path] for path in self.missing()}
        for folder in folders:
            for path in list(wanted):
                if _is(folder / path, wanted[path]):
                    place = self.folder / path
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(folder / path, place)
                    del wanted[path]

    def check_space(self) -> None:
        """Raise where the disk cannot hold what is still to come.

        Raises:
            DeviceError: Too little is free.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        missing = self.missing()
        needed = sum(self.listing.files[path].size - have for path, have in missing.items())
        free = shutil.disk_usage(self.folder).free
        if needed and needed + SPARE_BYTES > free:
            raise DeviceError(
                f"{needed / 1e6:.0f} MB are to come and {SPARE_BYTES / 1e6:.0f} MB stay free, but "
                f"the disk has {free / 1e6:.0f} MB free",
                hint="Free some space there, or keep fewer releases with --keep.",
            )

    def put(self, path: str, offset: int, stream: BinaryIO) -> None:
        """Read the rest of a file, from ``offset`` on; it gets its name when its hash is right.

        Raises:
            BundleError: Not listed, or other bytes than listed.
            EOFError: The stream ended early; what came is kept.
            OSError: The disk is full, say.
        """
        listed = self.listing.files.get(path)
        if listed is None or not 0 <= offset <= listed.size:
            raise BundleError(f"{path!r} is not what was to come")
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(place.name + _PART)
        with part.open("r+b" if offset else "wb") as target:
            target.truncate(offset)
            target.seek(offset)
            for block in _blocks(stream, listed.size - offset):
                target.write(block)
        if sha256_file(part) != listed.sha256:
            part.unlink()
            raise BundleError(
                f"{path} arrived with other bytes than listed (sha256 differs)",
                hint="Run the same command again; if it fails again, the disk may be damaged.",
            )
        part.replace(place)

    def install(self, place: Path) -> None:
        """Check every file, put all of it on the disk, and give the folder its name.

        Raises:
            BundleError: A file is missing, altered, or not listed.
        """
        check_folder(self.folder, self.listing)
        os.sync()  # thousands of files: one sync of all costs less than one of each
        place.parent.mkdir(parents=True, exist_ok=True)
        self.folder.replace(place)
        fsync_directory(place.parent)
        fsync_directory(self.folder.parent)


def check_folder(folder: Path, listing: Listing) -> None:
    """Check that a folder holds exactly the listed files.

    Raises:
        BundleError: The first file that is missing, altered, a link, or not listed.
    """
    for path, listed in listing.files.items():
        if not _is(folder / path, listed):
            raise BundleError(f"{path} is missing or altered on the device (sha256 differs)")
    for path in _files(folder):
        if path not in listing.files:
            raise BundleError(f"{path} is on the device, but nothing lists it")


def _files(folder: Path) -> Iterator[str]:
    """Return everything in a folder that is no folder, but for Python's compiled files."""
    for path in sorted(folder.rglob("*")):
        if "__pycache__" not in path.parts and (path.is_symlink() or not path.is_dir()):
            yield path.relative_to(folder).as_posix()


def _is(path: Path, listed: Listed) -> bool:
    """Return whether the listed file lies there.

    The size is compared first, since it costs nothing.
    """
    try:
        whole = not path.is_symlink() and path.stat().st_size == listed.size
        return whole and sha256_file(path) == listed.sha256
    except OSError:
        return False


def _blocks(stream: BinaryIO, count: int) -> Iterator[bytes]:
    while count:
        block = stream.read(min(_BLOCK, count))
        if not block:
            raise EOFError("the connection ended in the middle of a file")
        count -= len(block)
        yield block


def _checked_path(path: object) -> str:
    """Check that a path is relative, stays inside, and is written in the one way to write it."""
    if not isinstance(path, str) or not path or "\\" in path or "\0" in path:
        raise BundleError(f"{path!r} is no path of a file of a bundle")
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts or pure.as_posix() != path or path == ".":
        raise BundleError(f"{path!r} leads outside the folder")
    if path.endswith(_PART) or "__pycache__" in pure.parts:
        raise BundleError(f"{path!r} is a name that is kept for uploads")
    return path
