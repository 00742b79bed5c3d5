"""Writes ``golden/`` into a bundle: pictures, and what each written file answers to them here."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.dataset.pictures import Picture
from edge.pipeline.conversion import Converted
from edge.runtime.files import write_json
from edge.runtime.golden import ABSOLUTE, GOLDEN_NAME, STEPS, Expected, Golden, margin
from edge.runtime.preprocess import load, picture_of
from edge.runtime.session import encode_pixels, open_session
from edge.runtime.spec import Preprocessing

IMAGES: Final = 3
WANTED_MARGIN: Final = 0.5  # between the two best probabilities

# Largest difference that passes, (same interpreter, another one). On the same one, between x86-64
# and aarch64, docs/runner.md measured: integers one step, float32 1.1e-5, int8 weights with float
# answers 0.007; a wrong kernel is 38 steps or more away. Between correct interpreters it is up to
# 20 steps of 256, or 0.15 (benchmarks.parity).
_INTEGER_STEPS: Final = (2.0, 32.0)
_FLOAT32: Final = (1e-4, 1e-3)
_FLOAT16: Final = (2e-2, 2e-2)  # Arm CPUs with half-precision arithmetic compute fp16 files in it
_INTEGER_INSIDE: Final = (0.05, 0.2)  # int8 weights, float answers: dynamic range and QDQ


def write_golden(
    folder: Path,
    converted: Sequence[Converted],
    pictures: Sequence[Picture],
    reference: NDArray[np.float32],
    preprocessing: Preprocessing,
) -> None:
    """Choose pictures, run every file on them, write all into the bundle.

    Args:
        folder: Of the bundle.
        converted: The files.
        pictures: Held-out images; readable.
        reference: (images, classes) probabilities of the Keras model for ``pictures``.
        preprocessing: The contract.

    Raises:
        ImageError: A picture that could be read before no longer can.
        InferenceError: An interpreter failed.
    """
    chosen = choose_golden(reference)
    pixels = [load(pictures[index].path, preprocessing) for index in chosen]
    (folder / "golden").mkdir()
    images = tuple(f"golden/{number}.png" for number in range(len(pixels)))
    for name, array in zip(images, pixels, strict=True):
        picture_of(array).save(folder / name, "PNG")
    variants = {
        item.target.name: _expected(folder, item, pixels, preprocessing) for item in converted
    }
    write_json(folder / GOLDEN_NAME, Golden(images=images, variants=variants).to_json())


def choose_golden(reference: NDArray[np.float32], count: int = IMAGES) -> tuple[int, ...]:
    """Pictures whose answers say most: of different best classes, neither sure nor in doubt.

    A sure answer (probability 1) hides a wrong logit behind the softmax; one in doubt may turn by
    rounding alone. So the margin between the two best classes is to be near ``WANTED_MARGIN``,
    rather above it than below.

    Args:
        reference: (images, classes) probabilities.
        count: At most so many.

    Returns:
        Row numbers, the best first.
    """
    above = np.array([margin(row) for row in reference]) - WANTED_MARGIN
    off = np.where(above < 0, -2 * above, above)
    ranked = np.argsort(off, kind="stable").tolist()
    first_of_class: dict[int, int] = {}
    for index in ranked:
        first_of_class.setdefault(int(reference[index].argmax()), index)
    distinct = list(first_of_class.values())
    others = [index for index in ranked if index not in set(distinct)]
    return tuple((distinct + others)[:count])


def _expected(
    folder: Path,
    item: Converted,
    pixels: Sequence[NDArray[np.uint8]],
    preprocessing: Preprocessing,
) -> Expected:
    """Run one file and keep what it answers."""
    session = open_session(item.path)
    bounds = preprocessing.value_range
    tensors = (encode_pixels(array, session.inputs[0], bounds) for array in pixels)
    answers = np.stack([session.run(tensor)[0] for tensor in tensors])
    path = f"golden/{item.target.name}.npy"
    np.save(folder / path, answers, allow_pickle=False)
    same, other = tolerances(answers, str(item.target.precision))
    return Expected(
        path=path,
        engine=session.engine,
        unit=STEPS if answers.dtype.kind in "iu" else ABSOLUTE,
        tolerance=same,
        other_engine_tolerance=other,
        flat=is_flat(answers, same),
    )


def tolerances(answers: NDArray[Any], precision: str) -> tuple[float, float]:
    """What passes on the same interpreter and on another one; the unit is that of the answers."""
    if answers.dtype.kind in "iu":
        # A step of 16 bits is 256 times finer than one of 8.
        finer = 1.0 if answers.dtype.itemsize == 1 else 256.0
        return _INTEGER_STEPS[0] * finer, _INTEGER_STEPS[1] * finer
    # Probabilities are at most 1; embeddings are not, and rounding grows with them.
    size = max(1.0, float(np.abs(answers).max(initial=0.0)))
    same, other = {"fp32": _FLOAT32, "fp16": _FLOAT16}.get(precision, _INTEGER_INSIDE)
    return same * size, other * size


def is_flat(answers: NDArray[Any], tolerance: float) -> bool:
    """Whether a network that always gives one answer, or one to all classes, would pass.

    Args:
        answers: (images, *output).
        tolerance: In their unit.
    """
    values = answers.reshape(len(answers), -1).astype(np.float64)
    between_classes = float(np.ptp(values, axis=1).max())
    between_images = float(np.ptp(values, axis=0).max()) if len(values) > 1 else between_classes
    return min(between_classes, between_images) <= 2 * tolerance
