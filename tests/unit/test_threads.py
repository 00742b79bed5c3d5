import os
import signal
import threading
import time

import pytest

from edge.threads import in_threads
from tests.interrupts import heeded_interrupts


def test_results_come_in_order() -> None:
    assert in_threads(lambda n: n * n, range(100), 4) == [n * n for n in range(100)]


def test_an_error_of_one_item_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda n: 1 // n, [1, 0, 1])


def test_ctrl_c_ends_it_between_two_items_and_leaves_the_rest() -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        time.sleep(0.01)

    press = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    with heeded_interrupts():
        press.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                in_threads(work, range(10_000), 4)
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        finally:
            press.cancel()
    assert 0 < len(begun) < 1000
