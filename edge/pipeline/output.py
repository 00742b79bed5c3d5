"""A bundle on disk is either whole or not there: staged beside its place, then swapped in.

The swap takes what ``check_output`` saw before the work began, and nothing else: what appeared or
changed there meanwhile stays, and the new bundle is kept under another name.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from edge.errors import OutputError
from edge.runtime.bundle import is_bundle
from edge.runtime.files import (
    Stamp,
    changed_meanwhile,
    exchange,
    fsync_directory,
    keep_beside,
    readable,
    rename_new,
)
from edge.runtime.place import check_parent
from edge.staging import NEW, Workplace, left_behind, made_of, remove, workplace

OLD: Final = "old"  # in a workplace, where there is no exchange: what lay there before


@dataclass(frozen=True, slots=True)
class _SeenFolder:
    """A folder as it was looked at.

    Attributes:
        inode: The inode of the folder.
        inside: What lies in it, by relative path (bytes, hex): inode, kind, size and time of
            change (ns) of each file and link; of folders below it the kind alone.
    """

    inode: int
    inside: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, folder: Path) -> Self | None:
        """Return what lies there; None for nothing. A file or a link has nothing inside."""
        stamp = Stamp.of(folder)
        if stamp is None:
            return None
        inside: dict[str, tuple[int, ...]] = {}
        for path in sorted(folder.rglob("*")) if stat.S_ISDIR(stamp.kind) else ():
            below = Stamp.of(path)
            if below is not None:
                is_folder = stat.S_ISDIR(below.kind)
                facts = () if is_folder else (below.inode, below.size, below.mtime_ns)
                inside[os.fsencode(path.relative_to(folder)).hex()] = (below.kind, *facts)
        return cls(stamp.inode, inside)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Read what ``to_json`` gave."""
        inside = {str(name): tuple(map(int, facts)) for name, facts in value["inside"].items()}
        return cls(int(value["inode"]), inside)

    def to_json(self) -> dict[str, Any]:
        """Return the listing as JSON values."""
        return {"inode": self.inode, "inside": {k: list(v) for k, v in self.inside.items()}}

    def holds(self, other: Self | None) -> bool:
        """Return whether the other is this folder with nothing in it that is not listed here."""
        if other is None or other.inode != self.inode:
            return False
        return other.inside.items() <= self.inside.items()


# What the command that runs found at its output, by absolute path.
_seen: dict[Path, _SeenFolder | None] = {}


def check_output(output: Path, *, overwrite: bool) -> None:
    """Refuse an --output before any work is done for it; clean up after killed runs.

    Raises:
        OutputError: Something lies there that may not be replaced, or it cannot be written.
    """
    parent = output.absolute().parent
    check_parent(parent, f"--output {readable(output)}")
    _restore(output)
    _seen[output.absolute()] = _SeenFolder.of(output.absolute())
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise OutputError(
            f"{output} is not a folder, and a bundle is one", hint="Choose another --output."
        )
    if output.is_dir() and any(output.iterdir()):
        if not is_bundle(output):
            raise OutputError(
                f"{output} exists and is not a bundle of edge", hint="Choose another --output."
            )
        if not overwrite:
            raise OutputError(
                f"{output} holds a bundle already",
                hint="Add --overwrite to replace it, or choose another --output.",
            )
    # Asking for permissions is not enough: root has them all, and /proc takes no folder of his.
    try:
        with workplace(output.absolute()):
            pass
    except OSError as error:
        raise _unwritable(output, error) from error


@contextmanager
def staged(output: Path) -> Iterator[Path]:
    """Give an empty folder that becomes ``output`` when the block ends well.

    Raises:
        OutputError: The disk is full or read-only; ``output`` is as it was. Or ``output`` is not
            what ``check_output`` saw; then the new folder is kept beside it.
    """
    target = output.absolute()
    seen = _seen.pop(target, None)
    try:
        with workplace(target) as work:
            yield work.new
            _sync_tree(work.new)
            work.record({"seen": None if seen is None else seen.to_json()})
            try:
                _swap_in(work, target, seen)
            except FileExistsError as error:
                raise changed_meanwhile(output, keep_beside(work.new, target)) from error
            finally:
                fsync_directory(target.parent)
    except OSError as error:
        raise _unwritable(output, error) from error


def _unwritable(output: Path, error: OSError) -> OutputError:
    if error.errno == errno.ENOSPC:
        return OutputError(
            f"no space is left for {output}", hint="Free some space, or choose another --output."
        )
    return OutputError(
        f"{output} cannot be written: {error.strerror or error}", hint="Choose another --output."
    )


def _sync_tree(folder: Path) -> None:
    """Everything below is on the disk before the name that leads to it is."""
    for directory, _, names in os.walk(folder, topdown=False):
        for name in names:
            descriptor = os.open(Path(directory, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        fsync_directory(Path(directory))


def _swap_in(work: Workplace, target: Path, seen: _SeenFolder | None) -> None:
    """Rename the new folder where nothing is there, exchange it where an older bundle is.

    Raises:
        FileExistsError: Something lies there that was not seen; it is as it was.
        OSError: It cannot be renamed.
    """
    now = _SeenFolder.of(target)
    if now is None:  # also where what was seen is gone: nothing is lost
        rename_new(work.new, target)
    elif seen is None or now != seen or not target.is_dir():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
    elif not seen.inside:
        _replace_empty(work.new, target)
    elif exchange(work.new, target):
        if not seen.holds(_SeenFolder.of(work.new)):
            _exchange_back(work, target)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        _remove_seen(work.new, seen, target)
    else:
        _replace_in_two_steps(work, target, seen)


def _replace_empty(new: Path, target: Path) -> None:
    """Rename, which replaces a folder only while that is empty."""
    try:
        new.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from error
        raise


def _exchange_back(work: Workplace, target: Path) -> None:
    """Undo an exchange for something that came in after the last look.

    What comes back is kept, should it not be ours: a third one may have come in meanwhile.
    """
    exchange(work.new, target)
    back = Stamp.of(work.new)
    if back is None or back.inode != work.made:
        raise changed_meanwhile(target, keep_beside(work.new, target))


def _replace_in_two_steps(work: Workplace, target: Path, seen: _SeenFolder) -> None:
    """Where the file system knows no exchange.

    Between the renames the bundle has no name; ``_restore`` gives it back after a kill in between.
    """
    old = work.path / OLD
    target.rename(old)
    try:
        if not seen.holds(_SeenFolder.of(old)):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        rename_new(work.new, target)
    except OSError:
        _put_back(old, target)
        raise
    _remove_seen(old, seen, target)


def _put_back(old: Path, target: Path) -> None:
    try:
        rename_new(old, target)
    except FileExistsError:
        keep_beside(old, target)


def _remove_seen(folder: Path, seen: _SeenFolder, target: Path) -> None:
    """Remove a replaced folder: what was seen in it, each by its name.

    Raises:
        OutputError: Something was put into it at the last moment; it is kept.
    """
    for path in sorted(folder.rglob("*"), reverse=True):  # what is inside comes first
        name = os.fsencode(path.relative_to(folder)).hex()
        with suppress(OSError):  # it is kept then
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            elif name in seen.inside:
                path.unlink(missing_ok=True)
    try:
        folder.rmdir()
    except OSError as error:
        kept = keep_beside(folder, target)
        raise OutputError(
            f"{readable(target)} holds the new bundle; the one before cannot be removed, or "
            f"something was put into it at the last moment: it is kept as {readable(kept)}",
            hint="Look at it before you remove it.",
        ) from error


def _restore(output: Path) -> None:
    """Undo what a killed run left beside ``output``: an old bundle without a name, workplaces."""
    target = output.absolute()
    with left_behind(target.parent, target.name) as folders:
        for folder in folders:
            record = made_of(folder)
            try:
                if record is not None:
                    _settle(folder, record, target)
            except (KeyError, TypeError, ValueError, AttributeError, OSError):
                continue  # what cannot be told to be ours stays
            remove(folder)


def _settle(folder: Path, record: dict[str, Any], target: Path) -> None:
    """Take out of a workplace that was killed in its swap whatever is not its own."""
    seen = None if record["seen"] is None else _SeenFolder.from_json(record["seen"])
    for name in (OLD, NEW):
        path = folder / name
        folder_now = _SeenFolder.of(path)
        if folder_now is None or (name == NEW and folder_now.inode == record["made"]):
            continue
        if name == OLD and not os.path.lexists(target):
            rename_new(path, target)
        elif seen is None or not seen.holds(folder_now):
            keep_beside(path, target)
