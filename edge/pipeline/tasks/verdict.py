"""What the scores of a task say: why a file is the default, and what is in doubt."""

from collections.abc import Sequence
from typing import Final

from edge.pipeline.report import FailedVariant
from edge.pipeline.tasks.report import TaskReference, TaskVariant
from edge.pipeline.verdict import MAX_CHANGED_POINTS, MAX_DROP_POINTS, lost, reason_of
from edge.wording import few, percent

FEW: Final = 30  # images; the ends of a bootstrap of fewer say little


def default_reason(
    variants: Sequence[TaskVariant],
    failed: Sequence[FailedVariant],
    default: str,
    metric: str,
    max_drop_points: float | None,
) -> str:
    """Say in a sentence why the default is not the smallest file; "" if nothing is to say."""
    return reason_of(
        variants, failed, default, lambda item: _shortcoming(item, metric, max_drop_points)
    )


def _shortcoming(variant: TaskVariant, metric: str, max_drop_points: float | None) -> str:
    """Return what keeps a file from being the default."""
    if variant.agreement is None:
        return "is not shown to agree, since nothing is found in any image"
    if not variant.is_faithful:
        return (
            f"agrees with the float file to only {percent(variant.agreement)}: most of its answers "
            "are others"
        )
    if variant.drop_points is not None:
        most = MAX_DROP_POINTS if max_drop_points is None else max_drop_points
        return f"loses {variant.drop_points:.1f} points of {metric}; at most {most:g} may be lost"
    most = MAX_CHANGED_POINTS if max_drop_points is None else max_drop_points
    return (
        f"agrees with the float file to {100 - lost(variant):.1f} %; at least {100 - most:g} % are "
        "wanted"
    )


def doubts(reference: TaskReference, variants: Sequence[TaskVariant], default: str) -> list[str]:
    """Return what a user should know before trusting the table.

    Args:
        reference: The scores of what the files are held against.
        variants: The files that were written.
        default: The name of the default variant.
    """
    return [
        *_of_reference(reference, variants),
        *_of_variants(variants, default),
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
