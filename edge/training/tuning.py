"""Training through the base: the head alone, or the end of the base with it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from edge.dataset.scan import LabeledImage
from edge.errors import UsageError
from edge.runtime.contract import Preprocessing
from edge.training.batches import BatchShare, Samples, changes
from edge.training.loop import History, TuningLoop, distribution_strategy
from edge.training.models import joined
from edge.training.objective import image_weights, optimizer_of, scaled, targets
from edge.training.options import HeadOptions, TuningOptions


@dataclass(frozen=True, slots=True)
class TuningData:
    """Images to learn from and to check on; unreadable ones were taken out before."""

    train: Sequence[LabeledImage]
    val: Sequence[LabeledImage]
    preprocessing: Preprocessing
    classes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One phase of training.

    Attributes:
        name: ``head``, ``augment`` or ``fine-tune``.
        learning_rate: The rate for the batch that was used; the highest of a schedule.
        trainable: The number of parameters that learn.
        epochs: The number of passes that made the weights which were kept.
        history: Loss, accuracy, val_loss and val_accuracy of each epoch.
    """

    name: str
    learning_rate: float
    trainable: int
    epochs: int
    history: History

    @property
    def val_loss(self) -> float:
        """The validation loss of the weights that were kept."""
        return min(self.history["val_loss"])

    @property
    def val_accuracy(self) -> float:
        """The validation accuracy of the weights that were kept, 0..1."""
        return self.history["val_accuracy"][self.epochs - 1]


@dataclass(frozen=True, slots=True)
class Tuned:
    """A tuned model, RGB 0..255 -> probabilities, and the phase that made it."""

    model: Any
    phase: Phase


def tune(
    base: Any,
    head: Any,
    data: TuningData,
    head_options: HeadOptions,
    options: TuningOptions,
    *,
    fine: bool,
    on_batch: Callable[[], None] = lambda: None,
) -> Tuned:
    """Go on training a head that has been trained on plain features.

    The learning rate rises over the warm-up and falls by a cosine (Loshchilov and Hutter 2017).
    ``base`` and ``head`` are left as they are.

    Args:
        base: A Keras model, RGB 0..255 -> (batch, features).
        head: A Keras model, features -> classes; it has not seen the validation images.
        data: The images.
        head_options: The batch size, the seed, the loss and the optimizer.
        options: What learns, how fast, on images changed how.
        fine: Whether the end of the base learns too.
        on_batch: Told of each batch.

    Raises:
        UsageError: The base has no such layer.
        TrainingError: The loss became NaN or infinite.
    """
    import keras

    keras.utils.set_random_seed(head_options.seed)
    spread = distribution_strategy()
    rate = scaled(options.rate(head_options), head_options.batch_size)
    with spread.scope():
        model = _ready(base, head, options, fine=fine)
        schedule = _schedule(rate, len(data.train), head_options, options, spread)
        optimizer = optimizer_of(head_options, schedule)
        optimizer.build(model.trainable_variables)
    history = TuningLoop(model, optimizer, head_options, spread).fit(
        _samples(data.train, data, head_options),
        _samples(data.val, data, head_options),
        data.preprocessing,
        lambda number: changes(options, head_options.seed + number),
        epochs=options.epochs,
        patience=options.patience,
        on_batch=on_batch,
    )
    phase = Phase(
        name="fine-tune" if fine else "augment",
        learning_rate=rate,
        trainable=sum(int(np.prod(v.shape)) for v in model.trainable_variables),
        epochs=int(np.argmin(history["val_loss"])) + 1,
        history=history,
    )
    plain = _copy(model) if spread.num_replicas_in_sync > 1 else model
    return Tuned(plain, phase)


def _ready(base: Any, head: Any, options: TuningOptions, *, fine: bool) -> Any:
    """Join copies of base and head, and let the layers learn that are to learn."""
    model = _copy(joined(base, head))
    base_layers = len(base.layers)
    first = first_learning(base, options.unfreeze) if fine else base_layers
    set_trainable(model, base_layers, first)
    return model


def batches(images: int, options: HeadOptions) -> int:
    """Return the number of batches in one pass over so many images."""
    return BatchShare(batch_size=options.batch_size).steps(images)


def _copy(model: Any) -> Any:
    """Return the model with variables of its own, made in the scope that holds here."""
    import keras

    copied = keras.models.clone_model(model)
    copied.set_weights(model.get_weights())
    return copied


def _samples(images: Sequence[LabeledImage], data: TuningData, options: HeadOptions) -> Samples:
    labels = np.array([image.label for image in images], np.int64)
    return Samples(
        paths=[image.path for image in images],
        goals=targets(labels, data.classes, options, dense=True),
        weights=image_weights(labels, data.classes, options),
    )


def _schedule(
    rate: float, images: int, head: HeadOptions, options: TuningOptions, spread: Any
) -> Any:
    import keras

    share = BatchShare(batch_size=head.batch_size, replicas=spread.num_replicas_in_sync)
    steps = share.steps(images)
    warm = min(options.warmup_epochs, options.epochs - 1) * steps
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warm else rate,
        warmup_target=rate if warm else None,
        warmup_steps=warm,
        decay_steps=max(1, options.epochs * steps - warm),
        alpha=0.01,
    )


ALL: Final = "all"
DEFAULT_SHARE: Final = 4  # one in so many of the base's layers, counted from its end


def first_learning(base: Any, unfreeze: str | None) -> int:
    """Return the index of the first layer of the base that learns.

    Args:
        base: The Keras model.
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
        raise UsageError(
            f"--unfreeze {count} is out of range: the base has {len(names)} layers",
            hint=f"Give a number from 1 to {len(names)}, all, or the name of a layer.",
        )
    return len(names) - count


def set_trainable(model: Any, base_layers: int, first: int) -> None:
    """Let the base's layers from ``first`` on learn, and all that follow the base.

    Batch normalisation stays as it is: its statistics fit the weights that it came with.
    """
    import keras

    for position, layer in enumerate(model.layers):
        frozen = isinstance(layer, keras.layers.BatchNormalization) and position < base_layers
        layer.trainable = position >= first and not frozen
