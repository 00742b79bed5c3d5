"""The pictures that int8 methods are calibrated and scored on, and what the float model says."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.cache import StageCache
from edge.errors import DataError
from edge.evaluation.images import find_scored_images
from edge.pipeline.calibration import calibration_array, choose
from edge.progress import Progress
from edge.runtime.contract import Preprocessing, Resize
from edge.training.models import keras_scores
from edge.weights import imagenet_classes
from support.script import data_with

IMAGENET: Final = "images/imagenet-sample"
PREPROCESSING: Final = Preprocessing(height=224, width=224, resize=Resize.CENTER_CROP)
CALIBRATION_IMAGES: Final = 100  # these two and the line above: the defaults of ``edge export``
SEED: Final = 0
PARTS: Final = 5  # disjoint calibration choices that --folds can ask for


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Which pictures calibrate and which are scored, by position; none does both."""

    calibration: NDArray[np.int64]
    scored: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """All pictures.

    Attributes:
        pixels: uint8 (images, height, width, 3), RGB, on disk.
        truth: Class index, (images,).
        reference: Probabilities of the float Keras model, float32 (images, classes).
        splits: One per repetition.
    """

    pixels: NDArray[np.uint8]
    truth: NDArray[np.int64]
    reference: NDArray[np.float32]
    splits: tuple[Split, ...]


def load(model: Any, identity: str, folds: int, folder: Path, progress: Progress) -> Pictures:
    """Find, decode and split the pictures, and ask the float model.

    Args:
        model: Keras classifier of ImageNet, RGB 0..255 in.
        identity: Content hash of the model.
        folds: 1 for the choice of ``edge export``; more for the first so many of ``PARTS``.
        folder: To write to.
        progress: Told of the stages.

    Raises:
        NotHere: EDGE_TEST_DATA has no such pictures.
        DataError: They are unlabelled, or too few.
    """
    labels = tuple(label for _, label in imagenet_classes())
    images = find_scored_images(data_with(IMAGENET) / IMAGENET, labels, PREPROCESSING, progress)
    found = tuple({picture.sha256: picture for picture in images.pictures}.values())
    unlabelled = [picture.path.name for picture in found if picture.label is None]
    if unlabelled or len(found) <= CALIBRATION_IMAGES:
        raise DataError(
            f"{len(found)} pictures, {len(unlabelled)} of them without a WordNet id in the name; "
            f"expected more than {CALIBRATION_IMAGES}, all with one",
            hint="Use the pictures of imagenet-sample as they are.",
        )
    cache = StageCache(folder / "cache")
    with progress.stage("float model", len(found)) as step:
        pixels = calibration_array(found, PREPROCESSING, cache=cache, step=lambda count: None)
        reference = keras_scores(
            identity, lambda: model, found, PREPROCESSING, cache=cache, step=step
        )
    return Pictures(
        pixels=np.load(pixels, mmap_mode="r", allow_pickle=False),
        truth=np.array([picture.label for picture in found], np.int64),
        reference=reference,
        splits=_splits(found, folds),
    )


def _splits(found: tuple[Any, ...], folds: int) -> tuple[Split, ...]:
    positions = np.arange(len(found))
    if folds > 1:
        parts = [positions[fold::PARTS] for fold in range(folds)]
    else:
        by_content = {picture.sha256: position for position, picture in enumerate(found)}
        count = min(CALIBRATION_IMAGES, len(found) // 2)
        chosen = choose(found, [picture.label for picture in found], count, SEED)
        parts = [np.array([by_content[picture.sha256] for picture in chosen])]
    return tuple(Split(calibration=part, scored=np.setdiff1d(positions, part)) for part in parts)
