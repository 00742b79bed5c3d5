"""What one model file says of a set of images, kept by content hash."""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.cache import StageCache, content_key, sealed_bytes
from edge.dataset.pictures import Hashed
from edge.errors import InferenceError
from edge.evaluation.streaming import run_images
from edge.progress import Step
from edge.runtime.files import sha256_file
from edge.runtime.head import Head, class_probabilities
from edge.runtime.output import PROBABILITIES, OutputSpec
from edge.runtime.session import open_session
from edge.runtime.spec import Preprocessing


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
) -> NDArray[np.float32]:
    """Scores (images, classes), float32, of a file: see ``raw_outputs``.

    Args:
        model: The file.
        pictures: Readable images.
        preprocessing: The contract.
        cache: Where answers are kept.
        engine: Interpreter; None for the first that is installed.
        head: Of a bundle whose files answer with embeddings.
        output: What the values of the file mean, where there is no head.
        step: Told of each finished image.

    Raises:
        ModelLoadError: The model does not load.
        InferenceError: An image that could be read before no longer can, or scores that are not
            finite or no probabilities.
    """
    outputs = raw_outputs(model, pictures, preprocessing, cache=cache, engine=engine, step=step)
    return class_probabilities(outputs, head, output)


def raw_outputs(
    model: Path,
    pictures: Sequence[Hashed],
    preprocessing: Preprocessing,
    *,
    cache: StageCache,
    engine: str | None = None,
    step: Step = lambda count: None,  # noqa: ARG005
) -> NDArray[np.float32]:
    """Real values (images, values), float32, of a file's first output.

    They are computed once per model, interpreter and images. Arguments as for ``predictions``.

    Raises:
        ModelLoadError: The model does not load.
        InferenceError: An image that could be read before no longer can, values that are not
            finite, or the file changed meanwhile.
    """
    digest = sha256_file(model)

    def rows() -> Iterator[NDArray[np.float32]]:
        yield from _rows(model, [picture.path for picture in pictures], preprocessing, engine)
        # Each worker opens it by its name: the answers would be another file's.
        if sha256_file(model) != digest:
            raise InferenceError(
                f"{model.name} changed while it was scored", hint="Run the command again."
            )

    # Another interpreter, or another version of it, may answer otherwise.
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
    """The score table of a model by its content hash, from the cache or from ``rows``.

    Args:
        model_id: Content hash of the model, and whatever else decides its answers.
        pictures: The images, by content.
        preprocessing: The contract.
        rows: Computes the answers (classes,) float32, in the order of ``pictures``.
        cache: Where tables are kept.
        step: Told of each finished image.
    """
    images = [picture.sha256 for picture in pictures]
    parts = {"model": model_id, "images": images, "preprocessing": preprocessing.sha256}
    key = content_key("predictions", parts)
    found = cache.find(key)
    if found is not None:
        step(len(pictures))
        content = io.BytesIO(sealed_bytes(found / "scores.npy"))
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
    model: Path, paths: Sequence[Path], preprocessing: Preprocessing, engine: str | None
) -> Iterator[NDArray[np.float32]]:
    for answer in run_images(model, paths, preprocessing, engine=engine):
        if answer.values is None:
            raise InferenceError(
                f"{paths[answer.position]} cannot be read any more: {answer.problem}"
            )
        if not np.isfinite(answer.values).all():
            raise InferenceError(f"{model.name} answers {paths[answer.position]} with NaN")
        yield answer.values
