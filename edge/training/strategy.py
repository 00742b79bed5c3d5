"""The four quadrants of transfer learning: much or little data, near to ImageNet or far from it.

Near and little: features. Near and much: fine-tune the end. Far: fine-tune all, since features
of photos say little about what is no photo; it was the better one with few images too
(docs/training.md). What the quadrant suggests is then held against what the features reach on the
validation images, because the quadrant is a rule of thumb.

The distance needs no picture of ImageNet: where the last thing that a base does before it pools is
batch normalisation and an activation, the checkpoint itself states the mean embedding of ImageNet.
Normalised, each channel had mean beta and standard deviation |gamma| over the training images
(Ioffe and Szegedy 2015); taken as normal, its mean behind the activation is a Gauss-Hermite sum.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.training.options import Strategy
from edge.training.tuning import ALL

LARGE: Final = 500  # images of a class
FAR: Final = 0.2  # cosine distance; docs/training.md has that of known sets


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What decides.

    Attributes:
        images_per_class: The mean number of training images of a class.
        distance: The distance to ImageNet, 0..1; None where it cannot be told.
        pretrained: Whether the base brought weights along.
        val_images: How many images judge.
        val_accuracy: The accuracy of the head on features, on these images, 0..1.
    """

    images_per_class: float
    distance: float | None
    pretrained: bool
    val_images: int
    val_accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What is tried, and the sentence that says why.

    Attributes:
        strategy: The strategy, which is not ``auto``.
        unfreeze: What learns in fine-tuning, as ``TuningOptions.unfreeze``.
        mirror: Whether a mirrored image is of the same class; what is far from ImageNet is often
            writing, a plan, or a chart.
        quadrant: The quadrant in words, such as ``small, near ImageNet``.
        reason: The sentence that says why.
    """

    strategy: Strategy
    unfreeze: str | None
    mirror: bool
    quadrant: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What ``--strategy auto`` decided by.

    Attributes:
        situation: What was known before.
        quadrant: The quadrant in words, such as ``small, near ImageNet``.
        tuned_val_accuracy: The accuracy of the tuned network on the validation images, 0..1;
            None where nothing was tuned.
    """

    situation: Situation
    quadrant: str
    tuned_val_accuracy: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the decision as JSON values, in one object."""
        facts = asdict(self.situation) | {"quadrant": self.quadrant}
        if self.tuned_val_accuracy is not None:
            facts["tuned_val_accuracy"] = self.tuned_val_accuracy
        return facts

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Decision | None":
        """Read what ``to_json`` gave; an empty object says that nothing was decided."""
        if not value:
            return None
        facts = dict(value)
        quadrant, tuned = facts.pop("quadrant"), facts.pop("tuned_val_accuracy", None)
        return cls(situation=Situation(**facts), quadrant=quadrant, tuned_val_accuracy=tuned)


def choose(situation: Situation) -> Choice:
    """Choose what to train, before any of it has been tried but the features."""
    large = situation.images_per_class >= LARGE
    far = situation.distance is not None and situation.distance >= FAR
    strategy, unfreeze, reason = _suggested(situation, large=large, far=far)
    return Choice(
        strategy=strategy,
        unfreeze=unfreeze,
        mirror=not far,
        quadrant=f"{'large' if large else 'small'}, {_where(situation)}",
        reason=reason,
    )


def _suggested(situation: Situation, *, large: bool, far: bool) -> tuple[Strategy, str | None, str]:
    """Return the strategy, what learns in it, and the sentence that says why."""
    facts = f"{situation.images_per_class:.0f} images a class, {_distance(situation)}"
    if not situation.pretrained:
        why = f"fine-tuning all layers, because the base has no pretrained weights ({facts})."
        return Strategy.FINE_TUNE, ALL, why
    wrong = round((1 - situation.val_accuracy) * situation.val_images)
    if wrong <= max(1, 0.01 * situation.val_images):
        return (
            Strategy.FEATURES,
            None,
            f"features suffice: {facts}, and they leave only {wrong} of "
            f"{situation.val_images} validation images wrong.",
        )
    if not large and not far:
        return (
            Strategy.FEATURES,
            None,
            f"features, because few images that are like ImageNet ({facts}) teach a "
            "large network nothing that it does not know.",
        )
    return (
        Strategy.FINE_TUNE,
        ALL if far else None,
        f"fine-tuning {'all layers' if far else 'the last layers'}, because the "
        f"images are {'many' if large else 'few'} and {'far from' if far else 'near to'} ImageNet "
        f"({facts}).",
    )


def _where(situation: Situation) -> str:
    if situation.distance is None:
        return "distance to ImageNet unknown"
    return "far from ImageNet" if situation.distance >= FAR else "near ImageNet"


def _distance(situation: Situation) -> str:
    if situation.distance is None:
        return "distance to ImageNet unknown"
    return f"distance to ImageNet {situation.distance:.2f}"


NODES: Final = 61  # points of the quadrature


def imagenet_distance(base: Any, features: NDArray[np.float32]) -> float | None:
    """Return the cosine distance between the mean embeddings of the images and of ImageNet.

    Args:
        base: A Keras model, RGB 0..255 -> (batch, features), with weights trained on ImageNet.
        features: (images, features) of the images.

    Returns:
        0 (the same mix of features) to 1 (nothing in common); None where the base does not end
        in batch normalisation, activation, global average pooling.
    """
    expected = imagenet_mean(base)
    if expected is None or len(features) == 0:
        return None
    mean = features.mean(axis=0, dtype=np.float64)
    length = float(np.linalg.norm(mean) * np.linalg.norm(expected))
    return 1 - float(mean @ expected) / length if length > 0 else None


def imagenet_mean(base: Any) -> NDArray[np.float64] | None:
    """Return (features,) the mean embedding of the images that the base was trained on, or None."""
    import keras

    layer = base.outputs[0]._keras_history.operation  # what functional models are made of
    if not isinstance(layer, keras.layers.GlobalAveragePooling2D):
        return None
    activations: list[Any] = []
    while True:
        tensor = layer.input
        if isinstance(tensor, list):
            return None
        layer = tensor._keras_history.operation
        if isinstance(layer, keras.layers.BatchNormalization):
            break
        if not isinstance(layer, keras.layers.Activation | keras.layers.ReLU):
            return None
        activations.insert(0, layer)
    return _mean_behind(layer, activations)


def _mean_behind(normalization: Any, activations: list[Any]) -> NDArray[np.float64]:
    channels = normalization.moving_mean.shape[0]
    beta = np.zeros(channels) if normalization.beta is None else normalization.beta.numpy()
    gamma = np.ones(channels) if normalization.gamma is None else normalization.gamma.numpy()
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    values = (beta[:, None] + np.abs(gamma)[:, None] * nodes[None, :]).astype(np.float32)
    for activation in activations:
        values = np.asarray(activation(values))
    mean: NDArray[np.float64] = values.astype(np.float64) @ (weights / weights.sum())
    return mean
