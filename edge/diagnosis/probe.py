"""One file, layer by layer, against the Keras model."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.diagnosis.keras_layers import Activations, KerasLayers
from edge.diagnosis.layers import match
from edge.diagnosis.onnx_layers import OnnxLayers
from edge.diagnosis.precision import traits
from edge.diagnosis.result import LayerError
from edge.diagnosis.sums import LayerSums
from edge.diagnosis.tflite_layers import TfliteLayers
from edge.runtime.spec import Variant


class FileProbe:
    """Collects a file's layer errors, image by image.

    Attributes:
        variant: Of the bundle.
        names: Layers that have a tensor in the file.
        unmatched: The other layers of the Keras model.
    """

    def __init__(
        self, variant: Variant, path: Path, keras: KerasLayers, pixels: NDArray[np.uint8]
    ) -> None:
        """Open the file.

        Args:
            variant: What it is.
            path: Of the file.
            keras: The model that it was made from.
            pixels: (height, width, 3), of any image.

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
        """One image.

        Args:
            pixels: (height, width, 3).
            reference: The Keras model's layers, by name.
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
        """In the order of execution."""
        return tuple(sums.result() for sums in self._sums)
