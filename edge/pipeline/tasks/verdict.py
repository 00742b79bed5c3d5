"""What the scores of a task say: why a file is the default, and what is in doubt."""

from collections.abc import Sequence
from typing import Final

from edge.pipeline.choice import (
    agreeing,
    allowed,
    is_as_accurate,
    known_to,
    loss_notes,
    lost_points,
)
from edge.pipeline.tasks.report import TaskReference, TaskVariant
from edge.wording import few, percent

FEW: Final = 30  # images; the ends of a bootstrap of fewer say little


def accuracy_shortcoming(variant: TaskVariant, max_drop_points: float | None, metric: str) -> str:
    """Return what a file lacks in accuracy, a verb and what follows it; "" if nothing.

    Args:
        variant: The file.
        max_drop_points: The points of the metric that may be lost.
        metric: The name of the metric.
    """
    if is_as_accurate(variant, max_drop_points):
        return ""
    if variant.agreement is None:
        return "is not shown to agree, since nothing is found in any image"
    if not variant.is_faithful:
        return (
            f"agrees with the float file to only {percent(variant.agreement)}: most of its answers "
            "are others"
        )
    most = allowed(variant, max_drop_points)
    if variant.drop_points is not None:
        return lost_points(variant.drop_points, variant.drop_interval, metric, most)
    known = known_to(variant.agreement_interval, most)
    return (
        f"agrees with the float file to {agreeing(variant, most)}{known}, where at least "
        f"{100 - most:g} % are wanted"
    )


def doubts(
    reference: TaskReference,
    variants: Sequence[TaskVariant],
    default: str,
    max_drop_points: float | None = None,
) -> list[str]:
    """Return what a user should know before trusting the table.

    Args:
        reference: The scores of what the files are held against.
        variants: The files that were written.
        default: The name of the default variant.
        max_drop_points: The points of the metric that a file may lose.
    """
    compared = [item for item in variants if item.agreement is not None]
    return [
        *_of_reference(reference, variants),
        *_of_variants(variants, default),
        *loss_notes(
            compared,
            default,
            lambda item: accuracy_shortcoming(item, max_drop_points, reference.metric),
        ),
        *dict.fromkeys(note for item in variants for note in item.notes),
        *_of_few(reference),
    ]


def _of_reference(reference: TaskReference, variants: Sequence[TaskVariant]) -> list[str]:
    if not any(item.found for item in variants):
        return [
            f"nothing is found in any of the {reference.images} images: they show nothing that the "
            "model knows, it is fed wrongly, or --score-threshold is too high; no score of this "
            "table means anything"
        ]
    if reference.score is not None:
        useless = reference.score < USELESS
        return [_useless(reference)] if useless else []
    known = "that the file runs" if reference.is_adopted else "how far the files agree"
    return [
        f"the images have no annotations: how good the answers are is not known, only {known}; "
        "--annotations names some"
    ]


USELESS: Final = 0.02  # of any metric; a model that is fed rightly is far above


def _useless(reference: TaskReference) -> str:
    return (
        f"{reference.of} scores only {percent(reference.score)} ({reference.metric}): the labels "
        "are not those of its outputs, it is fed wrongly, or it was not trained for such images"
    )


def _of_variants(variants: Sequence[TaskVariant], default: str) -> list[str]:
    texts = [
        f"{item.name} agrees with the float file to only {percent(item.agreement)}: "
        "most of its answers are others"
        + ("" if item.name == default else ", and the file is not the default")
        for item in variants
        if not item.is_faithful
    ]
    if not any(item.is_faithful for item in variants):
        texts.append(
            "NONE OF THE FILES gives the answers of the float file: do not deploy this bundle; "
            "edge diagnose finds the layer that departs"
        )
    return texts


def _of_few(reference: TaskReference) -> list[str]:
    if reference.is_adopted or reference.images >= FEW:
        return []
    return [
        f"{few(reference.images, 'image')}: one of them changes the agreement by up to "
        f"{100 / reference.images:.0f} points"
    ]
