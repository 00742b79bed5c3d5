"""SIGTERM and Ctrl-C: a loop ends between two pieces of work, and no Ctrl-C gets lost."""

import selectors
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Final, Self

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_AGAIN_SECONDS: Final = 0.01


def repeat_lost_interrupts() -> None:
    """Send Ctrl-C again where CPython could only print it and go on.

    A KeyboardInterrupt that is raised in the callback of a weak reference, or in a finalizer,
    goes to ``sys.unraisablehook`` and no further: the command would run to its end and say 0.
    """
    before = sys.unraisablehook

    def hook(lost: "sys.UnraisableHookArgs") -> None:
        if not issubclass(lost.exc_type, KeyboardInterrupt):
            before(lost)
            return
        # Not from here: what is raised within this function would be lost as well.
        timer = threading.Timer(_AGAIN_SECONDS, _interrupt_main_thread)
        timer.daemon = True
        with suppress(RuntimeError):  # the interpreter is ending, and takes no new threads
            timer.start()

    sys.unraisablehook = hook


def _interrupt_main_thread() -> None:
    """Send it to that thread, so that a call of the system that it waits in ends too."""
    main = threading.main_thread().ident
    if main is not None:
        signal.pthread_kill(main, signal.SIGINT)


class StopSignals:
    """While the context lasts, the signals are noted, and wake a selector.

    Attributes:
        received: The first one that came.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        """Use a selector whose data are functions to call when their socket is ready."""
        self.received: int | None = None
        self._selector = selector
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        import socket  # not at the top: a single prediction needs no network

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
