"""What a Keras file takes and gives: one image of a fixed size in, one answer out, or why not."""

import math
import re
from collections.abc import Sequence
from typing import Any, Final

from edge.errors import ModelLoadError, UsageError
from edge.runtime.spec import MAX_SIDE, ColorOrder
from edge.training.input_range import functional
from edge.training.output import columns_of

COLOR_ORDERS: Final = {order.channels: order for order in ColorOrder}
_SIZE: Final = re.compile(r"(\d+)(?:[x,](\d+))?", re.IGNORECASE)
_RANKS: Final = {  # with the batch
    2: "a vector or a sequence of numbers",
    3: "a sequence of vectors",
    5: "a series of images",
}
# What gives features and not classes, unless somebody says what the classes are.
_FEATURES: Final = frozenset(
    {
        "BatchNormalization",
        "GlobalAveragePooling2D",
        "GlobalMaxPooling2D",
        "LayerNormalization",
        "UnitNormalization",
    }
)


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of ``96`` or ``96x128``, pixels.

    Raises:
        UsageError: Anything else.
    """
    match = _SIZE.fullmatch(text.strip())
    height, width = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise UsageError(
            f"--size {text!r} is no size",
            hint=f"Give height and width in pixels, such as 96 or 96x128, at most {MAX_SIDE}.",
        )
    return height, width


def image_input(model: Any, name: str, size: tuple[int, int] | None) -> Any:
    """The model with one image of a fixed size as its input.

    Args:
        model: Keras model, functional or Sequential.
        name: Of its file, for errors.
        size: (height, width), pixels, of what the model leaves open.

    Raises:
        ModelLoadError: It takes something else than one image of 1, 3 or 4 channels, or a larger
            one than edge makes.
        UsageError: Its size is open and none was given, or it has another one.
    """
    if len(model.inputs) != 1:
        raise ModelLoadError(
            f"{name} takes {len(model.inputs)} inputs: {_listed(model.inputs)}; edge runs models "
            "of one image",
            hint="Make a model of the image alone, keras.Model(image, answer) with the other "
            "inputs as constants, and save that.",
        )
    shape = tuple(model.inputs[0].shape)
    if len(shape) != 4:
        kind = _RANKS.get(len(shape), "something else")
        raise ModelLoadError(
            f"{name} takes {_text(shape)}, {kind}; edge runs models of one image, "
            "(batch, height, width, channels)",
            hint="Models of sound, text or series of images are not for edge export and build; "
            "a file that is converted already can be timed with edge benchmark.",
        )
    _check_channels(name, shape)
    return _of_size(model, name, shape, size)


def _check_channels(name: str, shape: Sequence[int | None]) -> None:
    if shape[3] in COLOR_ORDERS:
        return
    if shape[1] in COLOR_ORDERS:
        raise ModelLoadError(
            f"{name} takes {_text(shape)}: its channels come first",
            hint="Build the model with data_format='channels_last' and set its weights, or put "
            "keras.layers.Permute((3, 1, 2)) in front and save that.",
        )
    raise ModelLoadError(
        f"{name} takes images of {shape[3]} channels, {_text(shape)}; an image file gives 1 "
        "(grey), 3 (RGB) or 4 (RGBA)",
        hint="Put what makes these channels of an RGB image into the model, as layers in front "
        "of it, and save that.",
    )


def _of_size(
    model: Any, name: str, shape: Sequence[int | None], size: tuple[int, int] | None
) -> Any:
    """The model with a fixed size of input, which every converter needs."""
    import keras

    extents = tuple(shape[1:3])
    if any(found is not None and not 1 <= found <= MAX_SIDE for found in extents):
        raise ModelLoadError(
            f"{name} takes images of {extents[0]} x {extents[1]} pixels; allowed: 1 to {MAX_SIDE} "
            "a side",
            hint="Make the model again with the size of the pictures that it gets in use.",
        )
    if size is None:
        if None in extents:
            raise UsageError(
                f"{name} leaves the size of its input open: {_text(shape)}",
                hint="Name the size that it was trained with: --size 96, or --size HEIGHTxWIDTH.",
            )
        return model
    if any(found not in (None, wanted) for found, wanted in zip(extents, size, strict=True)):
        raise UsageError(
            f"{name} takes images of {extents[0]} x {extents[1]} pixels, --size says "
            f"{size[0]} x {size[1]}",
            hint="Leave out --size: only a size that the model leaves open can be chosen.",
        )
    if extents == size:
        return model
    image = keras.Input((*size, shape[3]), name="image")
    try:
        return keras.models.clone_model(
            functional(model), input_tensors=image, clone_function=lambda layer: layer
        )
    except ValueError as error:  # of layers that such an image is too small for
        reason = str(error).strip().splitlines()[0][:200]
        raise UsageError(
            f"{name} cannot take images of {size[0]} x {size[1]} pixels: {reason}",
            hint="Choose another --size: the one that the model was trained with.",
        ) from error


def image_classifier(
    model: Any,
    name: str,
    *,
    size: tuple[int, int] | None,
    output: str | None,
    labelled: bool,
) -> Any:
    """The model with one image of a fixed size in and one vector of answers out.

    Args:
        model: Keras model, functional or Sequential.
        name: Of its file, for errors.
        size: (height, width), pixels, of what the model leaves open.
        output: Name of the output that classifies, of several; None for the only one.
        labelled: Whether the user says what the answers are called.

    Raises:
        ModelLoadError: It takes or gives something else.
        UsageError: ``size`` or ``output`` does not fit, or is needed.
    """
    if len(model.inputs) == 1:  # image_input refuses more
        model = _of_output(model, name, output)
    model = image_input(model, name, size)
    columns = columns_of(model)
    if columns is None:
        raise ModelLoadError(
            f"{name} answers with {_text(model.outputs[0].shape)}, which is no vector of classes",
            hint="Expected (batch, classes). Maps, boxes and sequences (segmentation, detection, "
            "captions) are not what edge export scores; a feature map can be built on with "
            f"edge build PHOTOS --backbone {name}.",
        )
    last = model.outputs[0]._keras_history.operation
    if not labelled and _gives_features(last):
        raise ModelLoadError(
            f"{name} ends in {type(last).__name__}: its {columns} values are features and not "
            "classes",
            hint=f"Train a head on it with edge build PHOTOS --backbone {name}; if they are "
            "classes all the same, name them with --labels.",
        )
    return model


def _gives_features(layer: Any) -> bool:
    """Whether what a network ends in is no answer, as far as its kind tells."""
    kind = type(layer).__name__
    if kind == "Flatten":  # of a map, and not of one place, where it may be an answer
        return bool(math.prod(extent or 1 for extent in layer.input.shape[1:-1]) > 1)
    return kind in _FEATURES


def _of_output(model: Any, name: str, output: str | None) -> Any:
    """The model with one output."""
    import keras

    answers = _outputs(model)
    listed = _listed(list(answers.values()), list(answers))
    if output is not None and output not in answers:
        raise UsageError(f"{name} has no output {output!r}", hint=f"It has {listed}.")
    if len(answers) == 1:
        return model
    if output is None:
        # The widest vector is most likely the classes.
        likely = max(answers, key=lambda key: _width(answers[key].shape))
        raise UsageError(
            f"{name} gives {len(answers)} outputs: {listed}",
            hint=f"Name the one that classifies, such as --model-output {likely}; the others are "
            "left out.",
        )
    return keras.Model(model.inputs[0], answers[output], name=model.name)


def _width(shape: Sequence[int | None]) -> int:
    return shape[1] or 0 if len(shape) == 2 else -1


def _outputs(model: Any) -> dict[str, Any]:
    """The outputs by name: the user's own, where the model gives a dictionary."""
    graph = functional(model)
    given = getattr(graph, "_outputs_struct", None)
    if isinstance(given, dict) and all(hasattr(tensor, "shape") for tensor in given.values()):
        return {str(key): tensor for key, tensor in given.items()}
    return dict(zip(graph.output_names, graph.outputs, strict=True))


def _listed(tensors: Sequence[Any], names: Sequence[str] = ()) -> str:
    named = names or [tensor.name for tensor in tensors]
    return ", ".join(
        f"{name} {_text(tensor.shape)}" for name, tensor in zip(named, tensors, strict=True)
    )


def _text(shape: Sequence[int | None]) -> str:
    """A shape as Keras writes it."""
    return str(tuple(shape))
