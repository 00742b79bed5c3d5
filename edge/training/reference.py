"""What the Keras model itself says: the reference that every written file is held against."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.cache import StageCache
from edge.dataset.pictures import Hashed
from edge.evaluation.predictions import kept_scores
from edge.progress import Step
from edge.runtime.preprocess import load
from edge.runtime.spec import Preprocessing
from edge.runtime.supervisor import keras_call

BATCH: Final = 32  # images in memory at a time


def keras_scores(
    model_id: str,
    load_model: Callable[[], Any],
    pictures: Sequence[Hashed],
    preprocessing: Preprocessing,
    *,
    cache: StageCache,
    step: Step,
) -> NDArray[np.float32]:
    """Scores (images, classes), float32, of a Keras model; computed once per content.

    Args:
        model_id: Content hash of the model.
        load_model: Gives the model; not called when the cache holds the answers.
        pictures: Readable images.
        preprocessing: The contract.
        cache: Where answers are kept.
        step: Told of each finished image.
    """
    paths = [picture.path for picture in pictures]

    def rows() -> Iterator[NDArray[np.float32]]:
        return _rows(load_model(), paths, preprocessing)

    return kept_scores(f"keras:{model_id}", pictures, preprocessing, rows, cache=cache, step=step)


def _rows(
    model: Any, paths: Sequence[Path], preprocessing: Preprocessing
) -> Iterator[NDArray[np.float32]]:
    import tensorflow as tf

    shape = (None, *model.inputs[0].shape[1:])
    function = tf.function(
        lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec(shape, tf.float32)],
    )
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), BATCH):
            images = pool.map(lambda path: load(path, preprocessing), paths[start : start + BATCH])
            batch = np.stack(list(images)).astype(np.float32)
            with keras_call():
                answers: NDArray[np.float32] = function(batch).numpy()
            yield from answers.reshape(len(answers), -1)
