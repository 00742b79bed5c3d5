"""Tells systemd how a service is, by the protocol of sd_notify(3); nothing where nobody asks."""

import os
import socket
import time
from collections.abc import Mapping

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
        """The service answers from now on."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send(f"STATUS={' '.join(text.split())}")

    def stopping(self) -> None:
        """The service ends by its own will."""
        self._send("STOPPING=1")

    def alive(self, *, early: float = 0.0) -> None:
        """To be called wherever work goes on; a sign of life is sent when one is due.

        Args:
            early: Share of the interval by which it may come before. Before work during which none
                can be sent, this leaves it nearly all of the time that systemd allows.
        """
        now = time.monotonic()
        if self.interval is not None and now >= self._next - early * self.interval:
            self._next = now + self.interval
            self._send("WATCHDOG=1")

    def wait(self, longest: float) -> float:
        """Seconds that the caller may sleep before the next sign of life; at most ``longest``."""
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
    """Seconds: half the time after which systemd gives the service up, as its manual advises."""
    limit, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not limit.isdigit() or int(limit) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(limit) / _SECOND / 2
