"""The rows of the matrix: every file of a bundle with every set of kernels that can run it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.diagnosis.onnx_layers import open_onnx
from edge.diagnosis.precision import traits
from edge.diagnosis.result import Row
from edge.diagnosis.tflite_layers import delegated, open_tflite
from edge.errors import EngineUnavailable, ModelLoadError
from edge.runtime.bundle import Bundle
from edge.runtime.postprocess import dequantize
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
class Runner:
    """A row that can answer.

    Attributes:
        row: Which.
        run: (height, width, channels) uint8 pixels -> (classes,) float32 real values.
        step: Quantization step of the output; None for a real one.
    """

    row: Row
    run: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    step: float | None


def runners(bundle: Bundle) -> Iterator[Runner | Row]:
    """A runner for each row, in the order of the bundle; the row where it is not available.

    Raises:
        BundleError: A model file is missing or altered.
        ModelLoadError: A model file does not load with the kernels that a user gets.
    """
    for variant in bundle.manifest.variants:
        path = bundle.model(variant.name)[1]
        choices = KERNELS[variant.format, traits(variant.precision).is_integer]
        for kernels in choices:
            name = f"{variant.name} {kernels}" if len(choices) > 1 else variant.name
            row = Row(name=name, variant=variant.name, kernels=kernels)
            try:
                yield _runner(row, variant, path, bundle.manifest.preprocessing.value_range)
            except EngineUnavailable as error:
                yield replace(row, problem=error.message)
            except ModelLoadError as error:
                if kernels == choices[-1]:
                    raise
                yield replace(row, problem=error.message)


def _runner(row: Row, variant: Variant, path: Path, value_range: tuple[float, float]) -> Runner:
    session: Session
    note = ""
    if variant.format == "tflite":
        session, interpreter = open_tflite(path, row.kernels)
        if row.kernels == "xnnpack":
            note = "XNNPACK computes {} of {} operators".format(*delegated(interpreter))
    else:
        session = open_onnx(path, row.kernels)
    quantization = session.outputs[0].quantization

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        output: NDArray[Any] = session.run(encode_pixels(pixels, session.inputs[0], value_range))[0]
        return dequantize(output, session.outputs[0]).reshape(-1)

    return Runner(
        row=replace(row, engine=session.engine, note=note),
        run=run,
        step=quantization.scales[0] if quantization else None,
    )
