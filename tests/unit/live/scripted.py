"""A camera that gives what a test says, and a model that takes as long as it says."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from edge.errors import CameraError
from edge.runtime.cameras.camera import CameraDescription, CameraFault, Frame
from edge.runtime.live.model import LiveAnswer, Steps

JPEG = b"\xff\xd8 not decoded here \xff\xd9"


def description(name: str = "scripted") -> CameraDescription:
    return CameraDescription(
        address="scripted", name=name, format="MJPG", width=64, height=48, rate=10.0
    )


def until(condition: Callable[[], Any], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not become true"
        time.sleep(0.005)


class ScriptedCamera:
    """Gives the frames and errors that are put into it."""

    def __init__(self) -> None:
        self.description = description()
        self.feed: queue.Queue[Frame | CameraError] = queue.Queue()
        self.closed = 0
        self.ended = False
        self.patience = 10.0  # seconds before it says that no picture comes, where that is less
        self._number = 0

    def give(self, *, lost: int = 0, jpeg: bytes = JPEG) -> None:
        self._number += 1
        frame = Frame(number=self._number, jpeg=jpeg, captured=time.monotonic(), lost=lost)
        self.feed.put(frame)

    def fail(self, fault: CameraFault, message: str = "it failed") -> None:
        self.feed.put(CameraError(message, fault=fault))

    def end(self) -> None:
        """Give nothing any more, at once."""
        self.ended = True

    def read(self, timeout: float = 10.0) -> Frame:
        end = time.monotonic() + min(timeout, self.patience)
        while not self.ended and time.monotonic() < end:
            with suppress(queue.Empty):
                item = self.feed.get(timeout=0.01)
                if isinstance(item, CameraError):
                    raise item
                return item
        raise CameraError("no picture came", fault=CameraFault.NO_PICTURE)

    def close(self) -> None:
        self.closed += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        while True:
            yield self.read()


class TimedModel:
    """Answers after so many seconds, in one thread alone."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.gate = threading.Event()
        self.gate.set()
        self.threads: set[int] = set()
        self.names: list[str] = []
        self.fails: Exception | None = None

    def answer(self, jpeg: bytes, *, name: str, smooth: bool = False) -> LiveAnswer:
        self.threads.add(threading.get_ident())
        self.gate.wait(10)
        time.sleep(self.seconds)
        if self.fails is not None:
            raise self.fails
        self.names.append(name)
        stated: dict[str, Any] = {"image": name, "variant": "v", "categories": []}
        steps = Steps(preprocess=0.001, inference=self.seconds, postprocess=0.002)
        return LiveAnswer(stated=stated, answer=None, steps=steps)
