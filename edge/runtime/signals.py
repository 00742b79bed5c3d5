"""SIGTERM and Ctrl-C end a loop between two pieces of work, not in the middle of one."""

import selectors
import signal
import socket
from types import FrameType, TracebackType
from typing import Any, Final, Self

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """While the context lasts, the signals are noted, and wake a selector.

    Attributes:
        received: The first one that came.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        """The selector's data are functions to call when their socket is ready."""
        self.received: int | None = None
        self._selector = selector
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        self._reader, self._writer = socket.socketpair()
        for end in (self._reader, self._writer):
            end.setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._reader, selectors.EVENT_READ, self._drain)
        self._before = [signal.signal(number, self._note) for number in _SIGNALS]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in zip(_SIGNALS, self._before, strict=True):
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        self._selector.unregister(self._reader)
        self._reader.close()
        self._writer.close()

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt  # whoever presses Ctrl-C twice does not want to wait
        self.received = self.received or number

    def _drain(self) -> None:
        self._reader.recv(4096)
