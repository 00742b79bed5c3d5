"""Which rows of a table of scores reach a threshold, found before anything else is computed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import InferenceError
from edge.runtime.postprocess import dequantize
from edge.runtime.spec import TensorSpec


class ScoreTable:
    """Scores of (rows, classes), raw: integers where the output is quantized.

    Integers are compared as integers, so that only the rows that are found become real numbers.

    Args:
        spec: The output.
        threshold: The least real value that is looked for.
    """

    def __init__(self, spec: TensorSpec, threshold: float) -> None:
        self._spec = spec
        self._level = least_level(spec, threshold)
        self._mask = np.empty(0, bool)
        self._best = np.empty(0, spec.dtype)

    def rows(self, scores: NDArray[Any]) -> NDArray[np.intp]:
        """Return the rows with a value that reaches the threshold, rising.

        Args:
            scores: (rows, classes) or (rows,), a view of the output.
        """
        if self._level is None:
            return np.empty(0, np.intp)
        if scores.ndim == 1 or scores.strides[0] < scores.strides[1]:
            return np.flatnonzero(self._reaching(self._best_of(scores)))
        found = np.flatnonzero(self._reaching(scores))
        found //= scores.shape[1]
        first = np.empty(len(found), bool)
        first[:1] = True
        np.not_equal(found[1:], found[:-1], out=first[1:])
        return found[first]

    def _best_of(self, scores: NDArray[Any]) -> NDArray[Any]:
        """Return the highest score of each row of a table that stores class after class."""
        if scores.ndim == 1:
            return scores
        if len(self._best) != len(scores):
            self._best = np.empty(len(scores), scores.dtype)
        np.maximum.reduce(scores, axis=1, out=self._best)
        return self._best

    def _reaching(self, scores: NDArray[Any]) -> NDArray[np.bool_]:
        if self._mask.shape != scores.shape:
            self._mask = np.empty(scores.shape, bool)
        np.greater_equal(scores, self._level, out=self._mask)
        return self._mask


def least_level(spec: TensorSpec, threshold: float) -> Any:
    """Return the least stored value whose real value reaches a threshold; None where none does.

    Args:
        spec: An output of real numbers, or of integers with one scale.
        threshold: A real value.
    """
    if np.dtype(spec.dtype).kind == "f":
        return np.dtype(spec.dtype).type(threshold)
    bounds = np.iinfo(spec.dtype)
    levels = np.arange(bounds.min, bounds.max + 1, dtype=np.int32)
    place = int(np.searchsorted(dequantize(levels, spec), np.float32(threshold)))
    return levels[place].astype(spec.dtype) if place < len(levels) else None


def real(values: NDArray[Any], spec: TensorSpec) -> NDArray[np.float32]:
    """Return the real values of a part of an output, float32."""
    return dequantize(values, spec)


def is_readable(spec: TensorSpec) -> bool:
    """Return whether an output is of real numbers, or of small integers with one scale."""
    if spec.dtype in ("float32", "float16", "float64"):
        return True
    scaled = spec.quantization is not None and len(spec.quantization.scales) == 1
    return scaled and spec.dtype in ("uint8", "int8", "int16")


def table_of(output: NDArray[Any], axes: int) -> NDArray[Any]:
    """Return an output without its batch axis of 1.

    Args:
        output: What the session returned.
        axes: How many axes are left.

    Raises:
        InferenceError: It has another number of axes, or is of several pictures.
    """
    if output.ndim != axes + 1 or output.shape[0] != 1:
        raise InferenceError(
            f"an output of the model is {list(output.shape)}; expected one picture and {axes} axes"
        )
    table: NDArray[Any] = output[0]
    return table
