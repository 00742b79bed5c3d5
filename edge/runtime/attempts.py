"""Pictures that end processes: which ones did, and how one is decoded so that it ends no service.

Before a picture is opened it is counted as one at which a process ended, and afterwards no more:
what a process leaves behind is then right, however it ends. The count is one page of one file,
overwritten in place and never synced. It outlives the process, since it lies in the memory of the
system. A power cut may lose it, and one of another boot is not believed: the picture is then tried
as if nothing had been.

After a crash, pictures are decoded in a child: what ends the child leaves the service as it is. The
child is a copy of the service, so that nothing has to be loaded for it. It sees the picture and
a pipe, and nothing else of what the service has open.
"""

import json
import os
import signal
import stat
import struct
import sys
import time
from contextlib import suppress
from dataclasses import astuple, fields
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final, NoReturn

import numpy as np

from edge.errors import ImageError
from edge.runtime.checked import Malformed, parse_json
from edge.runtime.child import die_with, ended, goes_first
from edge.runtime.contract import Preprocessing
from edge.runtime.placement import Placement
from edge.runtime.preprocess import PlacedPixels, load_placed

NAME: Final = ".edge-watch"
PAGE: Final = 4096  # bytes: written by one call, whole or not at all
MOST: Final = 40  # pictures; each takes some 40 bytes
_KEY: Final = 32  # hexadecimal digits
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


class Attempts:
    """For one folder of pictures, whose lock the caller holds.

    Attributes:
        kept: Whether there is a place for the counts; without one, a crash is forgotten.
    """

    def __init__(self, folder: Path, identity: tuple[int, int]) -> None:
        """Read what an earlier process left.

        Args:
            folder: The folder of the pictures.
            identity: Its device and inode.
        """
        self._owner = f"{_boot()} {identity[0]:x} {identity[1]:x}"
        self._path = _place(folder, identity)
        self._file = _opened(self._path)
        self._ended = {} if self._file is None else self._read(self._file)
        self.kept = self._file is not None

    def __bool__(self) -> bool:
        """Return whether there is a picture at which a process ended."""
        return bool(self._ended)

    def count(self, key: str) -> int:
        """Return how often a process ended at a picture."""
        return self._ended.get(key, 0)

    def begin(self, key: str) -> None:
        """Note that a picture is opened: should nothing follow, a process ended at it."""
        before = self._ended.pop(key, 0)
        while len(self._ended) >= MOST:
            self._ended.pop(next(iter(self._ended)))
        self._ended[key] = before + 1
        self._write()

    def undo(self, key: str) -> None:
        """Note that a picture was left in peace, as if it had not been opened."""
        self._ended[key] -= 1
        if not self._ended[key]:
            del self._ended[key]
        self._write()

    def forget(self, key: str) -> None:
        """Note that a picture has its answer."""
        if self._ended.pop(key, 0):
            self._write()

    def close(self) -> None:
        """End by the process's own will; nothing stays where nothing has to be known."""
        if self._file is None:
            return
        os.close(self._file)
        self._file = None
        if not self._ended:
            with suppress(OSError):
                self._path.unlink()

    def _write(self) -> None:
        if self._file is None:
            return
        text = json.dumps({"of": self._owner, "ended": self._ended}, separators=(",", ":"))
        with suppress(OSError):  # the first write took the page: the disk may be full now
            os.pwrite(self._file, text.encode().ljust(PAGE), 0)

    def _read(self, file: int) -> dict[str, int]:
        try:
            page = parse_json(os.pread(file, PAGE, 0), max_bytes=PAGE)
        except (OSError, Malformed):
            return {}
        if not isinstance(page, dict) or page.get("of") != self._owner:
            return {}
        ended = page.get("ended")
        if not isinstance(ended, dict) or len(ended) > MOST:
            return {}
        if not all(len(key) == _KEY and type(n) is int and n > 0 for key, n in ended.items()):
            return {}
        return ended


def key_of(name: str, stamp: tuple[int, ...]) -> str:
    """Return what stands for one picture as it is now; another one follows when it is changed."""
    return sha256(os.fsencode(name) + b"\0" + repr(stamp).encode()).hexdigest()[:_KEY]


def _boot() -> str:
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _place(folder: Path, identity: tuple[int, int]) -> Path:
    """Return the user's folder in memory, where there is one that is his alone.

    Where there is none, it is the folder of the pictures.

    See the XDG base directory specification.
    """
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    try:
        status = os.lstat(given)
    except (OSError, ValueError):
        return folder / NAME
    mine = status.st_uid == os.geteuid() and not status.st_mode & 0o077
    if not (mine and stat.S_ISDIR(status.st_mode) and os.access(given, os.W_OK)):
        return folder / NAME
    return Path(given, f"edge-watch-{identity[0]:x}-{identity[1]:x}")


def _opened(path: Path) -> int | None:
    """Return a descriptor of the file.

    What somebody else put there is taken away, and not believed.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    for last in (False, True):
        try:
            file = os.open(path, flags | (os.O_EXCL if last else 0), 0o600)
        except OSError:
            file = -1
        if file >= 0:
            status = os.fstat(file)
            own = status.st_uid == os.geteuid() and status.st_nlink == 1
            if own and stat.S_ISREG(status.st_mode) and status.st_size <= PAGE:
                return file
            os.close(file)
        with suppress(OSError):
            path.unlink()
    return None


SECONDS: Final = 30.0  # for one picture; what is decoded at all takes a few on the slowest board
_PIXELS, _REFUSED = b"+", b"-"  # what the child's answer begins with
_PLACEMENT: Final = struct.Struct("=2Q4d")  # the fields of a Placement, in their order
_PART: Final = 1 << 20  # bytes that are read at a time
_MOST_OPEN: Final = 4096  # descriptors; the service has some twenty


class ChildEnded(Exception):
    """The child gave no answer; its text says why."""


class DecodingChild:
    """Decodes one picture.

    Attributes:
        done: Whether all that it has to say was read.
    """

    def __init__(self, stream: BinaryIO, spec: Preprocessing) -> None:
        """Begin to decode.

        Raises:
            OSError: There is no room for another process.
        """
        self._spec = spec
        self._said = bytearray()
        self.done = False
        self._end = time.monotonic() + SECONDS
        sys.stdout.flush()
        import ctypes  # noqa: F401  # nearly never needed, but then before the child: it needs it

        parent = os.getpid()
        self._reader, writer = os.pipe()
        try:
            self._pid = os.fork()
        except OSError:
            os.close(self._reader)
            raise
        finally:
            if os.getpid() == parent:
                os.close(writer)
        if self._pid == 0:
            _be_child(stream, spec, writer, parent)
        os.set_blocking(self._reader, False)

    def fileno(self) -> int:
        """Return the descriptor of the pipe, for a selector."""
        return self._reader

    def read(self) -> None:
        """Take what it has said meanwhile."""
        with suppress(BlockingIOError):
            part = os.read(self._reader, _PART)
            self._said += part
            self.done = not part

    @property
    def late(self) -> bool:
        """Whether it has had its time."""
        return time.monotonic() > self._end

    def close(self) -> str:
        """End the child, if it still runs, and say how it ended."""
        if not self.done:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        os.close(self._reader)
        if not self.done:
            return f"decoding took more than {SECONDS:.0f} seconds"
        return f"decoding {ended(os.waitstatus_to_exitcode(status))}"

    def placed(self, end: str) -> PlacedPixels:
        """Return what ``load_placed`` gives.

        Args:
            end: What ``close`` said.

        Raises:
            ImageError: The picture cannot be decoded.
            ChildEnded: It ended before it said anything.
        """
        kind, content = bytes(self._said[:1]), bytes(self._said[1:])
        if self.done and kind == _REFUSED:
            raise ImageError(content.decode(errors="replace"))
        size = _PLACEMENT.size + int(np.prod(self._spec.shape))
        if not self.done or kind != _PIXELS or len(content) != size:
            raise ChildEnded(end)
        values = _PLACEMENT.unpack_from(content)
        names = (item.name for item in fields(Placement))
        pixels = np.frombuffer(content, np.uint8, offset=_PLACEMENT.size)
        return PlacedPixels(
            pixels.reshape(self._spec.shape), Placement(**dict(zip(names, values, strict=True)))
        )


def _be_child(stream: BinaryIO, spec: Preprocessing, writer: int, parent: int) -> NoReturn:
    """Decode, say what came of it, and end; nothing of the parent's is run or closed in order."""
    import resource

    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        die_with(parent)
        _close_all_but(stream.fileno(), writer)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        goes_first(os.getpid())
        try:
            placed = load_placed(stream, spec)
            where = _PLACEMENT.pack(*astuple(placed.placement))
            said = _PIXELS + where + placed.pixels.tobytes()
        except ImageError as error:
            said = _REFUSED + error.message.encode(errors="replace")
        while said:
            said = said[os.write(writer, said) :]
        os._exit(0)
    finally:
        os._exit(1)


def _close_all_but(*kept: int) -> None:
    """Close the parent's locks and sockets, which are not to outlive it."""
    first = 3
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, _MOST_OPEN)
