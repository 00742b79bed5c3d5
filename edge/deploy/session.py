"""The host's side of the conversation with a device: see ``edge.device.session``."""

import getpass
import io
import json
import os
import socket
import subprocess
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Final, Self

import edge
from edge.deploy.ssh import LONGEST, Remote, failure, flood
from edge.device.messages import DeviceRequest, LockRequest, PutRequest, R, SelftestReply
from edge.errors import ConnectionFailed, DeviceError, EdgeError, rebuilt
from edge.processes import Flood, Lines, Silence, Tail, send
from edge.progress import Silent
from edge.runtime.checked import Malformed, parse_json
from edge.runtime.printable import one_line
from edge.runtime.typed import Mistyped, typed

# What the device's own Python runs first, in syntax that old ones understand too. It keeps the
# package that follows on standard input under its hash, and hands over to it. No quote of the
# shell's occurs in it.
_BOOTSTRAP: Final = """
import io, json, os, stat, sys, zipfile
os.umask(0o77)
def ours(path):
    seen = os.lstat(path)
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.getuid():
        stop("DeviceError", "%s is a link, or belongs to another user" % path,
             "Let it be a folder of this user alone; then try again.")
    return not seen.st_mode & 0o22
def stop(kind, text, hint):
    print(json.dumps({"error": {"error": kind, "message": text, "hint": hint}}))
    sys.exit(0)
if sys.version_info < (3, 11):
    found = "%d.%d" % sys.version_info[:2]
    stop("DeviceError", "the device has Python " + found + "; 3.11 or later is needed",
         "Install Raspberry Pi OS Bookworm or later.")
name, size = sys.stdin.buffer.readline().decode().split()
content = sys.stdin.buffer.read(int(size))
if len(content) < int(size):
    sys.exit(0)
base = os.path.expanduser("~/.local/share/edge/control")
place = os.path.join(base, name)
try:
    if os.path.lexists(base) and not ours(base):
        os.chmod(base, 0o700)
        alone = False
    else:
        alone = True
    if os.path.lexists(place) and not (ours(place) and alone):
        os.rename(place, "%s.%d.open" % (place, os.getpid()))
    if not os.path.isdir(place):
        os.makedirs(base, exist_ok=True)
        new = "%s.%d" % (place, os.getpid())
        zipfile.ZipFile(io.BytesIO(content)).extractall(new)
        os.sync()
        try:
            os.rename(new, place)
        except OSError:
            if not os.path.isdir(place):
                raise
except OSError as error:
    stop("DeviceError", "the home folder cannot be written: %s" % error,
         "Check its owner and free space.")
sys.path.insert(0, place)
from edge.device.session import main
main()
"""
COMMAND: Final = f"exec python3 -I -c '{_BOOTSTRAP}'"
_UNANSWERED: Final = 32  # files; a round trip each would take longer than most of them
_NO_PYTHON: Final = (126, 127)
_LONGEST_REPLY: Final = 4 << 20  # bytes: a list of some thousand files, or a journal
_MOST_NOISE: Final = 1 << 20  # bytes of a conversation that are no replies
_MOST_NOTES: Final = 10_000
_SILENCE: Final = 600.0  # seconds without a word, and what the host itself asked it to wait
_SHIPPED: Final = (
    "__init__.py",
    "errors.py",
    "device/*.py",
    "runtime/__init__.py",
    "runtime/bundle.py",
    "runtime/cameras/__init__.py",
    "runtime/cameras/camera.py",
    "runtime/checked.py",
    "runtime/child.py",
    "runtime/files.py",
    "runtime/frozen.py",
    "runtime/live/__init__.py",
    "runtime/live/settings.py",
    "runtime/output.py",
    "runtime/printable.py",
    "runtime/seal.py",
    "runtime/contract.py",
    "runtime/spec.py",
    "runtime/tasks/__init__.py",
    "runtime/tasks/table.py",
    "runtime/typed.py",
)


@cache
def control() -> tuple[str, bytes]:
    """Return the package that devices run, as (hash, zip); equal sources give equal bytes."""
    place = Path(edge.__file__).parent
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for pattern in _SHIPPED:
            for path in sorted(place.glob(pattern)):
                entry = zipfile.ZipInfo(f"edge/{path.relative_to(place).as_posix()}")
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    content = buffer.getvalue()
    return sha256(content).hexdigest()[:16], content


class Conversation:
    """A conversation: ``with Conversation(remote) as session: session.ask(StateRequest())``.

    Args:
        remote: An open connection.
        note: Called with what the device says meanwhile.
    """

    def __init__(self, remote: Remote, note: Callable[[str], None] | None = None) -> None:
        self._remote = remote
        self._note = note or Silent().note
        self._process: subprocess.Popen[bytes] | None = None
        self._noise = 0
        self._notes = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._remote.command(COMMAND),
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._stderr = Tail(self._pipe(self._process.stderr).fileno(), self._process)
        self._lines = Lines(self._pipe(self._process.stdout).fileno(), longest=_LONGEST_REPLY)
        name, content = control()
        try:
            self._send(f"{name} {len(content)}\n".encode() + content)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        process = self._open
        with suppress(OSError):
            self._pipe(process.stdin).close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._stderr.text()
        for stream in (process.stdout, process.stderr):
            self._pipe(stream).close()

    def lock(self, what: str) -> None:
        """Take the device's lock for the rest of the conversation; ``what`` says what for."""
        self.ask(LockRequest(owner=_owner(), what=what))

    def ask(self, request: DeviceRequest[R]) -> R:
        """Send a request and wait for its reply.

        Raises:
            EdgeError: What the device said, as the same class of ``edge.errors``.
            ConnectionFailed: The connection ended.
        """
        self._send(json.dumps(request.to_json()).encode() + b"\n")
        return self._read(request, self._reply(_SILENCE + request.waits))

    def _read(self, request: DeviceRequest[R], value: Mapping[str, Any]) -> R:
        """Read the reply to a request, since a device may say anything.

        Raises:
            DeviceError: It lacks a field, or one is of another type.
        """
        try:
            reply: R = typed(request.reply, value, f"the reply to {request.do!r}")
            if isinstance(reply, SelftestReply):
                reply.read()
        except Mistyped as error:
            hint = "Is another version of edge there? Deploy again."
            raise DeviceError(str(error), hint=hint) from error
        return reply

    def put_all(
        self, files: Mapping[str, int], folder: Path, progress: Callable[[int], None]
    ) -> None:
        """Send files; several are on their way before the first is answered for.

        Args:
            files: Relative path -> bytes that the device has already.
            folder: The folder of the files here.
            progress: Is told how many bytes went.

        Raises:
            EdgeError: What the device said to the first that it did not take.
        """
        unanswered = 0
        for path, offset in files.items():
            self._put(path, folder / path, offset, progress)
            unanswered += 1
            if unanswered >= _UNANSWERED:
                self._reply()
                unanswered -= 1
        for _ in range(unanswered):
            self._reply()

    def _put(self, path: str, source: Path, offset: int, progress: Callable[[int], None]) -> None:
        with source.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            self._send(json.dumps(PutRequest(path=path, offset=offset).to_json()).encode() + b"\n")
            stream.seek(offset)
            for block in _blocks(stream, size - offset):
                self._send(block)
                progress(len(block))

    @property
    def _open(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "Conversation is used within its with block"
        return self._process

    def _pipe(self, stream: IO[bytes] | None) -> IO[bytes]:
        assert stream is not None
        return stream

    def _send(self, content: bytes) -> None:
        try:
            send(self._pipe(self._open.stdin).fileno(), content, _SILENCE, self._lines)
        except Flood as error:
            self._open.kill()
            raise flood(self._remote.address, error) from error
        except Silence as error:
            raise self._silent(_SILENCE) from error
        except OSError:  # a reply says why, or that none comes
            while True:
                self._reply()

    def _reply(self, seconds: float = _SILENCE) -> dict[str, Any]:
        try:
            while (line := self._lines.next(seconds)) is not None:
                value = self._parsed(line)
                if "note" in value:
                    self._notes += 1
                    if self._notes > _MOST_NOTES:
                        raise Flood("sends notes without an end")
                    self._note(one_line(str(value["note"]), LONGEST))
                elif "error" in value:
                    raise _told(value["error"])
                elif "result" in value:
                    if not isinstance(value["result"], dict):
                        raise DeviceError("the device's reply holds no result")
                    result: dict[str, Any] = value["result"]
                    return result
        except Flood as error:
            self._open.kill()
            raise flood(self._remote.address, error) from error
        except Silence as error:
            raise self._silent(seconds) from error
        raise self._ended()

    def _parsed(self, line: bytes) -> dict[str, Any]:
        """Read a reply.

        It is empty where the line is none, such as a greeting of the login shell.
        """
        try:
            value = parse_json(line, "the reply", max_bytes=_LONGEST_REPLY)
        except Malformed:
            value = None
        if isinstance(value, dict) and not value.keys().isdisjoint(("note", "error", "result")):
            return value
        self._noise += len(line) + 1
        if self._noise > _MOST_NOISE:
            raise Flood("writes what is no reply, without an end")
        return {}

    def _silent(self, seconds: float) -> EdgeError:
        self._open.kill()
        return ConnectionFailed(
            f"{self._remote.address.host} has been silent for {seconds:.0f} s",
            hint="It may hang, or the network may be slow; try again.",
        )

    def _ended(self) -> EdgeError:
        """Return why no reply came."""
        try:
            code = self._open.wait(timeout=10)
        except subprocess.TimeoutExpired:
            code = None
        stderr = self._stderr.text()
        if self._stderr.flooded:
            return flood(self._remote.address, Flood("writes to standard error without an end"))
        if code in _NO_PYTHON:
            return DeviceError(
                f"{self._remote.address.host} has no python3",
                hint="Install it there: sudo apt-get install python3",
            )
        if code in (255, None):
            return failure(self._remote.address, stderr)
        lines = stderr.strip().splitlines()
        return ConnectionFailed(
            f"{self._remote.address.host}: the conversation ended with {code}"
            + (f": {one_line(lines[-1], LONGEST)}" if lines else ""),
            hint="Run edge doctor for this device.",
        )


def _told(value: object) -> EdgeError:
    """Return the error that a device sent."""
    if not isinstance(value, dict):
        return DeviceError(f"the device says: {one_line(str(value), LONGEST)}")
    shown = {name: one_line(str(item or ""), LONGEST) for name, item in value.items()}
    return rebuilt(shown, unknown=DeviceError)


def _blocks(stream: IO[bytes], count: int) -> Iterator[bytes]:
    while count > 0:
        block = stream.read(min(1 << 16, count))
        if not block:
            raise DeviceError("a file became shorter while it was sent")
        count -= len(block)
        yield block


def _owner() -> str:
    """Return ``user@host``, for whoever finds the device locked."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may have no name for its user
        user = "somebody"
    return f"{user}@{socket.gethostname()}"
