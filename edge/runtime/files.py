"""Files that are either whole or not there: temporary name, fsync, rename.

A command that was told where to write looks at the place before its work begins (``expect``), and
the rename at the end takes nothing but what was seen then: what appeared or changed meanwhile is
somebody else's.
"""

import errno
import hashlib
import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from edge.errors import OutputError
from edge.runtime.checked import opened

AT_FDCWD: Final = -100  # <fcntl.h>: paths are relative to the working directory
RENAME_NOREPLACE: Final = 1  # <linux/fs.h>: fail where the new name exists
RENAME_EXCHANGE: Final = 2  # <linux/fs.h>: swap two names in one step
_LONGEST_SHOWN: Final = 80  # bytes of the name of a file in that of its temporary one
_LONGEST_SUFFIX: Final = 16
# What file systems answer that do not know the flags, or know no hard links.
_UNKNOWN: Final = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EMLINK)
_BLOCK: Final = 1 << 18


class Stamp(NamedTuple):
    """What tells one file from another, and a file from what it was: no clock is compared."""

    device: int
    inode: int
    kind: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> "Stamp | None":
        """Return the stamp of what lies there, a link itself and not where it leads.

        It is None for nothing.
        """
        try:
            status = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        kind = stat.S_IFMT(status.st_mode)
        return cls(status.st_dev, status.st_ino, kind, status.st_size, status.st_mtime_ns)


# What the command that runs found at the files that it will write, by absolute path; and folders
# in which every file that is not among them was not there.
_expected: dict[str, Stamp | None] = {}
_listed: set[str] = set()


def expect(path: Path) -> None:
    """Remember what lies at a file now: ``atomic_writer`` will take the place of that alone."""
    _expected[_absolute(path)] = Stamp.of(path)


@contextmanager
def expected(path: Path) -> Iterator[None]:
    """Do as ``expect`` while the context lasts: for a file that is read, changed and written."""
    expect(path)
    try:
        yield
    finally:
        _expected.pop(_absolute(path), None)


def expect_inside(folder: Path) -> None:
    """Remember every file of a folder, as ``expect`` does, and that there is no other one."""
    _listed.add(_absolute(folder))
    if folder.is_dir():
        for path in folder.iterdir():
            expect(path)


def remove_own(path: Path) -> None:
    """Remove a file that this process wrote, unless something else took its place since."""
    seen = _expected.get(_absolute(path))
    if seen is not None and Stamp.of(path) == seen:
        path.unlink(missing_ok=True)


def _absolute(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - Path.resolve would follow links


@contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write to; it takes the place of ``path`` only when the block ends well.

    Raises:
        OSError: The folder cannot be written, or the disk is full; ``path`` is as it was.
        OutputError: What lies at ``path`` is not what ``expect`` saw there; it is as it was, and
            the new content lies beside it.
    """
    temporary = beside(path)
    mine = None
    try:
        with temporary.open("xb") as stream:
            mine = os.fstat(stream.fileno()).st_ino
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        _take_place(temporary, path)
        fsync_directory(path.parent)
    except BaseException:
        # After an exchange that was cut short, somebody else's file may have this name.
        left = Stamp.of(temporary)
        if left is not None and left.inode == mine:
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
    """Return the sha256 (hex) of a file; memory does not grow with it, and no pipe is waited for.

    Raises:
        OSError: It cannot be read, or is no regular file.
    """
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def held_copy(path: Path) -> Iterator[tuple[Path, str]]:
    """Return a file that keeps what it holds now, at a path for this process, and its sha256 (hex).

    What was hashed is then what is loaded, whatever becomes of the name meanwhile. It is a sealed
    copy in memory (memfd_create(2)), which nobody can change and which goes with the block and
    what was mapped of it; where none can be made, the opened file itself, which another name
    cannot replace. Without Linux it is the path as it was given.

    Raises:
        OSError: The file cannot be read.
        Malformed: It is a pipe, a socket or a device.
    """
    with opened(path) as source:
        if sys.platform != "linux":
            yield path, hashlib.file_digest(source, "sha256").hexdigest()
            return
        copy = _sealed_copy(source)
        try:
            with open(source.fileno() if copy is None else copy, "rb", closefd=False) as held:
                held.seek(0)
                digest = hashlib.file_digest(held, "sha256").hexdigest()
                yield Path(f"/proc/self/fd/{held.fileno()}"), digest
        finally:
            if copy is not None:
                os.close(copy)


def _sealed_copy(source: BinaryIO) -> int | None:
    """Return a descriptor of the bytes, in memory.

    It is None where there is no room, or a limit on files.
    """
    import fcntl

    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    descriptor = None
    try:
        descriptor = os.memfd_create("edge", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        room = memoryview(bytearray(_BLOCK))
        while read := source.readinto(room):  # type: ignore[attr-defined]
            block = room[:read]
            while block:
                block = block[os.write(descriptor, block) :]
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    except (OSError, AttributeError):
        if descriptor is not None:
            os.close(descriptor)
        return None
    return descriptor


def open_regular(path: Path) -> BufferedReader:
    """Open a file, or one that a link leads to, for reading; a pipe is never waited for.

    Raises:
        OSError: It cannot be read, or is no regular file.
    """
    return open(path, "rb", opener=_without_waiting)


def _without_waiting(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "no regular file", path)
    return descriptor


def readable(path: Path) -> str:
    """Return a path as text that can be printed and written, whatever bytes stand in its name."""
    return os.fsencode(path).decode(errors="replace")


def fitting(name: str, longest: int) -> str:
    """Return the name of a file, or where it has more bytes, its start, a hash and its suffix.

    File systems take 255 bytes, some fewer: a name that is made of another may be too long.
    """
    raw = os.fsencode(name)
    if len(raw) <= longest:
        return name
    suffix = os.path.splitext(name)[1]  # noqa: PTH122 - a path would cost more than the rest
    if len(suffix) > _LONGEST_SUFFIX or not suffix.isascii():
        suffix = ""
    end = f"~{hashlib.sha256(raw).hexdigest()[:16]}{suffix}"
    return raw[: longest - len(end)].decode(errors="ignore") + end


def beside(path: Path, suffix: str = "tmp") -> Path:
    """Return a hidden name next to ``path`` that says which process uses it; never a long one."""
    shown = fitting(path.name, _LONGEST_SHOWN)
    return path.with_name(f".{shown}.{os.getpid()}-{os.urandom(4).hex()}.{suffix}")


def abandoned(directory: Path, name: str | None = None) -> list[Path]:
    """Return what ``beside`` named and a process that no longer runs left, sorted.

    Args:
        directory: To look in, not below.
        name: The name of the path that was to be written; None for any.
    """
    wanted = ".+" if name is None else re.escape(fitting(name, _LONGEST_SHOWN))
    ours = re.compile(
        rf"\.{wanted}\.(?P<pid>[1-9][0-9]{{0,8}})-[0-9a-f]{{8}}\.(tmp|old)", re.ASCII | re.DOTALL
    )
    left = []
    for path in sorted(directory.iterdir()):
        match = ours.fullmatch(path.name)
        if match and not path.is_symlink() and not _runs(int(match["pid"])):
            left.append(path)
    return left


def _runs(pid: int) -> bool:
    """Return whether a process of that number runs, whoever's it is.

    One that has ended and that nobody has waited for, as in a container without an init, does not.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        stat_of = Path(f"/proc/{pid}/stat").read_bytes()
        return not stat_of.rpartition(b")")[2].startswith((b" Z", b" X"))
    except OSError:  # gone meanwhile, or no Linux
        return sys.platform != "linux"


def rename_new(source: Path, target: Path) -> None:
    """Rename to a name that nothing has, in one step.

    Where the file system knows no such rename, a hard link does the same for a file, and a rename
    of a folder replaces at most an empty one. Where it knows no links either, the name is looked
    at just before: the moment in between is all that is left open.

    Raises:
        FileExistsError: Something has the name; both are as they were.
        OSError: It cannot be renamed.
    """
    try:
        _renameat2(source, target, RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
    else:
        return
    if source.is_dir():
        try:
            source.rename(target)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.ENOTDIR, errno.EEXIST):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from error
            raise
        return
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from error
        source.rename(target)
    else:
        source.unlink()


def exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step; False where the file system does not know that.

    Raises:
        OSError: One of them is not there, or cannot be renamed.
    """
    try:
        _renameat2(first, second, RENAME_EXCHANGE)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
        return False
    return True


def keep_beside(result: Path, target: Path) -> Path:
    """Give a finished result a name of its own beside the one that it was to have.

    Raises:
        OSError: The folder cannot be written.
    """
    stem = os.fsencode(target.stem)[:200].decode(errors="ignore")
    number = 1
    while True:
        kept = target.with_name(f"{stem}.kept-{number}{target.suffix[:20]}")
        try:
            rename_new(result, kept)
        except FileExistsError:
            number += 1
        else:
            return kept


def changed_meanwhile(target: Path, kept: Path) -> OutputError:
    """Return the error of a command whose place was taken by something else while it worked."""
    return OutputError(
        f"{readable(target)} was made or changed by something else meanwhile, and is left as it "
        f"is; the result is kept as {readable(kept)}",
        hint="Look at both, and keep the one that you want; run one command at a time for a place.",
    )


def _take_place(temporary: Path, path: Path) -> None:
    """Give a whole file its name, in place of what ``expect`` saw there, or of anything."""
    key = _absolute(path)
    if key not in _expected and os.path.dirname(key) not in _listed:  # noqa: PTH120
        temporary.replace(path)
        return
    mine = Stamp.of(temporary)
    if not _replaced(temporary, path, _expected.get(key)):
        raise changed_meanwhile(path, keep_beside(temporary, path))
    _expected[key] = mine


def _replaced(temporary: Path, path: Path, seen: Stamp | None) -> bool:
    """Return whether the file has its name now; nothing but what was seen is lost for it."""
    now = Stamp.of(path)
    if now is None:  # also where what was seen is gone: nothing is lost
        try:
            rename_new(temporary, path)
        except FileExistsError:
            return False
        return True
    if now != seen:
        return False
    if not exchange(temporary, path):
        temporary.replace(path)  # the moment since the look is all that is left open
        return True
    if Stamp.of(temporary) == seen:
        temporary.unlink()
        return True
    exchange(temporary, path)  # it came in between the look and the exchange
    return False


def _renameat2(source: Path, target: Path, flags: int) -> None:
    """Call Linux's renameat2.

    Raises:
        OSError: As it says; ENOSYS where there is none.
    """
    import ctypes  # only commands that replace something need it

    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    number = errno.ENOSYS
    if function is not None:
        paths = os.fsencode(source), os.fsencode(target)
        if function(AT_FDCWD, paths[0], AT_FDCWD, paths[1], flags) == 0:
            return
        number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), str(target))
