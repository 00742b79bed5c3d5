"""What the scores of a task say: why a file is the default, and what is in doubt."""

from collections.abc import Sequence
from typing import Final

from edge.pipeline.report import FailedVariant
from edge.pipeline.tasks.report import TaskReference, TaskVariant
from edge.pipeline.verdict import MAX_CHANGED_POINTS, MAX_DROP_POINTS, holds, lost
from edge.wording import percent

FEW: Final = 30  # images; the ends of a bootstrap of fewer say little


def default_reason(
    variants: Sequence[TaskVariant],
    failed: Sequence[FailedVariant],
    default: str,
    metric: str,
    max_drop_points: float | None,
) -> str:
    """Say in a sentence why the default is not the int8 file; "" if nothing is to say."""
    smallest = f"{default.partition('-')[0]}-int8"
    if default == smallest:
        return ""
    if any(item.name == smallest for item in failed):
        return f"{default}, since {smallest} could not be made."
    found = next((item for item in variants if item.name == smallest), None)
    if found is None or holds(found, max_drop_points):
        return ""
    if found.drop_points is not None:
        most = MAX_DROP_POINTS if max_drop_points is None else max_drop_points
        return (
            f"{default} and not {smallest}, which loses {found.drop_points:.1f} points of {metric};"
            f" at most {most:g} may be lost."
        )
    most = MAX_CHANGED_POINTS if max_drop_points is None else max_drop_points
    return (
        f"{default} and not {smallest}, which agrees with the float file to "
        f"{100 - lost(found):.1f} %; at least {100 - most:g} % are wanted."
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
        f"{reference.images} images are few: one of them changes the agreement by up to "
        f"{100 / reference.images:.0f} points"
    ]
