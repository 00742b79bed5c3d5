"""The four quadrants of transfer learning: much or little data, near to ImageNet or far from it.

Near and little: features. Near and much: fine-tune the end. Far: fine-tune all, since features
of photos say little about what is no photo; it was the better one with few images too
(docs/training.md). What the quadrant suggests is then held against what the features reach on the
validation images, because the quadrant is a rule of thumb.
"""

from dataclasses import dataclass
from typing import Final

from edge.training.options import Strategy
from edge.training.unfreeze import ALL

LARGE: Final = 500  # images of a class
FAR: Final = 0.2  # cosine distance; docs/training.md has that of known sets


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What decides.

    Attributes:
        images_per_class: Training images, mean over the classes.
        distance: To ImageNet, 0..1; None where it cannot be told.
        pretrained: Whether the base brought weights along.
        val_images: How many images judge.
        val_accuracy: Of the head on features, on these images, 0..1.
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
        strategy: Not ``auto``.
        unfreeze: For fine-tuning, as ``TuningOptions.unfreeze``.
        mirror: Whether a mirrored image is of the same class; what is far from ImageNet is often
            writing, a plan, or a chart.
        quadrant: Such as ``small, near ImageNet``.
        reason: For people.
    """

    strategy: Strategy
    unfreeze: str | None
    mirror: bool
    quadrant: str
    reason: str


def choose(situation: Situation) -> Choice:
    """What to train, before any of it has been tried but the features."""
    large = situation.images_per_class >= LARGE
    far = situation.distance is not None and situation.distance >= FAR
    quadrant = f"{'large' if large else 'small'}, {_where(situation)}"
    facts = f"{situation.images_per_class:.0f} images a class, {_distance(situation)}"
    if not situation.pretrained:
        return Choice(
            strategy=Strategy.FINE_TUNE,
            unfreeze=ALL,
            mirror=not far,
            quadrant=quadrant,
            reason=f"fine-tuning all layers, because the base has no pretrained weights ({facts}).",
        )
    wrong = round((1 - situation.val_accuracy) * situation.val_images)
    if wrong <= max(1, 0.01 * situation.val_images):
        return Choice(
            strategy=Strategy.FEATURES,
            unfreeze=None,
            mirror=not far,
            quadrant=quadrant,
            reason=f"features suffice: {facts}, and they leave only {wrong} of "
            f"{situation.val_images} validation images wrong.",
        )
    if not large and not far:
        return Choice(
            strategy=Strategy.FEATURES,
            unfreeze=None,
            mirror=not far,
            quadrant=quadrant,
            reason=f"features, because few images that are like ImageNet ({facts}) teach a "
            "large network nothing that it does not know.",
        )
    return Choice(
        strategy=Strategy.FINE_TUNE,
        unfreeze=ALL if far else None,
        mirror=not far,
        quadrant=quadrant,
        reason=f"fine-tuning {'all layers' if far else 'the last layers'}, because the "
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
