"""Writes the golden self-test of a bundle that is no classifier."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.dataset.pictures import Hashed
from edge.runtime.contract import Preprocessing
from edge.runtime.files import write_json
from edge.runtime.golden import GOLDEN_NAME
from edge.runtime.preprocess import load, picture_of
from edge.runtime.session import open_session
from edge.runtime.tasks.golden import (
    CLEAR,
    TaskExpected,
    TaskGolden,
    kept_outputs,
    on_tensor,
    read_by,
)
from edge.runtime.tasks.model import TaskModel
from edge.runtime.tasks.results import Answer, Detections, Embedding, Poses, Segmentation
from edge.runtime.tasks.table import DecoderSpec
from edge.runtime.typed import encoded

IMAGES: Final = 3


def write_task_golden(
    folder: Path,
    files: Mapping[str, Path],
    pictures: Sequence[Hashed],
    reference: Sequence[Answer],
    *,
    preprocessing: Preprocessing,
    decoder: DecoderSpec,
    labels: tuple[str, ...],
) -> None:
    """Choose pictures, run every file on them, write all into the bundle.

    Args:
        folder: The folder of the bundle.
        files: The files by the names of their variants.
        pictures: The held-out images, which are readable.
        reference: The answers of the float file, or of the adopted one, to these images.
        preprocessing: The contract.
        decoder: What reads the outputs.
        labels: The names of classes, or of keypoints.

    Raises:
        ImageError: A picture that could be read before no longer can.
        InferenceError: An interpreter failed.
    """
    chosen = choose_telling(reference)
    pixels = [load(pictures[index].path, preprocessing) for index in chosen]
    (folder / "golden").mkdir()
    images = tuple(f"golden/{number}.png" for number in range(len(pixels)))
    for name, array in zip(images, pixels, strict=True):
        picture_of(array).save(folder / name, "PNG")
    variants = {}
    for name, path in files.items():
        model = TaskModel(open_session(path), labels, preprocessing, decoder)
        variants[name] = _expected(folder, name, model, pixels)
    write_json(
        folder / GOLDEN_NAME,
        TaskGolden(images=images, decoder=read_by(decoder), variants=variants).to_json(),
    )


def choose_telling(reference: Sequence[Answer], count: int = IMAGES) -> tuple[int, ...]:
    """Choose the pictures whose answers say most: many sure results, of classes not yet seen.

    Args:
        reference: An answer for each image.
        count: The largest number of pictures.

    Returns:
        Row numbers, the best first.
    """
    classes = [_classes(answer) for answer in reference]
    chosen: list[int] = []
    seen: set[int] = set()
    left = set(range(len(classes)))
    while left and len(chosen) < count:
        # New classes first, then many; of equal ones the first, so that a run repeats another.
        best = max(left, key=lambda row: (len(classes[row] - seen), len(classes[row]), -row))
        chosen.append(best)
        seen |= classes[best]
        left.remove(best)
    return tuple(chosen)


def _classes(answer: Answer) -> set[int]:
    """Return the classes that an answer is sure of; of poses, the sure keypoints."""
    if isinstance(answer, Detections):
        return {item.index for item in answer.items if item.score >= 0.5}
    if isinstance(answer, Poses):
        points = (point for pose in answer.items for point in enumerate(pose.keypoints))
        return {number for number, point in points if (point.score or 1.0) >= 0.5}
    if isinstance(answer, Segmentation):
        counts = np.bincount(answer.mask.reshape(-1))
        return set(np.flatnonzero(counts > 0.02 * answer.mask.size).tolist())
    return set()


def _expected(
    folder: Path, name: str, model: TaskModel, pixels: Sequence[NDArray[np.uint8]]
) -> TaskExpected:
    """Run one file and keep what it answers."""
    answers, rows = [], []
    for array in pixels:
        placed = on_tensor(array)
        outputs = model.outputs(placed)
        answers.append(model.decode(outputs, placed))
        rows.append(kept_outputs(model, outputs))
    parts = enumerate(zip(*rows, strict=True))
    arrays: dict[str, Any] = {f"raw{position}": np.stack(part) for position, part in parts}
    stated: tuple[Any, ...] = ()
    if isinstance(answers[0], Segmentation | Embedding):
        arrays["answers"] = np.stack([_array(answer) for answer in answers])
    else:
        stated = tuple(encoded(answer) for answer in answers)
    path = f"golden/{name}.npz"
    np.savez_compressed(folder / path, **arrays)
    return TaskExpected(
        path=path,
        answers=stated,
        engine=model.session.engine,
        flat=not any(_is_clear(answer, model.threshold + CLEAR) for answer in answers),
    )


def _array(answer: Answer) -> NDArray[Any]:
    return answer.mask if isinstance(answer, Segmentation) else answer.values  # type: ignore[union-attr]


def _is_clear(answer: Answer, least: float) -> bool:
    """Whether an answer holds anything that a broken network would not give."""
    if isinstance(answer, Segmentation):
        return len(_classes(answer)) > 1
    if isinstance(answer, Embedding):
        return bool(answer.values.any())
    return any(item.score >= least for item in answer.items)
