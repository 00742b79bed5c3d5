"""What one model file says of a set of images, kept by content hash."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.cache import StageCache, content_key
from edge.errors import InferenceError
from edge.evaluation.streaming import run_images
from edge.progress import Step
from edge.runtime.files import sha256_file
from edge.runtime.spec import Preprocessing


@dataclass(frozen=True, slots=True)
class Picture:
    """An image file by its content.

    Attributes:
        path: Where it lies.
        sha256: Of its bytes, hex.
        label: Class index, or None where it is unknown.
    """

    path: Path
    sha256: str
    label: int | None = None


def predictions(
    model: Path,
    pictures: Sequence[Picture],
    preprocessing: Preprocessing,
    *,
    cache: StageCache,
    engine: str | None = None,
    step: Step = lambda count: None,  # noqa: ARG005
) -> NDArray[np.float32]:
    """Scores (images, classes), float32, of a model file; computed once per content.

    Raises:
        InferenceError: An image that could be read before no longer can, or scores that are not
            finite.
    """
    key = content_key(
        "predictions",
        {
            "model": sha256_file(model),
            "images": [picture.sha256 for picture in pictures],
            "preprocessing": preprocessing.sha256,
            "engine": engine,
        },
    )
    found = cache.find(key)
    if found is not None:
        step(len(pictures))
        kept: NDArray[np.float32] = np.load(found / "scores.npy", allow_pickle=False)
        return kept
    scores = _computed(model, pictures, preprocessing, engine, step)
    with cache.store(key) as folder:
        np.save(folder / "scores.npy", scores)
    return scores


def _computed(
    model: Path,
    pictures: Sequence[Picture],
    preprocessing: Preprocessing,
    engine: str | None,
    step: Step,
) -> NDArray[np.float32]:
    rows: list[NDArray[np.float32]] = []
    paths = [picture.path for picture in pictures]
    for answer in run_images(model, paths, preprocessing, engine=engine):
        if answer.values is None:
            raise InferenceError(
                f"{paths[answer.position]} cannot be read any more: {answer.problem}"
            )
        if not np.isfinite(answer.values).all():
            raise InferenceError(f"{model.name} answers {paths[answer.position]} with NaN")
        rows.append(answer.values)
        step(1)
    return np.stack(rows)
