"""What a network itself says of the input that it was trained on.

Batch normalisation keeps the mean and the variance that its input had over the training images
(Ioffe and Szegedy 2015). What pictures give in the first such place is near them only where the
network is fed alike. Besides, layers in front may scale, and a name may tell where it is from.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.training.backbones import BACKBONES
from edge.training.input_range import (
    functional,
    is_model,
)

BATCH_IMAGES: Final = 32


_ARITHMETIC: Final = frozenset(
    {"Add", "Divide", "Lambda", "Multiply", "Normalization", "Rescaling", "Subtract", "TrueDivide"}
)


class _ReachedError(Exception):
    """The walk through a network has come to its first batch normalisation."""


@dataclass(frozen=True, slots=True)
class NormalizationMemory:
    """The mean and variance that a network's first batch normalisation remembers, (channels,)."""

    model: Any
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]

    @classmethod
    def of(cls, model: Any) -> "NormalizationMemory | None":
        """Read the memory; None without batch normalisation behind a single way from the input."""
        shape = [1, *model.inputs[0].shape[1:]]
        reached = _first_normalization(model, np.zeros(shape, np.float32))
        if reached is None:
            return None
        layer, _ = reached
        mean, variance = (
            np.asarray(value, np.float64) for value in (layer.moving_mean, layer.moving_variance)
        )
        untrained = not mean.any() and bool((variance == 1).all())
        return None if untrained or not variance.max() > 0 else cls(model, mean, variance)

    def distance(self, images: NDArray[np.float32]) -> float:
        """Return the median over the channels of how far images diverge from the memory.

        KL(images || memory) of two normal distributions:
        (ln(v / s) + (s + (m' - m)^2) / v - 1) / 2.
        """
        count, total, squares = 0, np.zeros(len(self.mean)), np.zeros(len(self.mean))
        for start in range(0, len(images), BATCH_IMAGES):
            reached = _first_normalization(self.model, images[start : start + BATCH_IMAGES])
            assert reached is not None  # `of` found one
            values = np.asarray(reached[1], np.float64).reshape(-1, len(self.mean))
            count += len(values)
            total += values.sum(axis=0)
            squares += np.square(values).sum(axis=0)
        mean = total / count
        variance = np.maximum(squares / count - np.square(mean), 0)
        alive = self.variance > 1e-6 * self.variance.max()
        ratio = np.maximum(variance / np.maximum(self.variance, 1e-30), 1e-12)
        shift = np.square(mean - self.mean) / np.maximum(self.variance, 1e-30)
        divergence = (ratio - 1 - np.log(ratio) + shift) / 2
        return float(np.median(divergence[alive]))


def _first_normalization(model: Any, images: NDArray[np.float32]) -> tuple[Any, Any] | None:
    """Return the first batch normalisation of a network, and what it is given of these images."""
    import keras

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if type(operation).__name__ == "BatchNormalization":
            raise _ReachedError(operation, args[0])
        if is_model(operation):
            return functional(operation)._run_through_graph(args[0], call_fn=call)
        if getattr(operation, "_call_has_training_arg", False):
            kwargs["training"] = False
        return operation(*args, **kwargs)

    try:
        functional(model)._run_through_graph(keras.ops.convert_to_tensor(images), call_fn=call)
    except _ReachedError as reached:
        return reached.args[0], reached.args[1]
    return None


def scaling_in_front(model: Any) -> list[str]:
    """Return the kinds of the operations that compute with the image before the first weights."""
    kinds: list[str] = []
    for operation in _operations(model):
        kind = type(operation).__name__
        if kind in _ARITHMETIC:
            kinds.append(kind)
        elif getattr(operation, "weights", ()):
            break
    return kinds


def _operations(model: Any) -> list[Any]:
    """Return every operation of a network in order, those of models within it too."""
    operations: list[Any] = []
    for operation in functional(model).operations:
        operations.extend(_operations(operation) if is_model(operation) else [operation])
    return operations


def application_name(model: Any) -> str | None:
    """Return the network of Keras Applications that the model, or a part of it, is named after."""
    inner = [model, *(item for item in functional(model).operations if is_model(item))]
    for item in inner:
        name = item.name.lower().replace("-", "").replace("_", "")
        fits = [known for known in BACKBONES if name.startswith(known)]
        if fits:
            return max(fits, key=len)
    return None
