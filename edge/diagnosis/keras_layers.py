"""The Keras model layer by layer: what each layer gives, and what it gives of another's input.

The graph is walked as Keras itself walks it, in one TensorFlow function. On the second walk each
layer that a file holds is given what the file's layer was given, so that its own error shows
without the errors before it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.rounding import nearest
from edge.diagnosis.layers import Layer
from edge.training.models import load_keras

Activations = dict[str, NDArray[np.float32]]
ANSWER: Final = ""  # the model's output among its layers' outputs; no layer has this name


class KerasLayers:
    """A Keras model whose layers' outputs can be read and replaced.

    Attributes:
        layers: The layers in the order of execution, without those that are called more than once.
        output: The name of the layer that gives the model's output.
    """

    def __init__(self, path: Path) -> None:
        """Load the model twice: as it is, and with its kernels rounded to int8.

        Raises:
            ImportError: TensorFlow is not installed.
            ModelLoadError: The file does not load.
        """
        import tensorflow as tf

        self._model = _graph_of(load_keras(path))
        self._rounded = _graph_of(load_keras(path))
        round_kernels(self._rounded)
        self._image = tf.TensorSpec((1, *self._model.inputs[0].shape[1:]), tf.float32)
        self.layers = self._executed()
        self.output: str = self._model.outputs[0]._keras_history.operation.name

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
            Layer(layer.name, type(layer).__name__, tuple(out.shape[1:]))
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
                if layer.name not in wanted:
                    return output
                taken[layer.name] = output
                return given[layer.name] if replace else output

            answer = _walk(model, image, take)
            return taken if replace else taken | {ANSWER: answer}

        specs = {name: tf.TensorSpec((1, *shape), tf.float32) for name, shape in shapes.items()}
        function = tf.function(outputs).get_concrete_function(self._image, specs if replace else {})

        def run(pixels: NDArray[np.uint8], given: Activations | None = None) -> Activations:
            image = tf.constant(pixels, tf.float32)
            answers = function(image, {name: tf.constant(v) for name, v in (given or {}).items()})
            return {name: answer.numpy() for name, answer in answers.items()}

        return run


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


def round_kernels(model: Any) -> None:
    """Round every kernel of a Keras model, and of the models inside it, in place."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            round_kernels(layer)
        for name, axes in KERNELS.get(type(layer).__name__, {}).items():
            variable = getattr(layer, name)
            variable.assign(nearest(variable.numpy().astype(np.float64), axes))
