"""What a running service tells: systemd, by sd_notify(3), and whoever asks at a Unix socket."""

import json
import os
import selectors
import socket
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from edge.errors import UsageError, cause_of
from edge.runtime import checked

_SECOND = 1e6  # microseconds


class Notifier:
    """The socket that systemd named in the environment.

    Attributes:
        interval: Seconds between two signs of life: half of ``WATCHDOG_USEC``; None without one.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """Read ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID``."""
        address = environ.get("NOTIFY_SOCKET", "")
        # "@" stands for the null byte of the abstract namespace.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.interval = _half(environ) if address else None
        self._next = 0.0

    def ready(self) -> None:
        """Tell that the service answers from now on."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Send one line for ``systemctl status``."""
        self._send(f"STATUS={' '.join(text.split())}")

    def stopping(self) -> None:
        """Tell that the service ends by its own will."""
        self._send("STOPPING=1")

    def alive(self, *, early: float = 0.0) -> None:
        """Send a sign of life when one is due; to be called wherever work goes on.

        Args:
            early: Share of the interval by which it may come before. Before work during which none
                can be sent, this leaves it nearly all of the time that systemd allows.
        """
        now = time.monotonic()
        if self.interval is not None and now >= self._next - early * self.interval:
            self._next = now + self.interval
            self._send("WATCHDOG=1")

    def wait(self, longest: float) -> float:
        """Return the seconds that the caller may sleep before the next sign of life.

        They are at most ``longest``.
        """
        if self.interval is None:
            return longest
        return max(0.0, min(longest, self._next - time.monotonic()))

    @property
    def heard(self) -> bool:
        """Whether a service manager started the process."""
        return bool(self._address)

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as stream:
                stream.connect(self._address)
                stream.sendall(text.encode(errors="replace"))
        except OSError:
            # Nobody listens any more: then nobody is to be told. systemd notices by itself.
            return


def _half(environ: Mapping[str, str]) -> float | None:
    """Return half the seconds after which systemd gives the service up, as its manual advises."""
    limit, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not limit.isdigit() or int(limit) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(limit) / _SECOND / 2


MAX_CLIENTS: Final = 8
BACKLOG: Final = 64  # connections that the kernel keeps while a picture is being answered
MAX_QUESTION: Final = 4096  # bytes
PATIENCE: Final = 5.0  # seconds that a client has to ask
MAX_PATH: Final = 107  # bytes; unix(7), the length of sun_path without its end

Answer = Callable[[], dict[str, Any]]


class HealthServer:
    """Answers one line of JSON, ``{"ask": "health"}``, with one line of JSON.

    It registers its sockets with a selector whose data are functions to call when they are ready.
    """

    def __init__(self, path: Path, selector: selectors.BaseSelector, answer: Answer) -> None:
        """Listen.

        Args:
            path: The path of the socket, made with mode 0600; one without a listener is replaced.
            selector: The selector of the loop that calls what gets ready.
            answer: Gives the health.

        Raises:
            UsageError: The path is too long, taken, or not writable.
        """
        self._path = path
        self._selector = selector
        self._answer = answer
        self._clients: dict[socket.socket, tuple[float, bytearray]] = {}
        self._listener = _listen(path)
        self._identity = _identity(path)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def expire(self) -> None:
        """Send away clients that have not asked in time."""
        now = time.monotonic()
        for client in [item for item, (end, _) in self._clients.items() if now > end]:
            self._drop(client)

    def close(self) -> None:
        """Stop listening, and take the socket away unless another took its place."""
        for client in list(self._clients):
            self._drop(client)
        self._selector.unregister(self._listener)
        if _identity(self._path) == self._identity:
            self._path.unlink(missing_ok=True)
        self._listener.close()

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:  # it has gone already, or there are no descriptors left
            return
        client.setblocking(False)
        if len(self._clients) >= MAX_CLIENTS:
            self._drop(next(iter(self._clients)))
        self._clients[client] = (time.monotonic() + PATIENCE, bytearray())
        self._selector.register(client, selectors.EVENT_READ, lambda: self._read(client))

    def _read(self, client: socket.socket) -> None:
        if client not in self._clients:  # sent away by an event of the same round
            return
        question = self._clients[client][1]
        try:
            part = client.recv(MAX_QUESTION)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        question += part
        if b"\n" in question:
            self._reply(client, bytes(question.partition(b"\n")[0]))
        elif not part or len(question) > MAX_QUESTION:
            self._drop(client)

    def _reply(self, client: socket.socket, question: bytes) -> None:
        answer = self._answer() if _asks_for_health(question) else {"error": "ask for health"}
        # Smaller than the socket's buffer; who does not read gets half a line and is left.
        with suppress(OSError):
            text = json.dumps(answer, ensure_ascii=False)
            client.send(text.encode(errors="replace") + b"\n")
        self._drop(client)

    def _drop(self, client: socket.socket) -> None:
        self._clients.pop(client, None)
        self._selector.unregister(client)
        client.close()


def _asks_for_health(question: bytes) -> bool:
    try:
        value = checked.parse_json(question, max_bytes=MAX_QUESTION)
    except ValueError:
        return False
    return isinstance(value, dict) and value.get("ask") == "health"


def _listen(path: Path) -> socket.socket:
    if len(os.fsencode(path)) > MAX_PATH:
        raise UsageError(
            f"the path of the socket has {len(os.fsencode(path))} bytes; Unix allows {MAX_PATH}",
            hint="Name a shorter one with --health.",
        )
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    old = os.umask(0o177)  # the mode from the first moment on, not a moment later
    try:
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise UsageError(f"no socket can be made at {path}: {error.strerror}") from error
    finally:
        os.umask(old)
    listener.setblocking(False)
    return listener


def _clear(path: Path) -> None:
    """Take away a socket that a process left when it was killed.

    Raises:
        UsageError: Something else lies there, or a process listens.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"no socket can be made at {path}: {error.strerror}") from error
    if not stat.S_ISSOCK(mode):
        raise UsageError(f"{path} is no socket, and it is in the way", hint="Name another path.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise UsageError(f"the socket {path} is in use: {cause_of(error)}") from error
    raise UsageError(f"another process answers at {path}", hint="Stop it first.")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
