"""Which layers of a base learn."""

from typing import Any, Final

from edge.errors import UsageError

ALL: Final = "all"
DEFAULT_SHARE: Final = 4  # one in so many of the base's layers, counted from its end


def first_learning(base: Any, unfreeze: str | None) -> int:
    """Index of the first layer of the base that learns.

    Args:
        base: Keras model.
        unfreeze: How many of the last layers, the name of the first one, ``all``, or None for
            a quarter.

    Raises:
        UsageError: No such layer, or not so many.
    """
    names = [layer.name for layer in base.layers]
    if unfreeze is None:
        return len(names) - len(names) // DEFAULT_SHARE
    if unfreeze == ALL:
        return 0
    if unfreeze in names:
        return names.index(unfreeze)
    try:
        count = int(unfreeze)
    except ValueError:
        shown = ", ".join(names[-3:])
        raise UsageError(
            f"the base has no layer {unfreeze!r}",
            hint=f"--unfreeze takes a number up to {len(names)}, all, or a layer; its last ones "
            f"are {shown}.",
        ) from None
    if not 1 <= count <= len(names):
        raise UsageError(f"--unfreeze {count}: the base has {len(names)} layers")
    return len(names) - count


def set_trainable(model: Any, base_layers: int, first: int) -> None:
    """Let the base's layers from ``first`` on learn, and all that follow the base.

    Batch normalisation stays as it is: its statistics fit the weights that it came with.
    """
    import keras

    for position, layer in enumerate(model.layers):
        frozen = isinstance(layer, keras.layers.BatchNormalization) and position < base_layers
        layer.trainable = position >= first and not frozen
