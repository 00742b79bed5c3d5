"""A bundle on disk is either whole or not there: staged beside its place, then swapped in."""

import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edge.errors import OutputError
from edge.runtime.bundle import is_bundle
from edge.runtime.files import abandoned, beside, fsync_directory

AT_FDCWD: Final = -100  # of <fcntl.h>: paths are relative to the working directory
RENAME_EXCHANGE: Final = 2  # of <linux/fs.h>: swap two names in one step


def check_output(output: Path, *, overwrite: bool) -> None:
    """Refuse an output place before any work is done for it; clean up after killed runs.

    Raises:
        OutputError: Something lies there that may not be replaced, or it cannot be written.
    """
    parent = output.absolute().parent
    if not parent.is_dir():
        raise OutputError(f"the folder {parent} does not exist", hint=f"mkdir -p '{parent}'")
    _restore(output)
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise OutputError(
            f"{output} is no folder; a bundle is one", hint="Choose another --output."
        )
    if output.is_dir() and any(output.iterdir()):
        if not is_bundle(output):
            raise OutputError(
                f"{output} exists and is no bundle of edge", hint="Choose another --output."
            )
        if not overwrite:
            raise OutputError(
                f"{output} holds a bundle already",
                hint="Add --overwrite to replace it, or choose another --output.",
            )
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"the folder {parent} is read-only", hint="Choose another --output.")


@contextmanager
def staged(output: Path) -> Iterator[Path]:
    """An empty folder that takes the place of ``output`` when the block ends well.

    Raises:
        OutputError: The disk is full or read-only; ``output`` is as it was.
    """
    staging = beside(output.absolute())
    try:
        staging.mkdir()
        yield staging
        _sync_tree(staging)
        _swap_in(staging, output)
    except OSError as error:
        raise _unwritable(output, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _unwritable(output: Path, error: OSError) -> OutputError:
    if error.errno == errno.ENOSPC:
        return OutputError(
            f"no space is left for {output}", hint="Free some, or choose another --output."
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


def _swap_in(staging: Path, output: Path) -> None:
    """One rename where nothing is there, one exchange where an older bundle is."""
    target = output.absolute()
    if not target.exists():
        staging.rename(target)
    elif not _exchange(staging, target):
        # No exchange on this file system. Between the two renames the bundle has no name;
        # ``_restore`` gives it back after a kill in between.
        old = beside(target, "old")
        target.rename(old)
        try:
            staging.rename(target)
        except OSError:
            old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    fsync_directory(target.parent)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step, by Linux's renameat2; False where that does not exist."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    paths = os.fsencode(first), os.fsencode(second)
    return bool(renameat2(AT_FDCWD, paths[0], AT_FDCWD, paths[1], RENAME_EXCHANGE) == 0)


def _restore(output: Path) -> None:
    """Undo what a killed run left beside ``output``: an old bundle without a name, stages."""
    target = output.absolute()
    for left in abandoned(target.parent, target.name):
        if not left.is_dir():
            continue
        if left.suffix == ".old" and not target.exists():
            left.rename(target)
        else:
            shutil.rmtree(left, ignore_errors=True)
