"""What the Keras model of a bundle looks at: Grad-CAM, layers, first filters.

Source: Selvaraju et al. 2017, Grad-CAM, equations 1 and 2: the gradient of the class's score
before the softmax, averaged over the positions of a feature map, weights its channels. The
positive part of their weighted sum is the map.
"""

import time
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge.errors import ModelLoadError, UsageError
from edge.explanation.options import ExplainOptions
from edge.explanation.result import KERAS, HeatMap, LayerMaps
from edge.progress import Progress
from edge.runtime.bundle import Bundle
from edge.runtime.classifier import Classifier
from edge.runtime.supervisor import keras_call
from edge.training.models import load_keras
from edge.training.weights import quiet_keras

SQUASHING: Final = ("softmax", "sigmoid")


class GradCam:
    """Makes the Grad-CAM maps of one Keras model.

    Attributes:
        layer: The name of the layer whose feature map is explained.
        shape: (height, width) of that feature map.
    """

    def __init__(self, model: Any, classes: int) -> None:
        """Take the last feature map and the class scores of a model.

        Args:
            model: A functional model: RGB 0..255 -> (batch, classes). It is changed: its last
                activation is taken off, so that gradients do not vanish where it saturates.
            classes: The number of classes of the bundle.

        Raises:
            ModelLoadError: The model gives no class scores, or has no feature map.
        """
        import keras

        output = tuple(model.outputs[0].shape)
        if len(output) != 2 or output[1] != classes:
            raise ModelLoadError(
                f"the bundle's Keras model gives {output}, and no score for each of "
                f"{classes} classes",
                hint="Grad-CAM needs a head inside the Keras model; the maps of the files, which "
                "need none, are drawn all the same.",
            )
        layer = last_map(model)
        scores, self._activate = _before_activation(model)
        self.layer: str = layer.name
        self.shape: tuple[int, int] = tuple(layer.output.shape[1:3])
        self._model = keras.Model(model.inputs[0], [layer.output, scores])

    def map(
        self, pixels: NDArray[np.uint8], label: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the map of a class, and the probabilities of all classes.

        Args:
            pixels: (height, width, 3), uint8 RGB.
            label: The index of the class.

        Returns:
            (height, width) of the image, float32, 0 and more; and (classes,), float32.
        """
        import tensorflow as tf

        image = tf.constant(pixels[np.newaxis], tf.float32)
        with keras_call(), tf.GradientTape() as tape:
            tape.watch(image)  # otherwise, a model with frozen weights leaves nothing on the tape
            features, scores = self._model(image, training=False)
            score = scores[:, label]
        gradients = tape.gradient(score, features)
        weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
        coarse = tf.nn.relu(tf.reduce_sum(weights * features, axis=-1))[0].numpy()
        probabilities = self._activate(scores).numpy()[0]
        return enlarged(coarse, pixels.shape[:2]), probabilities


def last_map(model: Any) -> Any:
    """Return the last layer that gives a feature map of more than one position.

    Raises:
        ModelLoadError: There is no such layer.
    """
    maps = feature_maps(model)
    if not maps:
        raise ModelLoadError("the Keras model has no layer with a feature map")
    return maps[-1]


def feature_maps(model: Any) -> Sequence[Any]:
    """Return the layers that give (batch, height, width, channels) of more than one position."""
    return [layer for layer in model.layers[1:] if _is_map(layer)]


def enlarged(coarse: NDArray[np.float32], size: Sequence[int]) -> NDArray[np.float32]:
    """Enlarge a map (rows, columns) to (height, width), bilinearly; float32."""
    height, width = size
    image = Image.fromarray(np.asarray(coarse, np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), np.float32)


def _is_map(layer: Any) -> bool:
    shape: tuple[Any, ...] = getattr(getattr(layer, "output", None), "shape", ())
    return len(shape) == 4 and None not in shape[1:3] and shape[1] * shape[2] > 1


def _before_activation(model: Any) -> tuple[Any, Any]:
    """Return the scores before the last softmax or sigmoid, and the function that followed them."""
    import keras

    output = model.outputs[0]
    last = output._keras_history.operation
    if isinstance(last, keras.layers.Softmax):
        return last.input, keras.activations.softmax
    activation = getattr(last, "activation", None)
    if getattr(activation, "__name__", "") not in SQUASHING:
        return output, keras.activations.linear
    if isinstance(last, keras.layers.Activation):
        return last.input, activation
    last.activation = keras.activations.linear
    return output, activation


SOURCE: Final = "source/model.keras"
MOST_CHANNELS: Final = 64  # channels of a layer that are drawn


def chosen_layers(model: Any, names: Sequence[str]) -> list[str]:
    """Return the named layers, or the first, the middle and the last with a feature map.

    Raises:
        UsageError: There is no such layer, or it has no feature map.
    """
    known = [layer.name for layer in feature_maps(model)]
    if not names:
        weighted = [layer.name for layer in feature_maps(model) if layer.weights] or known
        picked = [weighted[0], weighted[len(weighted) // 2], known[-1]] if known else []
        return list(dict.fromkeys(picked))
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, 3, 0.3) or known[:3]
            raise UsageError(
                f"the Keras model has no layer {name!r} with a feature map",
                hint=f"Did you mean {' or '.join(near)}? It has {len(known)}, from {known[0]} "
                f"to {known[-1]}."
                if known
                else "It has none.",
            )
    return list(dict.fromkeys(names))


def activations(model: Any, names: Sequence[str], pixels: NDArray[np.uint8]) -> list[LayerMaps]:
    """Return what the layers give for an image (height, width, 3), uint8 RGB."""
    import keras

    if not names:
        return []
    outputs = [model.get_layer(name).output for name in names]
    reader = keras.Model(model.inputs[0], outputs)
    answers = reader(pixels[np.newaxis].astype(np.float32), training=False)
    answers = answers if isinstance(answers, list | tuple) else [answers]
    return [
        LayerMaps(
            layer=name,
            channels=int(answer.shape[-1]),
            maps=np.asarray(answer[0, :, :, :MOST_CHANNELS], np.float32),
        )
        for name, answer in zip(names, answers, strict=True)
    ]


def first_filters(model: Any) -> tuple[str, NDArray[np.float32]] | None:
    """Return name and filters (height, width, 3, filters) of the first convolution of the image.

    It is None if no layer convolves three channels, as in a model on patches.
    """
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D) and layer.kernel.shape[2] == 3:
            return layer.name, np.asarray(layer.kernel, np.float32)
    return None


class KerasView:
    """The Keras model of a bundle, as far as there is one.

    Attributes:
        missing: The reason why nothing of it is shown; otherwise empty.
        without_gradcam: The reason why there is no Grad-CAM; otherwise empty.
        filters: The name and the filters of its first convolution.
        gradcam_layer: The layer whose feature map Grad-CAM explains; None without Grad-CAM.
        gradcam_shape: (height, width) of that feature map.
    """

    def __init__(self, missing: str = "", without_gradcam: str = "") -> None:
        self.missing = missing
        self.without_gradcam = without_gradcam
        self.filters: tuple[str, NDArray[np.float32]] | None = None
        self.gradcam_layer: str | None = None
        self.gradcam_shape: tuple[int, int] | None = None
        self._model: Any = None
        self._names: list[str] = []
        self._gradcam: GradCam | None = None

    @classmethod
    def open(
        cls, bundle: Bundle, options: ExplainOptions, classes: int, progress: Progress
    ) -> "KerasView":
        """Load the model.

        Raises:
            UsageError: Layers are asked for that the model does not have.
            BundleError, ModelLoadError: The model is altered or does not load.
        """
        missing = ""
        if not options.keras:
            missing = "left out with --files-only"
        elif SOURCE not in bundle.manifest.files:
            missing = f"the bundle does not hold its Keras model ({SOURCE})"
        if missing:
            if options.layers:
                raise UsageError(
                    f"--layers are of the Keras model: {missing}", hint="Leave out --layers."
                )
            return cls(missing, missing)
        path = bundle.checked(SOURCE)
        with progress.stage("Keras model"):
            quiet_keras(options.seed)
            view = cls()
            view._model = load_keras(path)
            view._names = chosen_layers(view._model, options.layers)
            view.filters = first_filters(view._model)
            try:
                view._gradcam = GradCam(view._model, classes)
                view.gradcam_layer = view._gradcam.layer
                view.gradcam_shape = view._gradcam.shape
            except ModelLoadError as error:
                view.without_gradcam = error.message
        return view

    def map(self, pixels: NDArray[np.uint8], label: int, file: Classifier) -> HeatMap | None:
        """Return the Grad-CAM of a class, if possible; ``file`` says what probabilities mean."""
        if self._gradcam is None:
            return None
        started = time.monotonic()
        values, probabilities = self._gradcam.map(pixels, label)
        return HeatMap(
            source=KERAS,
            method="grad-cam",
            values=values,
            score=float(probabilities[label]),
            answer=", ".join(file.answered(probabilities)) or "no label",
            invokes=1,
            seconds=time.monotonic() - started,
            flat=bool(np.ptp(values) == 0),
        )

    def layers(self, pixels: NDArray[np.uint8]) -> list[LayerMaps]:
        """Return what the chosen layers give."""
        if self._model is None:
            return []
        return activations(self._model, self._names, pixels)
