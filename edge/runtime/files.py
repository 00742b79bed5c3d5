"""Files that are either whole or not there: temporary name, fsync, rename."""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of ``path`` only when the block ends well.

    Raises:
        OSError: The folder cannot be written, or the disk is full; ``path`` is as it was.
    """
    temporary = beside(path)
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        fsync_directory(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``, atomically."""
    with atomic_writer(path) as stream:
        stream.write(content)


def write_json(path: Path, value: Any) -> None:
    """Replace ``path`` by ``value`` as indented JSON, atomically."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def fsync_directory(directory: Path) -> None:
    """Make the names in ``directory`` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_file(path: Path) -> str:
    """sha256 of a file's bytes, hex; memory does not grow with the file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def readable(path: Path) -> str:
    """A path as text that can be printed and written, whatever bytes stand in its name."""
    return os.fsencode(path).decode(errors="replace")


def beside(path: Path, suffix: str = "tmp") -> Path:
    """A hidden name next to ``path`` that says which process uses it."""
    return path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.{suffix}")


def abandoned(directory: Path, name: str | None = None) -> list[Path]:
    """What ``beside`` named and a process that no longer runs left, sorted.

    Args:
        directory: To look in, not below.
        name: Of the path that was to be written; None for any.
    """
    wanted = ".+" if name is None else re.escape(name)
    ours = re.compile(rf"\.{wanted}\.(?P<pid>[1-9][0-9]{{0,8}})-[0-9a-f]{{8}}\.(tmp|old)", re.ASCII)
    found = []
    for path in sorted(directory.iterdir()):
        match = ours.fullmatch(path.name)
        if match and not path.is_symlink() and not _runs(int(match["pid"])):
            found.append(path)
    return found


def _runs(pid: int) -> bool:
    """Whether a process of that number runs, whoever's it is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
