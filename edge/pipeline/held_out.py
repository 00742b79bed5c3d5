"""Hands held-out images to the converters: for the calibration audit, and for a search."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
from numpy.typing import NDArray

from converters.audit import HELD_OUT_IMAGES
from converters.base import HeldOut
from edge.cache import StageCache
from edge.dataset.pictures import Picture
from edge.pipeline.calibration import calibration_array, choose
from edge.runtime.spec import Preprocessing

SEARCH_IMAGES: Final = 1000  # at most; the final files are scored on all of them


def chosen_pictures(pictures: Sequence[Picture], *, searched: bool, seed: int) -> Sequence[Picture]:
    """Some of the held-out images, the classes in turn."""
    count = SEARCH_IMAGES if searched else HELD_OUT_IMAGES
    return choose(pictures, [picture.label for picture in pictures], count, seed)


@contextmanager
def held_out(
    chosen: Sequence[Picture],
    pictures: Sequence[Picture],
    reference: NDArray[np.float32],
    preprocessing: Preprocessing,
    *,
    cache: StageCache,
) -> Iterator[HeldOut]:
    """Their pixels and the Keras model's answers, as files that last as long as the context.

    Args:
        chosen: Of ``pictures``.
        pictures: All held-out images.
        reference: (images, classes) scores of the Keras model for ``pictures``.
        preprocessing: The contract.
        cache: Where pixels are kept.
    """
    pixels = calibration_array(chosen, preprocessing, cache=cache, step=lambda count: None)  # noqa: ARG005
    rows = {picture.path: row for picture, row in zip(pictures, reference, strict=True)}
    with cache.scratch("held-out") as folder:
        np.save(folder / "reference.npy", np.stack([rows[picture.path] for picture in chosen]))
        yield HeldOut(
            pixels=pixels,
            reference=folder / "reference.npy",
            truth=tuple(picture.label for picture in chosen),
        )
