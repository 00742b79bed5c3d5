"""Which pictures the words of a command line mean: files, folders of them, standard input."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edge.errors import ImageError, UsageError
from edge.runtime.bundle import is_bundle
from edge.runtime.files import readable
from edge.runtime.image import image_suffixes

STANDARD_INPUT: Final = "-"
# What macOS archives and Synology devices leave behind: thumbnails, not pictures of the user.
LITTER: Final = frozenset({"__MACOSX", "@eaDir"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture that was asked for.

    Attributes:
        name: What answers and messages call it.
        path: Of its file; None: it is what standard input holds.
        problem: Why there is none, such as a folder without a picture; empty: there may be one.
    """

    name: str
    path: Path | None = None
    problem: str = ""

    def read(self) -> Path | bytes:
        """What ``Classifier.classify`` takes.

        Raises:
            ImageError: There is no picture.
        """
        if self.problem:
            raise ImageError(self.problem)
        if self.path is not None:
            return self.path
        if sys.stdin.isatty():
            print("note: reading one picture from standard input", file=sys.stderr)
        return sys.stdin.buffer.read()


def pictures(words: Sequence[str]) -> tuple[list[Picture], list[str]]:
    """The pictures, in the order of the words, and sentences on what in folders is left out.

    A folder means every picture file in it and below, sorted by path. A word that leads to none
    stays in its place as a picture with a problem, so that the others are still answered.

    Raises:
        UsageError: Standard input is named twice.
    """
    if words.count(STANDARD_INPUT) > 1:
        raise UsageError(
            "standard input, -, is named twice", hint="It holds one picture; name it once."
        )
    found: list[Picture] = []
    notes: list[str] = []
    for word in words:
        path = Path(word)
        if word == STANDARD_INPUT:
            found.append(Picture(name=word))
        elif path.is_dir():
            inside, left_out = _inside(path)
            found += inside
            notes += left_out
        else:
            found.append(Picture(name=readable(path), path=path))
    return found, notes


def _inside(folder: Path) -> tuple[list[Picture], list[str]]:
    """The pictures of a folder, and what else lies there."""
    shown = readable(folder)
    if is_bundle(folder):
        return [Picture(name=shown, problem=f"{shown} is a bundle, not a folder of pictures")], []
    found = walk(folder)
    notes = [f"{readable(path)} is a bundle: its pictures are not used" for path in found.bundles]
    if found.others:
        kinds = ", ".join(
            f"{suffix or 'no suffix'} {n}" for suffix, n in found.others.most_common()
        )
        count = sum(found.others.values())
        notes.append(f"{shown}: {count} other file{'s' * (count != 1)} not used ({kinds})")
    inside = [Picture(name=readable(path), path=path) for path in found.images]
    inside += [Picture(name=readable(path), problem=why) for path, why in found.problems.items()]
    if not inside:
        suffixes = ", ".join(sorted(image_suffixes()))
        inside = [Picture(name=shown, problem=f"{shown} holds no picture ({suffixes})")]
    return inside, notes


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """What lies below a folder.

    Attributes:
        images: Picture files, sorted by their path from the folder.
        others: Lower-case suffixes of the other files, counted.
        bundles: Folders that are bundles of edge; they are not looked into.
        problems: Why a folder could not be read, by its path.
    """

    images: tuple[Path, ...]
    others: Counter[str]
    bundles: tuple[Path, ...]
    problems: dict[Path, str]


def walk(folder: Path) -> Walk:
    """Look through a folder and those below it.

    Hidden names are left out. Links are followed; each folder is entered once, so that loops end.
    Nothing depends on the order in which a file system lists names.
    """
    images: list[Path] = []
    bundles: list[Path] = []
    others: Counter[str] = Counter()
    problems: dict[Path, str] = {}
    entered: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        place = waiting.pop(0)
        try:
            status = place.stat()
            entries = sorted(place.iterdir())
        except OSError as error:
            problems[place] = f"the folder {readable(place)} cannot be read: {error.strerror}"
            continue
        if (status.st_dev, status.st_ino) in entered:
            continue
        entered.add((status.st_dev, status.st_ino))
        for path in entries:
            if path.name.startswith(".") or path.name in LITTER:
                continue
            if path.is_dir():
                (bundles if is_bundle(path) else waiting).append(path)
            elif path.suffix.lower() in image_suffixes():
                images.append(path)
            else:
                others[path.suffix.lower()] += 1
    images.sort(key=lambda path: path.relative_to(folder).as_posix())
    return Walk(images=tuple(images), others=others, bundles=tuple(bundles), problems=problems)
