"""Pictures in a folder per tag: copies, or hard links if asked; nothing is overwritten."""

import filecmp
import os
import re
import shutil
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edge.dataset.folder import check_outside
from edge.errors import OutputError, cause_of
from edge.progress import Step
from edge.runtime.files import beside, rename_new
from edge.tagging.tags import Tagged

# What Windows, macOS or FAT refuse in names, and all control characters.
_FORBIDDEN: Final = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
LONGEST: Final = 120  # bytes of the name of a folder; file systems take 255


def check_copies(directory: Path, target: Path) -> None:
    """Refuse a folder whose copies the next run would tag as new pictures.

    Raises:
        UsageError: The folder lies within that of the pictures.
        OutputError: It is a file.
    """
    if target.exists() and not target.is_dir():
        raise OutputError(f"--copy-to {target} is not a folder", hint="Name a folder.")
    check_outside(target, directory, option="--copy-to")


def folder_names(labels: Sequence[str]) -> dict[str, str]:
    """Name a folder for each label, fit for any file system and unique whatever the case is."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for label in sorted(set(labels)):
        base = _fit(label)
        name, number = base, 1
        while name.casefold() in taken:
            number += 1
            name = f"{base} ({number})"
        taken.add(name.casefold())
        names[label] = name
    return names


def copy_tagged(
    directory: Path, pictures: Sequence[Tagged], target: Path, *, link: bool, step: Step
) -> tuple[int, int]:
    """Put each picture into the folder of each of its tags.

    Args:
        directory: The folder that was tagged.
        pictures: The pictures with their tags.
        target: The folder in which a folder per tag is made.
        link: Whether to make hard links, which take no space and share every later change.
        step: It is told of each picture.

    Returns:
        The number of files that were written, and of those that lay there already.

    Raises:
        OutputError: A file cannot be written, or linked.
    """
    names = folder_names([tag.label for picture in pictures for tag in picture.tags])
    written = there = 0
    for picture in pictures:
        for tag in picture.tags:
            if _put_once(directory / picture.path, target / names[tag.label], link=link):
                written += 1
            else:
                there += 1
        step(1)
    return written, there


def _fit(label: str) -> str:
    text = _FORBIDDEN.sub("_", unicodedata.normalize("NFC", label)).strip().strip(".").strip()
    text = text.encode("utf-8", errors="replace")[:LONGEST].decode("utf-8", errors="ignore").strip()
    if not text or _RESERVED.fullmatch(text):
        text = f"_{text}"
    return text


def _put_once(source: Path, folder: Path, *, link: bool) -> bool:
    """Put a picture into a folder unless it holds it; return whether it had to be written.

    If another picture has the name, a number is added: IMG_1 (2).jpg.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        number, target = 1, folder / source.name
        while True:
            try:
                if not os.path.lexists(target):
                    _put(source, target, link=link)
                    return True
            except FileExistsError:
                pass  # another program has just written it
            if target.is_file() and filecmp.cmp(source, target, shallow=False):
                return False
            number += 1
            target = folder / f"{source.stem} ({number}){source.suffix}"
    except OSError as error:
        why = cause_of(error)
        hint = "Leave out --link." if link else "Free some space, or choose another --copy-to."
        raise OutputError(f"{source} cannot be put into {folder}: {why}", hint=hint) from error


def _put(source: Path, target: Path, *, link: bool) -> None:
    """Copy or link to a name that is free.

    Raises:
        FileExistsError: The name has been taken meanwhile.
    """
    if link:
        os.link(source.resolve(), target)
        return
    temporary = beside(target)
    try:
        shutil.copy2(source, temporary)  # with its times, which photo programs sort by
        rename_new(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
