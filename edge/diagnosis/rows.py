"""The rows of the matrix: every file with every set of kernels, and how far answers differ."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.diagnosis.file_layers import open_onnx, open_tflite
from edge.diagnosis.result import MatrixRow, RowDifference, traits
from edge.errors import EngineUnavailable, ModelLoadError
from edge.modelfile.delegation import delegation, nodes_of
from edge.runtime.bundle import Bundle
from edge.runtime.contract import InputEncoding
from edge.runtime.output import PROBABILITIES, OutputSpec
from edge.runtime.postprocess import answers, dequantize
from edge.runtime.session import Session, encode_pixels
from edge.runtime.spec import Variant

KERAS: Final = "keras"
# (format, whether the file is integer) -> kernels that run it; the last is what a user gets. Float
# files have one row: their kernels differ by the order of float additions only.
KERNELS: Final = {
    ("tflite", True): ("reference", "built-in", "xnnpack"),
    ("tflite", False): ("xnnpack",),
    ("onnx", True): ("reference", "optimized"),
    ("onnx", False): ("optimized",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnableRow:
    """A row that can answer.

    Attributes:
        row: The row.
        run: Gives (classes,) float32 real values for (height, width, channels) uint8 pixels.
        step: The quantization step of the output; None for a real one.
    """

    row: MatrixRow
    run: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    step: float | None


def runners(bundle: Bundle) -> Iterator[RunnableRow | MatrixRow]:
    """Yield what can run, in the order of the bundle; the row alone where it is not available.

    Raises:
        BundleError: A model file is missing or altered.
        ModelLoadError: A model file does not load with the kernels that a user gets.
    """
    for variant in bundle.manifest.variants:
        path = bundle.model(variant.name)[1]
        choices = KERNELS[variant.format, traits(variant.precision).is_integer]
        for kernels in choices:
            name = f"{variant.name} {kernels}" if len(choices) > 1 else variant.name
            row = MatrixRow(name=name, variant=variant.name, kernels=kernels)
            try:
                yield _runner(row, variant, path, bundle.manifest.preprocessing.encoding)
            except EngineUnavailable as error:
                yield replace(row, problem=error.message)
            except ModelLoadError as error:
                if kernels == choices[-1]:
                    raise
                yield replace(row, problem=error.message)


def _runner(row: MatrixRow, variant: Variant, path: Path, encoding: InputEncoding) -> RunnableRow:
    session: Session
    note = ""
    if variant.format == "tflite":
        session, interpreter = open_tflite(path, row.kernels)
        if row.kernels == "xnnpack":
            taken = delegation(nodes_of(interpreter))
            note = f"XNNPACK computes {taken.delegated} of {taken.operators} operators"
    else:
        session = open_onnx(path, row.kernels)
    quantization = session.outputs[0].quantization

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        output: NDArray[Any] = session.run(encode_pixels(pixels, session.inputs[0], encoding))[0]
        return dequantize(output, session.outputs[0]).reshape(-1)

    return RunnableRow(
        row=replace(row, engine=session.engine, note=note),
        run=run,
        step=quantization.scales[0] if quantization else None,
    )


Scores = NDArray[np.float32]
# A reference that varies by less than four steps of an 8-bit probability may round to one answer.
ROUNDED_AWAY: Final = 4 / 255


def pairs(
    tables: Mapping[str, Scores],
    steps: Mapping[str, float | None],
    output: OutputSpec = PROBABILITIES,
) -> tuple[RowDifference, ...]:
    """Return how every two rows differ, in the order of the rows.

    Args:
        tables: The real values of each row, (images, classes).
        steps: The quantization step of each row's output; None for a real one.
        output: What the values mean.
    """
    return tuple(
        compared(first, second, tables, steps, output) for first, second in combinations(tables, 2)
    )


def compared(
    first: str,
    second: str,
    tables: Mapping[str, Scores],
    steps: Mapping[str, float | None],
    output: OutputSpec = PROBABILITIES,
) -> RowDifference:
    """Return how two rows differ; see ``pairs``."""
    one, other = tables[first], tables[second]
    differences = np.abs(one - other, dtype=np.float64)
    flips = int((best(one, output) != best(other, output)).sum())
    known = bool(np.isfinite(differences).all())
    largest = float(differences.max()) if known else None
    step = steps[first] if steps[first] == steps[second] else None
    changed = np.abs(_rounded(one, steps[second]) - _rounded(other, steps[first]), dtype=np.float64)
    return RowDifference(
        first=first,
        second=second,
        images=len(one),
        flips=flips,
        agreement=1 - flips / len(one),
        max_difference=largest,
        mean_difference=float(differences.mean()) if known else None,
        variation=float(changed.sum(axis=1).mean()) / 2 if known else None,
        max_steps=None if largest is None or not step else largest / step,
    )


def _rounded(table: Scores, step: float | None) -> Scores:
    """The values as an output of that step gives them; as they are without one."""
    return table if not step else np.rint(table / step) * np.float32(step)


def best(table: Scores, output: OutputSpec = PROBABILITIES) -> NDArray[np.int64]:
    """Return the best class of each image, or its set of labels, (images,).

    For a single output that is whether it is above a half.
    """
    if table.shape[1] == 1:
        return (table[:, 0] > 0.5).astype(np.int64)
    return answers(np.nan_to_num(table, nan=-np.inf), output)


def failure(table: Scores, reference: Scores) -> str:
    """Return what makes a row useless: ``NaN``, ``all zero``, ``constant``; empty if nothing.

    Args:
        table: The answers of the row, (images, classes).
        reference: The answers of the row that it is held against, likewise.
    """
    if not np.isfinite(table).all():
        return "NaN"
    if not table.any() and np.abs(reference).max() > ROUNDED_AWAY:
        return "all zero"
    varies = bool((np.ptp(reference, axis=0) > ROUNDED_AWAY).any())
    return "constant" if varies and not np.ptp(table, axis=0).any() else ""
