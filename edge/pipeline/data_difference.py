"""What differs between the images that a lock names and those of a folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edge.pipeline.inputs import Images, flat, folder_hashes


@dataclass(frozen=True, slots=True, kw_only=True)
class DataDifference:
    """By path below the folder, each sorted.

    Attributes:
        images: How many the lock names.
        missing: Named by the lock, and not there.
        altered: There, with other bytes.
        extra: There, and not named by the lock.
        moved: (path then, path now) of bytes that lie elsewhere; such a path is neither missing
            nor extra.
    """

    images: int
    missing: tuple[str, ...]
    altered: tuple[str, ...]
    extra: tuple[str, ...]
    moved: tuple[tuple[str, str], ...]

    @property
    def is_same(self) -> bool:
        """Whether every image is as it was."""
        return not (self.missing or self.altered or self.extra or self.moved)

    @property
    def is_foreign(self) -> bool:
        """Whether not one image is there, in whatever place."""
        return self.images == len(self.missing) + len(self.altered)

    @property
    def other_class(self) -> tuple[tuple[str, str], ...]:
        """Those of ``moved`` that lie in another folder now."""
        return tuple(
            (then, now)
            for then, now in self.moved
            if PurePosixPath(then).parent != PurePosixPath(now).parent
        )


def data_difference(images: Images, root: Path) -> DataDifference:
    """Compare a folder with what a lock says of it.

    Raises:
        DataError: No such folder, or no image in it.
    """
    return between(flat(images), folder_hashes(root))


def between(then: Mapping[str, str], now: Mapping[str, str]) -> DataDifference:
    """The difference of two folders: path -> sha256."""
    missing = sorted(then.keys() - now.keys())
    extra = sorted(now.keys() - then.keys())
    by_content: dict[str, list[str]] = {}
    for path in extra:
        by_content.setdefault(now[path], []).append(path)
    moved = []
    for path in missing:
        places = by_content.get(then[path])
        if places:
            moved.append((path, places.pop(0)))
    gone, come = {path for path, _ in moved}, {path for _, path in moved}
    return DataDifference(
        images=len(then),
        missing=tuple(path for path in missing if path not in gone),
        altered=tuple(sorted(path for path in then if now.get(path, then[path]) != then[path])),
        extra=tuple(path for path in extra if path not in come),
        moved=tuple(moved),
    )
