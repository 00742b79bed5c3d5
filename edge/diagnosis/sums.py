"""Sums over images from which a layer's errors follow; memory does not grow with the images."""

from math import inf, isfinite, log10, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.diagnosis.layers import Match
from edge.diagnosis.precision import traits
from edge.diagnosis.result import LayerError

Array = NDArray[np.float32]

LEVELS: Final = 255  # steps of an 8-bit range
# A range is calibrated on other images, so a sound one may be wider than what is seen here; twice
# as wide costs one bit.
WIDER: Final = 2.0


class LayerSums:
    """Of one layer of one file."""

    def __init__(self, match: Match, precision: str) -> None:
        self.match = match
        self._traits = traits(precision)
        self._signal = self._accumulated = self._alone = self._own = self._rounding = 0.0
        self._rounded_elements = 0
        self._finite = True
        self._file, self._float = [inf, -inf], [inf, -inf]  # least and greatest value

    def add(self, reference: Array, file: Array, own: Array, rounded: Array | None) -> None:
        """One image.

        Args:
            reference: The layer in the Keras model.
            file: The layer in the file.
            own: What the Keras layer gives of the file's inputs.
            rounded: The same with rounded kernels; None where weights are not rounded.
        """
        self._finite = self._finite and bool(np.isfinite(file).all())
        self._signal += _energy(reference)
        self._accumulated += _energy(reference - file)
        self._own += _energy(own)
        self._alone += _energy(own - file)
        if rounded is not None:
            self._rounding += _energy(own - rounded)
        self._rounded_elements += int(np.count_nonzero(own))  # zero is a quantized value
        for bounds, values in ((self._file, file), (self._float, reference)):
            bounds[:] = [min(bounds[0], values.min()), max(bounds[1], values.max())]

    def result(self) -> LayerError:
        """The errors over all images."""
        accumulated = _ratio(self._accumulated, self._signal)
        return LayerError(
            layer=self.match.layer.name,
            kind=self.match.layer.kind,
            tensor=self.match.tensor.name,
            step=self.match.tensor.step,
            accumulated=accumulated,
            sqnr_db=-20 * log10(accumulated) if accumulated else None,
            alone=_ratio(self._alone, self._own),
            explained=_ratio(self._explained(), self._own),
            failure=self._failure(),
        )

    def _explained(self) -> float:
        """Energy of the error that rounding weights and output explains.

        The weights' part is computed, the output's is step**2 / 12 per value (uniform rounding
        noise: Widrow, Kollar, "Quantization Noise", 2008, chapter 5). The step is the file's,
        but at most that of a range ``WIDER`` than the values seen: a needlessly coarse step is
        an error to find, not an explanation. For the same reason the kernels are rounded here,
        not read from the file.
        """
        seen = WIDER * (self._float[1] - min(self._float[0], 0.0)) / LEVELS
        step = self.match.tensor.step
        if step is not None:
            step = min(step, seen)
        elif self._traits.rounds_inputs:
            step = seen
        noise = 0.0 if step is None else self._rounded_elements * step**2 / 12
        return self._rounding + noise + self._own * self._traits.arithmetic**2

    def _failure(self) -> str:
        """What makes the layer useless while Keras's is not.

        Values that vary by less than two steps may round to one, such as those of a sigmoid, whose
        step is fixed. A step that is too coarse shows in the own error.
        """
        if not self._finite:
            return "NaN"
        varies = self._float[1] - self._float[0] > 2 * (self.match.tensor.step or 0.0)
        if varies and self._file[0] == self._file[1]:
            return "all zero" if self._file[0] == 0 else "constant"
        return ""


def _energy(values: Array) -> float:
    flat = values.reshape(-1)
    return float(np.dot(flat, flat))


def _ratio(error: float, signal: float) -> float | None:
    return sqrt(error / signal) if signal > 0 and isfinite(error) and isfinite(signal) else None
