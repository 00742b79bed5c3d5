"""One file, layer by layer, against the Keras model."""

from math import inf, isfinite, log10, sqrt
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.diagnosis.file_layers import OnnxLayers, TfliteLayers
from edge.diagnosis.keras_layers import Activations, KerasLayers
from edge.diagnosis.layers import LayerTensor, match
from edge.diagnosis.result import LayerError, traits
from edge.runtime.spec import Variant


class FileProbe:
    """Collects a file's layer errors, image by image.

    Attributes:
        variant: The variant that the file is.
        names: The names of the layers that have a tensor in the file.
        unmatched: The names of the other layers of the Keras model.
    """

    def __init__(
        self, variant: Variant, path: Path, keras: KerasLayers, pixels: NDArray[np.uint8]
    ) -> None:
        """Open the file.

        Args:
            variant: The variant that the file is.
            path: The path of the file.
            keras: The model that it was made from.
            pixels: The pixels of any image, (height, width, 3).

        Raises:
            EngineUnavailable: The interpreter is not installed.
            ModelLoadError: The file does not load.
        """
        self.variant = variant
        self._file = TfliteLayers(path) if variant.format == "tflite" else OnnxLayers(path, pixels)
        self._matches = match(keras.layers, self._file.tensors, keras.output)
        self._tensors = tuple(item.tensor.name for item in self._matches)
        self._sums = [LayerSums(item, variant.precision) for item in self._matches]
        self.names = tuple(item.layer.name for item in self._matches)
        self.unmatched = tuple(
            layer.name for layer in keras.layers if layer.name not in set(self.names)
        )
        self._own = keras.own(self.names, rounded=False)
        rounds = traits(variant.precision).rounds_kernels
        self._rounded = keras.own(self.names, rounded=True) if rounds else None

    def add(self, pixels: NDArray[np.uint8], reference: Activations) -> None:
        """Add one image.

        Args:
            pixels: The pixels of the image, (height, width, 3).
            reference: The outputs of the Keras model's layers, by name.
        """
        values = self._file.run(pixels, self._tensors)
        given = {item.layer.name: item.as_keras(values[item.tensor.name]) for item in self._matches}
        batch = pixels[np.newaxis]
        own = self._own(batch, given)
        rounded = None if self._rounded is None else self._rounded(batch, given)
        for sums, name in zip(self._sums, self.names, strict=True):
            sums.add(
                reference[name],
                given[name],
                own[name],
                None if rounded is None else rounded[name],
            )

    def errors(self) -> tuple[LayerError, ...]:
        """Return the errors of the layers in the order of execution."""
        return tuple(sums.result() for sums in self._sums)


Array = NDArray[np.float32]

LEVELS: Final = 255  # steps of an 8-bit range
# A range is calibrated on other images, so a sound one may be wider than what is seen here; twice
# as wide costs one bit.
WIDER: Final = 2.0


class LayerSums:
    """Sums over images from which the errors of one layer of one file follow.

    Memory does not grow with the images.
    """

    def __init__(self, match: LayerTensor, precision: str) -> None:
        self.match = match
        self._traits = traits(precision)
        self._signal = self._accumulated = self._alone = self._own = self._rounding = 0.0
        self._rounded_elements = 0
        self._finite = True
        self._file, self._float = [inf, -inf], [inf, -inf]  # least and greatest value

    def add(self, reference: Array, file: Array, own: Array, rounded: Array | None) -> None:
        """Add one image.

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
        """Return the errors over all images."""
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
