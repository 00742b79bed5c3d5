"""The Keras model layer by layer: what each layer gives, and what it gives of another's input.

The graph is walked as Keras itself walks it, in one TensorFlow function. On the second walk each
layer that a file holds is given what the file's layer was given, so that its own error shows
without the errors before it.

An integer file is not made of the model itself, but of what ``converters.pixel_input`` makes of it:
the scaling is folded into the first convolution, and every layer before that one, such as padding,
gets the pixel less the zero point. So that model is what its layers are held against; a layer that
the folding took away has no counterpart there, and is compared nowhere.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.pixel_input import pixel_model
from converters.rounding import nearest
from edge.diagnosis.layers import FOLDED, Layer
from edge.training.models import load_keras

Activations = dict[str, NDArray[np.float32]]
ANSWER: Final = ""  # the model's output among its layers' outputs; no layer has this name


class KerasLayers:
    """A Keras model whose layers' outputs can be read and replaced.

    Attributes:
        layers: The layers in the order of execution, without those that are called more than once.
        output: The name of the layer that gives the model's output.
        zero_point: The pixel that the model takes for zero; None where it takes the pixel itself.
    """

    def __init__(self, path: Path, *, folded: bool = False) -> None:
        """Load the model.

        Args:
            path: A .keras file.
            folded: Whether the scaling of the pixels is folded into the first convolution, as it
                is in integer files, where that is possible.

        Raises:
            ImportError: TensorFlow is not installed.
            ModelLoadError: The file does not load.
        """
        import tensorflow as tf

        self._path, self._folded = path, folded
        self._names: dict[str, str] = {}
        self.zero_point: int | None = None
        self._model = self._loaded()
        self._image = tf.TensorSpec((1, *self._model.inputs[0].shape[1:]), tf.float32)
        self.layers = self._executed()
        self.output: str = self._name(self._model.outputs[0]._keras_history.operation)

    def _loaded(self) -> Any:
        model = load_keras(self._path)
        pixels = pixel_model(model) if self._folded else None
        if pixels is None or not pixels.folded:
            return _graph_of(model)
        self.zero_point = pixels.zero_point
        known = {layer.name for layer in model._flatten_layers()}
        self._names = {
            layer.name: layer.name.removesuffix(FOLDED)
            for layer in pixels.model.layers
            if layer.name not in known
        }
        return _graph_of(pixels.model)

    @cached_property
    def _rounded(self) -> Any:
        """The model once more, with its kernels rounded to int8."""
        model = self._loaded()
        round_kernels(model)
        return model

    def _name(self, layer: Any) -> str:
        """The layer's name in the Keras model; the folding puts another one in its place."""
        name: str = layer.name
        return self._names.get(name, name)

    def _tensor(self, pixels: NDArray[np.uint8]) -> Any:
        """What the model takes for these pixels."""
        import tensorflow as tf

        return tf.constant(pixels, tf.float32) - float(self.zero_point or 0)

    def _executed(self) -> tuple[Layer, ...]:
        import tensorflow as tf

        seen: list[tuple[Any, Any]] = []

        def take(layer: Any, output: Any) -> Any:
            seen.append((layer, output))
            return output

        tf.function(lambda image: _walk(self._model, image, take)).get_concrete_function(
            self._image
        )
        names = [layer.name for layer, _ in seen]
        return tuple(
            Layer(self._name(layer), type(layer).__name__, tuple(out.shape[1:]))
            for layer, out in seen
            if names.count(layer.name) == 1 and hasattr(out, "shape")
        )

    def activations(self, names: Sequence[str]) -> Any:
        """Return a function of pixels (1, height, width, 3): outputs by layer, and ``ANSWER``."""
        return self._walker(self._model, names, replace=False)

    def own(self, names: Sequence[str], *, rounded: bool) -> Any:
        """Return a function of pixels and the file's outputs: what each layer makes of its inputs.

        Args:
            names: The layers whose outputs are replaced after they have been taken.
            rounded: Whether kernels are rounded to int8, which tells what rounding explains.
        """
        return self._walker(self._rounded if rounded else self._model, names, replace=True)

    def _walker(self, model: Any, names: Sequence[str], *, replace: bool) -> Any:
        import tensorflow as tf

        wanted = frozenset(names)
        shapes = {layer.name: layer.shape for layer in self.layers if layer.name in wanted}

        def outputs(image: Any, given: Mapping[str, Any]) -> dict[str, Any]:
            taken: dict[str, Any] = {}

            def take(layer: Any, output: Any) -> Any:
                name = self._name(layer)
                if name not in wanted:
                    return output
                taken[name] = output
                return given[name] if replace else output

            answer = _walk(model, image, take)
            return taken if replace else taken | {ANSWER: answer}

        specs = {name: tf.TensorSpec((1, *shape), tf.float32) for name, shape in shapes.items()}
        function = tf.function(outputs).get_concrete_function(self._image, specs if replace else {})

        def run(pixels: NDArray[np.uint8], given: Activations | None = None) -> Activations:
            image = self._tensor(pixels)
            answers = function(image, {name: tf.constant(v) for name, v in (given or {}).items()})
            return {name: answer.numpy() for name, answer in answers.items()}

        return run

    def injected(self, names: Sequence[str]) -> Any:
        """Return a function that tells what errors of some layers do to the model's output.

        It takes pixels (1, height, width, 3), the errors (1, ...) by layer, and which of them are
        added together, (rows, layers) bool. It gives the outputs, (rows, ...).
        """
        import tensorflow as tf

        places = {name: place for place, name in enumerate(names)}
        shapes = {layer.name: layer.shape for layer in self.layers if layer.name in places}
        # A model of a fixed batch takes one row at a time.
        rows = self._model.inputs[0].shape[0] or ROWS

        def outputs(image: Any, errors: Mapping[str, Any], chosen: Any) -> Any:
            def take(layer: Any, output: Any) -> Any:
                name = self._name(layer)
                if name not in places:
                    return output
                factors = tf.reshape(chosen[:, places[name]], (rows, *[1] * len(shapes[name])))
                return output + factors * errors[name]

            return _walk(self._model, tf.repeat(image, rows, axis=0), take)

        specs = {name: tf.TensorSpec((1, *shape), tf.float32) for name, shape in shapes.items()}
        choice = tf.TensorSpec((rows, len(names)), tf.float32)
        function = tf.function(outputs).get_concrete_function(self._image, specs, choice)

        def run(
            pixels: NDArray[np.uint8], errors: Activations, chosen: NDArray[np.bool_]
        ) -> NDArray[np.float32]:
            image = self._tensor(pixels)
            constants = {name: tf.constant(errors[name]) for name in names}
            missing = -len(chosen) % rows
            padded = np.pad(chosen.astype(np.float32), ((0, missing), (0, 0)))
            answers = [
                function(image, constants, tf.constant(padded[start : start + rows])).numpy()
                for start in range(0, len(padded), rows)
            ]
            return np.concatenate(answers)[: len(chosen)]

        return run


ROWS: Final = 8  # images that are computed together: they share what a single one costs


def _graph_of(model: Any) -> Any:
    """The functional graph; a Sequential model keeps one inside."""
    return getattr(model, "_functional", None) or model


def _walk(model: Any, image: Any, take: Any) -> Any:
    """Run a functional model; ``take(layer, output)`` gives what goes on in place of the output.

    Models inside the model are walked as well. Keras's own walk takes a function to call each
    layer with; ``clone_model(call_function=...)`` stands on it, but insists on one connected graph.
    """

    def call(layer: Any, *args: Any, **keywords: Any) -> Any:
        inner = _graph_of(layer)
        if hasattr(inner, "_run_through_graph"):
            return _walk(inner, args[0], take)
        if getattr(layer, "_call_has_training_arg", False):
            keywords["training"] = False
        return take(layer, layer(*args, **keywords))

    return model._run_through_graph(image, call_fn=call)


# Keras class -> {kernel: its axes that belong to one output channel}. Folding batch normalization
# scales a channel as a whole and changes nothing about its rounding.
KERNELS: Final[dict[str, dict[str, tuple[int, ...]]]] = {
    "Conv1D": {"kernel": (0, 1)},
    "Conv2D": {"kernel": (0, 1, 2)},
    "Conv2DTranspose": {"kernel": (0, 1, 3)},
    "DepthwiseConv2D": {"kernel": (0, 1)},
    "SeparableConv2D": {"depthwise_kernel": (0, 1), "pointwise_kernel": (0, 1, 2)},
    "Dense": {"kernel": (0,)},
}


# What begins a block: attention is one layer of the walk, and its weights lie in layers inside it.
WEIGHTED: Final = frozenset(
    {*KERNELS, "EinsumDense", "MultiHeadAttention", "GroupedQueryAttention", "GroupQueryAttention"}
)


def round_kernels(model: Any) -> None:
    """Round every kernel of a Keras model, and of what is inside its layers, in place."""
    for layer in model._flatten_layers(include_self=False):
        kernels = KERNELS.get(type(layer).__name__, {})
        if type(layer).__name__ == "EinsumDense":
            kernels = {"kernel": _summed_axes(layer.equation)}
        for name, axes in kernels.items():
            variable = getattr(layer, name)
            variable.assign(nearest(variable.numpy().astype(np.float64), axes))


def _summed_axes(equation: str) -> tuple[int, ...]:
    """Return the axes of the kernel that an equation such as ``abc,cde->abde`` sums over."""
    kernel, answer = equation.split(",")[1].split("->")
    return tuple(axis for axis, letter in enumerate(kernel) if letter not in answer)
