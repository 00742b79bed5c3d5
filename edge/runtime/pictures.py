"""Which pictures the words of a command line mean: files, folders of them, standard input."""

import os
import re
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from edge.errors import ImageError, UsageError
from edge.runtime import checked
from edge.runtime.bundle import MANIFEST_NAME, MAX_MANIFEST, is_bundle
from edge.runtime.files import readable
from edge.runtime.frozen import frozen_dataclass
from edge.runtime.image import image_suffixes, unread
from edge.runtime.image_bounds import read_pipe
from edge.runtime.streams import say

STANDARD_INPUT: Final = "-"
# What macOS archives and Synology devices leave behind: thumbnails, not pictures of the user.
LITTER: Final = frozenset({"__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini"})
_EXPLANATION: Final = "explanation.json"  # what edge explain leaves beside its pictures
_STAGE: Final = re.compile(r"[\w-]+-[0-9a-f]{40}")  # name of a folder in a cache; see edge.cache


@frozen_dataclass(kw_only=True)
class NamedPicture:
    """A picture that was asked for.

    Attributes:
        name: What answers and messages call it.
        path: The path of its file; None where it is what standard input holds.
        problem: Why there is none, such as a folder without a picture; empty: there may be one.
        hint: What to do about the problem.
    """

    name: str
    path: Path | None = None
    problem: str = ""
    hint: str = ""

    def read(self) -> Path | bytes:
        """Return what ``Classifier.classify`` takes.

        Raises:
            ImageError: There is no picture, or standard input is longer than one.
        """
        if self.problem:
            raise ImageError(self.problem, hint=self.hint)
        if self.path is not None:
            return self.path
        if sys.stdin.isatty():
            say("note: reading one picture from standard input", err=True)
        return read_pipe(sys.stdin.buffer, self.name)


def pictures(words: Sequence[str]) -> tuple[list[NamedPicture], list[str]]:
    """Return the pictures, in the order of the words, and sentences on what in folders is left out.

    A folder means every picture file in it and below, sorted by path. A word that leads to none
    stays in its place as a picture with a problem, so that the others are still answered.

    Raises:
        UsageError: Standard input is named twice.
    """
    if words.count(STANDARD_INPUT) > 1:
        raise UsageError(
            "standard input, -, is named twice", hint="It holds one picture; name it once."
        )
    named: list[NamedPicture] = []
    notes: list[str] = []
    for word in words:
        path = Path(word)
        if word == STANDARD_INPUT:
            named.append(NamedPicture(name=word))
        elif os.path.isdir(path):  # noqa: PTH112  # Path.is_dir raises where a name is too long
            inside, left_out = _inside(path)
            named += inside
            notes += left_out
        else:
            named.append(_named(path))
    return named, notes


def _named(path: Path) -> NamedPicture:
    """Return the picture at a path, or why there is none."""
    name = readable(path)
    try:
        path.stat()
    except OSError as error:
        refused = unread(name, error)
        return NamedPicture(name=name, problem=refused.message, hint=refused.hint)
    return NamedPicture(name=name, path=path)


def _inside(folder: Path) -> tuple[list[NamedPicture], list[str]]:
    """Return the pictures of a folder, and what else lies there."""
    shown = readable(folder)
    if is_bundle(folder):
        return [
            NamedPicture(name=shown, problem=f"{shown} is a bundle, not a folder of pictures")
        ], []
    listed = walk(folder)
    notes = [f"{readable(path)} was written by edge: it is not entered" for path in listed.outputs]
    if listed.others:
        kinds = ", ".join(
            f"{suffix or 'no suffix'} {n}" for suffix, n in listed.others.most_common()
        )
        count = sum(listed.others.values())
        notes.append(f"{shown}: {count} other file{'s' * (count != 1)} not used ({kinds})")
    inside = [NamedPicture(name=readable(path), path=path) for path in listed.images]
    inside += [
        NamedPicture(name=readable(path), problem=why) for path, why in listed.problems.items()
    ]
    if not inside:
        suffixes = ", ".join(sorted(image_suffixes()))
        inside = [NamedPicture(name=shown, problem=f"{shown} holds no picture ({suffixes})")]
    return inside, notes


@frozen_dataclass(kw_only=True)
class Entries:
    """What lies in one folder, not below; sorted by name, hidden ones left out.

    Attributes:
        others: Lower-case suffixes of files that are no pictures, and say nothing of one as an
            answer or a sidecar does; "" for none.
        folders: Sub-folders.
        images: Files whose suffix says that they are pictures.
        outputs: Sub-folders that edge itself wrote.
    """

    others: tuple[str, ...]
    folders: tuple[Path, ...]
    images: tuple[Path, ...]
    outputs: tuple[Path, ...]


@frozen_dataclass(kw_only=True)
class Walk:
    """What lies below a folder.

    Attributes:
        images: Picture files, sorted by their path from the folder.
        others: Lower-case suffixes of the other files, counted.
        outputs: Folders that edge itself wrote; they are not looked into.
        problems: Why a folder could not be read, by its path.
        entered: Device and inode of every folder that was looked into.
    """

    images: tuple[Path, ...]
    others: Counter[str]
    outputs: tuple[Path, ...]
    problems: dict[Path, str]
    entered: frozenset[tuple[int, int]]


def walk(folder: Path) -> Walk:
    """Look through a folder and those below it.

    Links are followed; each folder is entered once, so that loops end.
    """
    images: list[Path] = []
    outputs: list[Path] = []
    others: Counter[str] = Counter()
    problems: dict[Path, str] = {}
    entered: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        place = waiting.pop(0)
        try:
            status = place.stat()
            if (status.st_dev, status.st_ino) in entered:
                continue
            inside = entries(place)
        except OSError as error:
            problems[place] = f"the folder {readable(place)} cannot be read: {error.strerror}"
            continue
        entered.add((status.st_dev, status.st_ino))
        images += inside.images
        others.update(inside.others)
        outputs += inside.outputs
        waiting += inside.folders
    images.sort(key=lambda path: path.relative_to(folder).as_posix())
    return Walk(
        images=tuple(images),
        others=others,
        outputs=tuple(outputs),
        problems=problems,
        entered=frozenset(entered),
    )


def entries(folder: Path) -> Entries:
    """Return what lies in one folder.

    Broken links count as files, so that a picture that is not there is reported. Pipes, sockets and
    devices do not, nor links to them: to open one may be to wait for ever. Nothing depends
    on the order in which a file system lists the names.

    Raises:
        OSError: The folder cannot be read.
    """
    others: list[str] = []
    folders: list[Path] = []
    images: list[Path] = []
    outputs: list[Path] = []
    suffixes = image_suffixes()
    with os.scandir(folder) as scanned:
        for entry in sorted(scanned, key=lambda entry: entry.name):
            path = folder / entry.name
            if entry.name.startswith(".") or entry.name in LITTER or _accompanies(path, suffixes):
                continue
            # A link to itself makes DirEntry.is_dir() raise where Path.is_dir() says no.
            target = path if entry.is_symlink() else entry
            if target.is_dir():
                (outputs if is_own_output(path) else folders).append(path)
            elif path.suffix.lower() not in suffixes:
                others.append(readable(Path(path.suffix.lower())) if path.suffix else "")
            elif target.is_file() or (target is path and not path.exists()):
                images.append(path)
    return Entries(
        others=tuple(others),
        folders=tuple(folders),
        images=tuple(images),
        outputs=tuple(outputs),
    )


def _accompanies(path: Path, suffixes: Collection[str]) -> bool:
    """Return whether a name is that of what is said of a picture: its answer, or a sidecar."""
    kind = path.suffix.lower()
    return kind == ".xmp" or (kind == ".json" and Path(path.stem).suffix.lower() in suffixes)


def is_own_output(directory: Path) -> bool:
    """Return whether edge wrote a folder: a bundle, an explanation, or a cache."""
    try:
        if (directory / _EXPLANATION).is_file():
            return True
        stages = directory / "stages"
        if stages.is_dir() and any(_STAGE.fullmatch(path.name) for path in stages.iterdir()):
            return True
        manifest = directory / MANIFEST_NAME
        value = checked.read_json(manifest, max_bytes=MAX_MANIFEST)
    except (OSError, ValueError):
        return False
    return isinstance(value, dict) and {"schema_version", "preprocessing", "files"} <= set(value)
