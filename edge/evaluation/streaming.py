"""One pass of a model file over many images: memory does not grow with their number."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge.errors import ImageError
from edge.runtime.postprocess import dequantize
from edge.runtime.preprocess import load
from edge.runtime.session import Session, encode_pixels, open_session
from edge.runtime.spec import PIXEL_RANGE, Preprocessing

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said of one image.

    Attributes:
        position: Of the image in the sequence that was asked for.
        values: First output as real values, float32, flattened; None if the image is unreadable.
        problem: Why the image could not be read; empty otherwise.
    """

    position: int
    values: NDArray[np.float32] | None
    problem: str = ""


def run_images(
    model: Path,
    images: Sequence[Path],
    preprocessing: Preprocessing,
    *,
    engine: str | None = None,
    workers: int | None = None,
) -> Iterator[Answer]:
    """Answers in the order of ``images``.

    Each worker decodes and runs its own images on an interpreter of its own with one thread.
    Interpreter and decoder release the GIL, so all cores work without any hand-over between
    them, and an image's answer does not depend on how many cores there are.

    Raises:
        ModelLoadError: The model does not load.
        InferenceError: The model failed on an image that could be read.
    """

    def work(session: Session, position: int) -> Answer:
        return _answer(session, position, images[position], preprocessing)

    yield from _spread(model, work, len(images), engine=engine, workers=workers)


def run_pixels(
    model: Path, pixels: NDArray[np.uint8], *, engine: str | None = None
) -> NDArray[np.float32]:
    """Scores (images, classes), float32, of decoded images, by a file that edge has written.

    Args:
        model: The file.
        pixels: (images, height, width, channels).
        engine: Interpreter; None for the first that is installed.

    Raises:
        ModelLoadError: The model does not load.
        InferenceError: The model failed.
    """

    def work(session: Session, position: int) -> NDArray[np.float32]:
        return _scores(session, pixels[position], PIXEL_RANGE)

    return np.stack(list(_spread(model, work, len(pixels), engine=engine, workers=None)))


def _spread(
    model: Path,
    work: Callable[[Session, int], ResultT],
    total: int,
    *,
    engine: str | None,
    workers: int | None,
) -> Iterator[ResultT]:
    """Results of ``work`` in order, each thread with a session of its own."""
    count = min(workers or os.cpu_count() or 1, max(1, total))
    open_session(model, engine=engine)  # a broken model is an error of this call, not of a thread
    local = threading.local()

    def own(position: int) -> ResultT:
        if not hasattr(local, "session"):
            local.session = open_session(model, engine=engine)
        return work(local.session, position)

    with ThreadPoolExecutor(count, thread_name_prefix="edge-images") as pool:
        yield from _windowed(pool, own, total, ahead=4 * count)


def _windowed(
    pool: ThreadPoolExecutor, work: Callable[[int], ResultT], total: int, *, ahead: int
) -> Iterator[ResultT]:
    """Results in order, never more than ``ahead`` of them waiting to be taken."""
    waiting: deque[Future[ResultT]] = deque()
    try:
        for position in range(total):
            waiting.append(pool.submit(work, position))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _answer(session: Session, position: int, image: Path, preprocessing: Preprocessing) -> Answer:
    try:
        pixels = load(image, preprocessing)
    except ImageError as error:
        return Answer(position, None, error.message)
    return Answer(position, _scores(session, pixels, preprocessing.value_range))


def _scores(
    session: Session, pixels: NDArray[np.uint8], value_range: tuple[float, float]
) -> NDArray[np.float32]:
    output: NDArray[Any] = session.run(encode_pixels(pixels, session.inputs[0], value_range))[0]
    return dequantize(output, session.outputs[0]).reshape(-1)
