"""Many small pieces of work in threads, which Ctrl-C ends."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None
) -> list[Result]:
    """Call a function in threads; its results in the order of the items.

    Ctrl-C is heeded between two results and never within the executor: where it interrupts
    ``submit``, a lock stays taken for good and the executor waits for its threads for ever.

    Args:
        function: What to call.
        items: The argument of each call.
        workers: The number of threads; as many as the executor thinks good by default.

    Raises:
        KeyboardInterrupt: The user pressed Ctrl-C; what had not begun is left out.
    """
    with deferred_interrupt() as heed, ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(function, item) for item in items]
        results: list[Result] = []
        try:
            for future in futures:
                heed()
                results.append(future.result())
            heed()
        finally:
            for future in futures:
                future.cancel()
    return results


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], None]]:
    """Give a function that raises what Ctrl-C would have raised since the last call.

    The end of the block raises it as well.
    """
    pressed = threading.Event()
    before: Any = None
    mine = threading.current_thread() is threading.main_thread()
    if mine and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        before = signal.signal(signal.SIGINT, lambda *_: pressed.set())

    def heed() -> None:
        if pressed.is_set():
            pressed.clear()
            raise KeyboardInterrupt

    try:
        yield heed
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)
            heed()
