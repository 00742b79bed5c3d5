"""Results kept between runs, by the content hash of everything that they depend on.

An entry is a folder that appears under its final name only when it is whole, so a killed run
leaves either a finished stage or none. It carries the hash of each of its files: what a disk, a
program or a person changed since is found before it is used, dropped, and computed again.
Deleting the cache loses time, never correctness.
"""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from edge.errors import OutputError
from edge.runtime.checked import parse_json, read_bytes
from edge.runtime.contract import canonical_json
from edge.runtime.files import Stamp, fsync_directory, readable
from edge.runtime.place import check_folder
from edge.staging import left_behind, locked, remove, workplace

SEAL: Final = ".edge-seal"  # in an entry: the names, sizes and hashes of all other files
_SEAL_BYTES: Final = 16 << 20
_KEY: Final = re.compile(r"[\w-]+-[0-9a-f]{40}", re.ASCII)
_DATABASES: Final = re.compile(r"(?:features|tags-[0-9a-f]{40})\.sqlite(?:-wal|-shm|-journal)?")
# The codes of <sqlite3.h> that are no fault of a database's content.
_PLACE: Final = (
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
)
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_Signature = tuple[tuple[str, int, int, int, int], ...]

_held: dict[Path, int] = {}  # root -> descriptor with the shared lock of this process
_verified: dict[Path, _Signature] = {}  # entry -> its files as they were when they were checked


def default_cache() -> Path:
    """Return ``$EDGE_CACHE``, or ``edge`` below the user's cache folder (XDG specification)."""
    named = os.environ.get("EDGE_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge"


def content_key(kind: str, parts: Mapping[str, Any]) -> str:
    """Return name of the entry for ``parts``: sha256 (hex) of their canonical JSON."""
    return f"{kind}-{hashlib.sha256(canonical_json(dict(parts)).encode()).hexdigest()[:40]}"


def say(text: str) -> None:
    """Tell the user, on standard error, of a part of the cache that is not believed."""
    print(f"note: {text}", file=sys.stderr)


def sealed_sha256(path: Path) -> str | None:
    """Return the sha256 (hex) that a file's entry states; None outside of a cache."""
    for entry in path.parents:
        if (entry / SEAL).is_file():
            listed = _listing(entry).get(path.relative_to(entry).as_posix())
            return None if listed is None else listed[1]
    return None


def sealed_bytes(path: Path) -> bytes:
    """Return the content of a file of an entry: what is checked is what is returned.

    Raises:
        OutputError: It changed since ``find`` looked at it.
    """
    content = read_bytes(path, max_bytes=_SEAL_BYTES * 16)
    if sealed_sha256(path) != hashlib.sha256(content).hexdigest():
        raise changed_in_use(path)
    return content


def changed_in_use(path: Path) -> OutputError:
    """Return the error for a file of the cache that changed after it was checked."""
    return OutputError(
        f"{readable(path)} in the cache changed while it was used",
        hint="Run the command again: what changed is dropped and computed again.",
    )


def lies_in_cache(path: object) -> Path | None:
    """Return the cache in use that a path lies in."""
    if not isinstance(path, str | bytes | os.PathLike):
        return None
    real = os.path.realpath(os.fsdecode(path))
    return next((root for root in _held if real.startswith(f"{root}{os.sep}")), None)


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether a database's content is at fault, and not its folder, a lock or the disk."""
    number: int | None = getattr(error, "sqlite_errorcode", None)  # None where Python found it
    if number is None:
        return False
    return number == sqlite3.SQLITE_IOERR_SHORT_READ or number & 0xFF not in _PLACE


def remove_database(path: Path) -> None:
    """Remove a database of SQLite and what lies beside it; nothing but files and links.

    Raises:
        OSError: They cannot be removed.
    """
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


class StageCache:
    """Finished stages of earlier runs, one folder each.

    Args:
        root: The folder of the cache, created when it is first written to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._stages = root / "stages"

    def check(self) -> None:
        """Refuse a folder where nothing can be stored, before the work is done.

        Raises:
            OutputError: It is no folder, or cannot be written.
        """
        try:
            check_folder(self.root, (), overwrite=True, option="the cache", parents=True)
        except OutputError as error:
            raise OutputError(
                error.message, hint="Name another folder with EDGE_CACHE or --cache."
            ) from error

    def entry(self, key: str) -> Path:
        """Return where the stage of that key lies, or would lie."""
        return self._stages / key

    def find(self, key: str) -> Path | None:
        """Return the folder of a finished stage whose files are what was stored, or None.

        Raises:
            OutputError: There is none, and none could be stored.
        """
        entry = self.entry(key)
        if not os.path.lexists(entry):
            self.check()  # the stage is computed now
            return None
        self.hold()
        problem = _problem(entry)
        if problem is None:
            return entry
        self._remove(key, problem, lambda: _problem(entry) is not None)
        return entry if _problem(entry) is None else None  # another run has just made it again

    def drop(self, key: str, problem: str) -> None:
        """Remove an entry that is what was stored, but of no use, and say so.

        Args:
            key: The key of the entry.
            problem: What is wrong with it, as a clause.
        """
        self._remove(key, problem, lambda: True)

    def _remove(self, key: str, problem: str, still: Callable[[], bool]) -> None:
        entry = self.entry(key)
        with suppress(OSError), locked(self._stages), workplace(entry) as work:
            # Looked at again: another run may have removed it and made it anew.
            if os.path.lexists(entry) and still():
                entry.rename(work.path / "dropped")
        _verified.pop(entry, None)
        say(f"{key} in the cache is not used, since {problem}; it is computed again")

    @contextmanager
    def store(self, key: str) -> Iterator[Path]:
        """Give an empty folder, which becomes the entry when the block ends well.

        Raises:
            OutputError: The cache cannot be written.
        """
        try:
            with self.scratch(key) as temporary:
                yield temporary
                _seal(temporary, key)
                self._publish(temporary, key)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise self._unwritable(error) from error

    @contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """Give an empty folder that is removed at the end, or by a later run after a kill.

        Raises:
            OutputError: The cache cannot be written.
        """
        with ExitStack() as stack:
            try:
                self._stages.mkdir(parents=True, exist_ok=True)
                self.hold()
                self._sweep()
                work = stack.enter_context(workplace(self.entry(name)))
            except OSError as error:
                raise self._unwritable(error) from error
            yield work.new

    def _publish(self, temporary: Path, key: str) -> None:
        try:
            temporary.rename(self.entry(key))
            fsync_directory(self._stages)
        except OSError as error:
            if self.find(key) is None:  # if it is there, another run finished the stage first
                raise self._unwritable(error) from error

    def hold(self) -> None:
        """Keep others from clearing the cache as long as this process lives."""
        root = Path(os.path.realpath(self.root))  # one lock, however the folder is named
        if root in _held:
            return
        with suppress(OSError):  # not there yet, or a file system without locks
            descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
            _held[root] = descriptor
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        self._sweep()

    def _sweep(self) -> None:
        """Remove what killed runs left."""
        if self._stages.is_dir():
            with suppress(OSError), left_behind(self._stages) as folders:
                for folder in folders:
                    remove(folder)

    def _unwritable(self, error: OSError) -> OutputError:
        return OutputError(
            f"the cache {readable(self.root)} cannot be written: {error.strerror or error}",
            hint="Name another folder with EDGE_CACHE or --cache.",
        )

    def size_bytes(self) -> int:
        """Return the bytes on disk below the root."""
        stamps = (Stamp.of(self.root / name) for name in _names(self.root))
        return sum(stamp.size for stamp in stamps if stamp and stat.S_ISREG(stamp.kind))

    def clear(self) -> None:
        """Remove the entries, the features and the indexes of tags.

        Only what edge wrote there is touched: a user may have pointed the cache at a folder with
        other things in it, of whatever names. Links are removed, not followed.

        Raises:
            OutputError: Another run uses the cache.
        """
        if not self.root.is_dir():
            return
        self.hold()
        descriptor = _held.get(Path(os.path.realpath(self.root)))
        if descriptor is None:  # nothing can be locked there
            self._clear()
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                f"another run uses the cache {readable(self.root)}",
                hint="Clear it when that has ended.",
            ) from error
        except OSError:
            pass  # a file system without locks
        try:
            self._clear()
        finally:
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_SH)

    def _clear(self) -> None:
        for entry in _inside(self._stages):
            if not entry.is_symlink() and not entry.is_dir():
                continue
            if _KEY.fullmatch(entry.name) or (entry / SEAL).is_file():
                _discard(entry)
        self._sweep()
        for folder in (self.root, self.root / "tags"):
            for path in _inside(folder):
                if _DATABASES.fullmatch(path.name) and not path.is_dir():
                    path.unlink(missing_ok=True)
        for folder in (self._stages, self.root / "tags"):
            with suppress(OSError):  # something of the user's lies there
                folder.rmdir()


def _seal(folder: Path, key: str) -> None:
    """Write what the entry of that key has to be from now on."""
    files = {}
    for name in _names(folder):
        digest, size = _hashed(folder / name)
        files[name] = [size, digest]
    content = canonical_json({"schema": 1, "key": key, "files": files}).encode()
    (folder / SEAL).write_bytes(content + b"\n" + _digest(content))


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _listing(entry: Path) -> dict[str, tuple[int, str]]:
    """Return size and sha256 (hex) by name.

    Raises:
        ValueError: The listing is not what was written.
        OSError: There is none.
    """
    content, _, digest = read_bytes(
        entry / SEAL, "its list of hashes", max_bytes=_SEAL_BYTES
    ).rpartition(b"\n")
    if _digest(content) != digest:
        raise ValueError("its list of hashes is damaged")
    value = parse_json(content, "its list of hashes", max_bytes=_SEAL_BYTES)
    if value["key"] != entry.name:
        raise ValueError(f"it was stored as {value['key']}")
    files = value["files"]
    return {str(name): (int(size), str(digest)) for name, (size, digest) in files.items()}


def _problem(entry: Path) -> str | None:
    """Return what is wrong with an entry, as a clause; None where every file is what was stored."""
    try:
        if entry.is_symlink() or not entry.is_dir():
            return "it is no folder"
        before = _signature(entry)
        if _verified.get(entry) == before:
            return None
        if not any(name == SEAL for name, *_ in before):
            return "it carries no hashes"
        listing = _listing(entry)
        names = {name for name, *_ in before} - {SEAL}
        for name in sorted(names ^ listing.keys()):
            return f"its file {name} is {'missing' if name in listing else 'not of it'}"
        for name, (size, digest) in listing.items():
            if _hashed(entry / name) != (digest, size):
                return f"its file {name} is not what was stored"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"it cannot be read: {getattr(error, 'strerror', None) or error}"
    _verified[entry] = before
    return None


def _signature(entry: Path) -> _Signature:
    """Return what changes when any file of an entry does.

    Raises:
        ValueError: Something is neither a file nor a folder.
    """
    stamps = []
    for name in _names(entry):
        status = (entry / name).lstat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{name} is not a regular file")
        stamps.append((name, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
    return tuple(stamps)


def _names(folder: Path) -> list[str]:
    """Return everything below that is not a folder, by its relative path."""
    paths = []
    for directory, folders, names in os.walk(folder):
        linked = [name for name in folders if Path(directory, name).is_symlink()]
        for name in (*names, *linked):
            paths.append(Path(directory, name).relative_to(folder).as_posix())
    return sorted(paths)


def _hashed(path: Path) -> tuple[str, int]:
    """Return sha256 (hex) and size of a regular file, and never wait for a pipe or a link."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest(), os.fstat(descriptor).st_size


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _discard(entry: Path) -> None:
    if entry.is_symlink():
        entry.unlink(missing_ok=True)
    else:
        shutil.rmtree(entry, ignore_errors=True)
