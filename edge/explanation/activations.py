"""What chosen layers give for an image, and the filters of the first layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import UsageError
from edge.explanation.gradcam import feature_maps

MOST_CHANNELS: Final = 64  # of a layer that are drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMaps:
    """What one layer gives for one image.

    Attributes:
        layer: Its name.
        channels: How many it has.
        maps: (height, width, shown channels), float32; the first ``MOST_CHANNELS`` of them.
    """

    layer: str
    channels: int
    maps: NDArray[np.float32]


def chosen_layers(model: Any, names: Sequence[str]) -> list[str]:
    """The named layers, or the first, the middle and the last with a feature map.

    Raises:
        UsageError: No such layer, or one without a feature map.
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
    """What the layers give for an image (height, width, 3), uint8 RGB."""
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
    """Name and filters of the first convolution over the image: (height, width, 3, filters).

    None where no layer convolves three channels, as in a model on patches.
    """
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D) and layer.kernel.shape[2] == 3:
            return layer.name, np.asarray(layer.kernel, np.float32)
    return None
