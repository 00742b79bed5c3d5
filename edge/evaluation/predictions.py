"""One pass of a model file over many images, and its answers, kept by content hash.

Memory does not grow with the number of images.
"""

import io
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge.cache import StageCache, content_key, sealed_bytes
from edge.dataset.pictures import Hashed
from edge.errors import ImageError, InferenceError
from edge.evaluation.kept_pixels import Decode
from edge.progress import Step
from edge.runtime.contract import PIXELS, InputEncoding, Preprocessing
from edge.runtime.files import sha256_file
from edge.runtime.head import Head, class_probabilities
from edge.runtime.output import PROBABILITIES, OutputSpec
from edge.runtime.postprocess import dequantize
from edge.runtime.preprocess import load
from edge.runtime.session import Session, encode_pixels, open_session

ResultT = TypeVar("ResultT")
RunningT = TypeVar("RunningT")  # what a thread makes of its session


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a model to one image.

    Attributes:
        position: The position of the image in the sequence that was asked for.
        values: The first output as real values, float32, flattened; None if the image cannot be
            read.
        problem: The reason why the image could not be read; otherwise empty.
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
    decode: Decode = load,
) -> Iterator[Answer]:
    """Yield answers in the order of ``images``.

    Each worker decodes and runs its own images on an interpreter of its own with one thread.
    Interpreter and decoder release the GIL, so all cores work without any hand-over between
    them, and an image's answer does not depend on how many cores there are.

    Raises:
        ModelLoadError: The model does not load.
        InferenceError: The model fails on an image that could be read.
    """

    def work(session: Session, position: int) -> Answer:
        return _answer(session, position, images[position], preprocessing, decode)

    yield from spread(model, _itself, work, len(images), engine=engine, workers=workers)


def run_pixels(
    model: Path,
    pixels: NDArray[np.uint8],
    *,
    engine: str | None = None,
    encoding: InputEncoding = PIXELS,
) -> NDArray[np.float32]:
    """Return scores (images, classes), float32, of decoded images, by a file that edge has written.

    Args:
        model: The file.
        pixels: (images, height, width, channels).
        engine: The interpreter; None for the first that is installed.
        encoding: What real values a pixel becomes in a file that takes such.

    Raises:
        ModelLoadError: The model does not load.
        InferenceError: The model fails.
    """

    def work(session: Session, position: int) -> NDArray[np.float32]:
        return _scores(session, pixels[position], encoding)

    return np.stack(list(spread(model, _itself, work, len(pixels), engine=engine)))


def spread(
    model: Path,
    opened: Callable[[Session], RunningT],
    work: Callable[[RunningT, int], ResultT],
    total: int,
    *,
    engine: str | None,
    workers: int | None = None,
) -> Iterator[ResultT]:
    """Yield the results of ``work`` in order; each thread has a session of its own.

    Args:
        model: The file.
        opened: What a thread makes of its session.
        work: Gives the result of a position, from what the thread has.
        total: How many positions there are.
        engine: The interpreter; None for the first that is installed.
        workers: How many threads; None for one a core.
    """
    count = min(workers or os.cpu_count() or 1, max(1, total))
    # What is broken is this call's error. The first thread takes what was opened.
    waiting = [opened(open_session(model, engine=engine))]
    local = threading.local()

    def own(position: int) -> ResultT:
        if not hasattr(local, "running"):
            try:
                local.running = waiting.pop()
            except IndexError:
                local.running = opened(open_session(model, engine=engine))
        return work(local.running, position)

    with ThreadPoolExecutor(count, thread_name_prefix="edge-images") as pool:
        yield from _windowed(pool, own, total, ahead=4 * count)


def _itself(session: Session) -> Session:
    return session


def _windowed(
    pool: ThreadPoolExecutor, work: Callable[[int], ResultT], total: int, *, ahead: int
) -> Iterator[ResultT]:
    """Yield the results in order; never more than ``ahead`` of them wait to be taken."""
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


def _answer(
    session: Session, position: int, image: Path, preprocessing: Preprocessing, decode: Decode
) -> Answer:
    try:
        pixels = decode(image, preprocessing)
    except ImageError as error:
        return Answer(position, None, error.message)
    return Answer(position, _scores(session, pixels, preprocessing.encoding))


def _scores(
    session: Session, pixels: NDArray[np.uint8], encoding: InputEncoding = PIXELS
) -> NDArray[np.float32]:
    output: NDArray[Any] = session.run(encode_pixels(pixels, session.inputs[0], encoding))[0]
    return dequantize(output, session.outputs[0]).reshape(-1)


def predictions(
    model: Path,
    pictures: Sequence[Hashed],
    preprocessing: Preprocessing,
    *,
    cache: StageCache,
    engine: str | None = None,
    head: Head | None = None,
    output: OutputSpec = PROBABILITIES,
    step: Step = lambda count: None,  # noqa: ARG005
    decode: Decode = load,
) -> NDArray[np.float32]:
    """Return scores (images, classes), float32, of a file: see ``raw_outputs``.

    Args:
        model: The file.
        pictures: The images, which can be read.
        preprocessing: The contract of its input.
        cache: The cache that keeps the answers.
        engine: The interpreter; None for the first that is installed.
        head: The head of a bundle whose files answer with embeddings.
        output: What the values of the file mean, if there is no head.
        step: It is told of each finished image.
        decode: Gives the pixels of an image; see ``kept_pixels``.

    Raises:
        ModelLoadError: The model does not load.
        InferenceError: An image can no longer be read, or scores are not finite or not
            probabilities.
    """
    outputs = raw_outputs(
        model, pictures, preprocessing, cache=cache, engine=engine, step=step, decode=decode
    )
    return class_probabilities(outputs, head, output)


def raw_outputs(
    model: Path,
    pictures: Sequence[Hashed],
    preprocessing: Preprocessing,
    *,
    cache: StageCache,
    engine: str | None = None,
    step: Step = lambda count: None,  # noqa: ARG005
    decode: Decode = load,
) -> NDArray[np.float32]:
    """Return real values (images, values), float32, of the first output of a file.

    They are computed once per model, interpreter and images. The arguments are those of
    ``predictions``.

    Raises:
        ModelLoadError: The model does not load.
        InferenceError: An image can no longer be read, values are not finite, or the file changed
            meanwhile.
    """
    digest = sha256_file(model)

    def rows() -> Iterator[NDArray[np.float32]]:
        paths = [picture.path for picture in pictures]
        yield from _rows(model, paths, preprocessing, engine, decode)
        # Each thread opens the file by its name, so the answers would be those of another file.
        if sha256_file(model) != digest:
            raise InferenceError(
                f"{model.name} changed while it was scored", hint="Run the command again."
            )

    # Another interpreter, or another version of it, can answer differently.
    made_by = open_session(model, engine=engine).engine
    model_id = f"{digest} {made_by}"
    return kept_scores(model_id, pictures, preprocessing, rows, cache=cache, step=step)


def kept_scores(
    model_id: str,
    pictures: Sequence[Hashed],
    preprocessing: Preprocessing,
    rows: Callable[[], Iterable[NDArray[np.float32]]],
    *,
    cache: StageCache,
    step: Step,
) -> NDArray[np.float32]:
    """Return the score table of a model, from the cache or from ``rows``.

    Args:
        model_id: The content hash of the model, and whatever else decides its answers.
        pictures: The images, by content.
        preprocessing: The contract of its input.
        rows: A function that computes the answers (classes,) float32, in the order of ``pictures``.
        cache: The cache that keeps the tables.
        step: It is told of each finished image.
    """
    images = [picture.sha256 for picture in pictures]
    parts = {"model": model_id, "images": images, "preprocessing": preprocessing.sha256}
    key = content_key("predictions", parts)
    entry = cache.find(key)
    if entry is not None:
        step(len(pictures))
        content = io.BytesIO(sealed_bytes(entry / "scores.npy"))
        kept: NDArray[np.float32] = np.load(content, allow_pickle=False)
        return kept
    collected = []
    for row in rows():
        collected.append(row)
        step(1)
    scores = np.stack(collected)
    with cache.store(key) as folder:
        np.save(folder / "scores.npy", scores)
    return scores


def _rows(
    model: Path,
    paths: Sequence[Path],
    preprocessing: Preprocessing,
    engine: str | None,
    decode: Decode,
) -> Iterator[NDArray[np.float32]]:
    for answer in run_images(model, paths, preprocessing, engine=engine, decode=decode):
        if answer.values is None:
            raise InferenceError(
                f"{paths[answer.position]} cannot be read any more: {answer.problem}"
            )
        if not np.isfinite(answer.values).all():
            raise InferenceError(f"{model.name} answers {paths[answer.position]} with NaN")
        yield answer.values
