"""What training minimises and by which steps: loss, targets, class weights, optimizer."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import TrainingError, UsageError
from edge.training.options import SPARSE, HeadOptions

DENSE: Final = "categorical_crossentropy"
REFERENCE_BATCH: Final = 32  # for which a learning rate is stated


def check_options(options: HeadOptions) -> None:
    """Refuse an optimizer or a loss that Keras does not know, before any work is done.

    Raises:
        UsageError: Keras has no such optimizer or loss, or they do not go together.
    """
    optimizer_of(options, 1e-3)
    loss_of(options)


def scaled(learning_rate: float, batch_size: int) -> float:
    """Return the linear scaling rule: twice the batch, twice the rate (Goyal et al. 2017)."""
    return learning_rate * batch_size / REFERENCE_BATCH


def optimizer_of(options: HeadOptions, learning_rate: Any) -> Any:
    """Return a new Keras optimizer.

    Args:
        options: The options that name it.
        learning_rate: A number, or a Keras schedule.

    Raises:
        UsageError: Keras has none of that name.
    """
    import keras

    try:
        optimizer = keras.optimizers.get(options.optimizer)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"Keras has no optimizer {options.optimizer!r}",
            hint="Use one such as adam, adamw, sgd, rmsprop, lion, adagrad or nadam.",
        ) from error
    return type(optimizer).from_config(optimizer.get_config() | {"learning_rate": learning_rate})


def loss_of(options: HeadOptions, *, dense: bool = False) -> Callable[[Any, Any], Any]:
    """Return the loss as a function of (targets, answers), a value for each image.

    Args:
        options: The options that name it.
        dense: Whether to take rows of probabilities even where the loss takes indices.

    Raises:
        UsageError: Keras has none of that name.
    """
    import keras

    name = DENSE if options.loss == SPARSE and (dense or not is_sparse(options)) else options.loss
    try:
        loss = keras.losses.get(name)
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"Keras has no loss {options.loss!r}",
            hint="Use one such as sparse_categorical_crossentropy, categorical_crossentropy, "
            "categorical_focal_crossentropy or kl_divergence.",
        ) from error
    function: Callable[[Any, Any], Any] = getattr(loss, "__wrapped__", loss)
    return function


def is_sparse(options: HeadOptions) -> bool:
    """Return whether the loss takes class indices: smoothed targets are none."""
    return "sparse" in options.loss.lower() and options.label_smoothing == 0


def targets(
    labels: NDArray[np.int64], classes: int, options: HeadOptions, *, dense: bool = False
) -> NDArray[Any]:
    """Return what the loss compares an answer with.

    Label smoothing (Szegedy et al. 2016): (1 - e) * one-hot + e / classes.

    Args:
        labels: (images,) class indices.
        classes: The number of classes.
        options: Loss and smoothing.
        dense: Whether to give rows even where the loss takes class indices.

    Returns:
        ``labels`` for a sparse loss, else float32 (images, classes).
    """
    if is_sparse(options) and not dense:
        return labels
    smoothing = options.label_smoothing
    rows = np.full((len(labels), classes), smoothing / classes, np.float32)
    rows[np.arange(len(labels)), labels] += 1 - smoothing
    return rows


def class_weights(labels: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """Return (classes,) n / (classes * n_c): the "balanced" heuristic of King and Zeng (2001)."""
    counts = np.maximum(np.bincount(labels, minlength=classes), 1)
    return (len(labels) / (classes * counts)).astype(np.float32)


def image_weights(
    labels: NDArray[np.int64], classes: int, options: HeadOptions
) -> NDArray[np.float32]:
    """Return (images,) what each image weighs in the loss."""
    if not options.class_weights:
        return np.ones(len(labels), np.float32)
    return class_weights(labels, classes)[labels]


def diverged() -> TrainingError:
    """Return the error of a loss that is no number any more."""
    return TrainingError(
        "the training loss became NaN or infinite",
        hint="Use a lower --learning-rate or another --optimizer or --loss.",
    )
