"""Pictures into a folder per tag: copies, or hard links where asked; nothing is overwritten."""

import filecmp
import os
import re
import shutil
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edge.dataset.folder import check_outside
from edge.errors import OutputError
from edge.progress import Step
from edge.runtime.files import beside, rename_new
from edge.tagging.tags import Tagged

# What Windows, macOS or FAT refuse in names, and control characters.
_FORBIDDEN: Final = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
LONGEST: Final = 120  # bytes of a folder's name; file systems take 255


def check_place(directory: Path, target: Path) -> None:
    """Refuse a place whose copies the next run would tag as new pictures.

    Raises:
        UsageError: The place is in the folder of the pictures.
        OutputError: The place is a file.
    """
    if target.exists() and not target.is_dir():
        raise OutputError(f"--copy-to {target} is no folder", hint="Name a folder.")
    check_outside(target, directory, option="--copy-to")


def folder_names(labels: Sequence[str]) -> dict[str, str]:
    """A folder for each label, fit for any file system and different in any case of letters."""
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
        directory: That was tagged.
        pictures: With their tags.
        target: The folders go below.
        link: Make hard links, which take no space and share every later change.
        step: Told of each picture.

    Returns:
        How many were written, and how many lay there already.

    Raises:
        OutputError: A file cannot be written, or linked.
    """
    names = folder_names([tag.label for picture in pictures for tag in picture.tags])
    written = there = 0
    for picture in pictures:
        for tag in picture.tags:
            if _place(directory / picture.path, target / names[tag.label], link=link):
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


def _place(source: Path, folder: Path, *, link: bool) -> bool:
    """Whether the file had to be written; a file of the same content is the copy of an earlier run.

    The name of another picture gets a number: IMG_1 (2).jpg.
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
                pass  # it came in meanwhile
            if target.is_file() and filecmp.cmp(source, target, shallow=False):
                return False
            number += 1
            target = folder / f"{source.stem} ({number}){source.suffix}"
    except OSError as error:
        why = error.strerror or str(error)
        hint = "Leave out --link." if link else "Free some space, or choose another --copy-to."
        raise OutputError(f"{source} cannot be put into {folder}: {why}", hint=hint) from error


def _put(source: Path, target: Path, *, link: bool) -> None:
    """Copy or link to a name that nothing has.

    Raises:
        FileExistsError: Something has it meanwhile.
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
