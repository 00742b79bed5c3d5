"""What an int8 file answers, held against the float model, and how long it takes."""

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.protocol import Protocol
from benchmarks.stats import median
from benchmarks.timing import measure
from benchmarks.verdict import ORDER
from edge.runtime.files import write_bytes
from edge.runtime.postprocess import dequantize
from edge.runtime.session import encode_pixels, open_session
from edge.runtime.spec import TensorSpec
from support.quantization_methods import Method, Source
from support.quantization_pictures import Pictures, Split

BLOCK: Final = Protocol(runs=20, min_seconds=0.1, max_seconds=2.0)
FLOOR: Final = 1e-4  # least probability that the divergence sees: uint8 answers hold zeros


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A method's file in one split.

    Attributes:
        path: Of the file.
        seconds: To make it, from the float graph.
        input: dtype of its input.
        top1: Which scored pictures it has right, (scored,) 0 or 1.
        agreement: Where its best class is the float model's, (scored,) 0 or 1.
        divergence: Kullback-Leibler divergence from the float model, (scored,), nats.
        rounds: Milliseconds, (rounds, 2): the plain file, this one.
    """

    path: Path
    seconds: float
    input: str
    top1: NDArray[np.float64]
    agreement: NDArray[np.float64]
    divergence: NDArray[np.float64]
    rounds: NDArray[np.float64]


def run(
    method: Method, source: Source, pictures: Pictures, split: Split, plain: Path, rounds: int
) -> Outcome:
    """Make a file, score it, time it in turn with the plain file of its format."""
    started = time.monotonic()
    content = method.make(source)
    seconds = time.monotonic() - started
    name = "".join(letter if letter.isalnum() else "-" for letter in method.name)
    path = source.folder / f"{name}.{method.format}"
    write_bytes(path, content)
    zero_point = source.calibration.zero_point or 0
    given = answers(path, pictures.pixels[split.scored], zero_point)
    wanted, truth = pictures.reference[split.scored], pictures.truth[split.scored]
    return Outcome(
        path=path,
        seconds=seconds,
        input=open_session(path).inputs[0].dtype,
        top1=(given.argmax(axis=1) == truth).astype(np.float64),
        agreement=(given.argmax(axis=1) == wanted.argmax(axis=1)).astype(np.float64),
        divergence=divergence(wanted, given),
        rounds=in_turn(plain if plain.exists() else path, path, zero_point, rounds),
    )


def answers(path: Path, pixels: NDArray[np.uint8], zero_point: int) -> NDArray[np.float32]:
    """Probabilities, (images, classes), of RGB pixels (images, height, width, 3)."""
    session = open_session(path, threads=os.cpu_count() or 1)
    spec, output = session.inputs[0], session.outputs[0]
    rows = [
        dequantize(session.run(encoded(image, spec, zero_point))[0], output).reshape(-1)
        for image in pixels
    ]
    return np.stack(rows)


def encoded(image: NDArray[np.uint8], spec: TensorSpec, zero_point: int) -> NDArray[Any]:
    """The input of a file made from the folded network, which takes the pixel less its zero.

    A uint8 input is the pixel itself; an int8 one has whatever scale its quantizer chose.
    """
    if spec.dtype == "uint8":
        return encode_pixels(image, spec)
    real = image[np.newaxis].astype(np.float32) - np.float32(zero_point)
    if spec.quantization is None:
        return real
    levels = np.rint(real / spec.quantization.scales[0]) + spec.quantization.zero_points[0]
    tensor: NDArray[Any] = np.clip(levels, -128, 127).astype(spec.dtype)
    return tensor


def divergence(wanted: NDArray[np.float32], given: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sum of p log(p / q) per image, nats; p the float model's, both at least ``FLOOR``."""
    p, q = (np.clip(table.astype(np.float64), FLOOR, None) for table in (wanted, given))
    p, q = (table / table.sum(axis=1, keepdims=True) for table in (p, q))
    result: NDArray[np.float64] = (p * np.log(p / q)).sum(axis=1)
    return result


def in_turn(
    plain: Path, path: Path, zero_point: int, rounds: int, shape: Sequence[int] = (224, 224, 3)
) -> NDArray[np.float64]:
    """Medians of both files in milliseconds, (rounds, 2), one thread, in the order ABBA."""
    noise = np.random.default_rng(0).integers(0, 256, tuple(shape), np.uint8)
    sides = {"A": plain, "B": path}
    found = []
    for _ in range(rounds):
        samples: dict[str, list[float]] = {"A": [], "B": []}
        for letter in ORDER:
            timed = measure(sides[letter], lambda spec: encoded(noise, spec, zero_point), BLOCK)
            samples[letter].extend(timed.samples)
        found.append([1e3 * median(samples[letter]) for letter in "AB"])
    return np.array(found)


def mean(values: Sequence[NDArray[np.float64]], splits: Sequence[Split]) -> tuple[float, float]:
    """Mean over pictures and its standard error.

    A picture that is scored in several splits counts once, with its mean: the splits share
    pictures, so that their answers are no independent evidence.

    Args:
        values: Of the scored pictures of each split.
        splits: The same order.
    """
    positions = np.concatenate([split.scored for split in splits])
    counts = np.bincount(positions)
    sums = np.bincount(positions, np.concatenate(values))
    each = sums[counts > 0] / counts[counts > 0]
    return float(each.mean()), float(each.std(ddof=1) / math.sqrt(len(each)))
