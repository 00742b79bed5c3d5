"""What is in doubt: what a user should know before trusting the table of a bundle."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final

from edge.dataset.groups import Division
from edge.dataset.pictures import Picture
from edge.evaluation.chance import Level
from edge.evaluation.confidence import CONFIDENCE, WIDE, images_for_half_width, too_few
from edge.evaluation.multilabel import few_positives
from edge.pipeline.choice import accuracy_shortcoming, losses
from edge.pipeline.report import KERAS_MODEL, Reference, VariantReport
from edge.wording import joined, percent, span

LEAST_AGREEMENT: Final = 0.95  # with the model; what is clearly below is said of a file


def doubts(
    reference: Reference,
    variants: Sequence[VariantReport],
    default: str,
    pictures: Sequence[Picture],
    labels: Sequence[str],
    max_drop_points: float | None = None,
    division: Division | None = None,
) -> list[str]:
    """Return what a user should know before trusting the table.

    Args:
        reference: The scores of the model that the files are held against.
        variants: The files that were written.
        default: The name of the default variant.
        pictures: The images that they were scored on.
        labels: The names of the classes.
        max_drop_points: The points of the score that a file may lose.
        division: How groups of images were divided; None without groups.
    """

    def shortcoming(item: VariantReport) -> str:
        return accuracy_shortcoming(item, max_drop_points, reference.of)

    adopted = all(item.agreement is None for item in variants)
    lost = losses(variants, default, shortcoming)
    return [
        *_of_reference(reference, variants, labels),
        *(_of_adopted(variants) if adopted else _of_variants(variants, default, reference.of)),
        *_of_others(variants, default, reference.of, lost),
        *lost.values(),
        *dict.fromkeys(note for item in variants for note in item.notes),
        *_of_few(reference, pictures, labels, division),
    ]


def _of_reference(
    reference: Reference, variants: Sequence[VariantReport], labels: Sequence[str]
) -> list[str]:
    model, several, interval = reference.of, reference.multi_label, reference.map_interval
    if several and several.chance is not None and interval and interval[0] <= several.chance:
        return [
            f"the mAP of {model}, {percent(several.mean_average_precision)} (95 % "
            f"interval {span(interval)}), may be no better than guessing "
            f"({percent(several.chance)}, how often the labels hold): it is untrained, it is "
            "fed wrongly, or the labels are not those of its outputs"
        ]
    if reference.level is Level.CHANCE and reference.top1 is not None:
        right = round(reference.top1 * reference.labelled)
        return [
            f"{model} is right on {right} of the {reference.labelled} labelled "
            f"images ({percent(reference.top1)}, 95 % interval "
            f"{span(reference.top1_interval)}), no better than guessing "
            f"({percent(reference.chance)}): {_cause(reference)}; no score or drop of this "
            "table means anything"
        ]
    if reference.flat:
        return [
            f"{model} gives every class of every image about the same score: it is untrained, its "
            "weights were not loaded, or it is fed wrongly; no score, drop or agreement of this "
            "table means anything"
        ]
    if reference.exchanged:
        return [_mixed_up(reference, labels)]
    if all(item.chance_agreement == 1 for item in variants) and reference.images > 1:
        if reference.constant:
            return [
                f"every one of the {reference.images} images gets the same scores from "
                f"{reference.of}: it answers without looking at the image, or the images are all "
                "of one kind; they cannot tell whether the files agree"
            ]
        return [
            f"every one of the {reference.images} images gets the same class from "
            f"{reference.of} and from every file: such images cannot tell whether the files agree"
        ]
    return []


def _mixed_up(reference: Reference, labels: Sequence[str]) -> str:
    """Say that names of classes seem to be exchanged, with the clearest examples."""
    clearest = sorted(reference.exchanged, key=lambda item: -item.answered / item.images)
    examples = [
        f"{item.answered} of the {item.images} images labelled {labels[item.label]} are "
        f"answered {labels[item.answer]}"
        for item in clearest[:3]
    ]
    return (
        f"the names of {len(reference.exchanged)} classes seem to be exchanged: "
        f"{joined(examples)}: most likely the labels are in another order than the outputs of "
        f"{reference.of}, or folders have each other's images; no score or drop of this table "
        "means anything until that is settled"
    )


def _cause(reference: Reference) -> str:
    """Return the likely cause of answers at chance level, or clearly below it."""
    interval, chance = reference.top1_interval, reference.chance
    if interval is not None and chance is not None and interval[1] < chance:
        return (
            "that is clearly worse than guessing, so that it does tell the images apart: most "
            "likely the labels are in another order than its outputs, or its values have the "
            "opposite sign"
        )
    return "it is untrained, it is fed wrongly, or the labels are not those of its outputs"


def _of_adopted(variants: Sequence[VariantReport]) -> list[str]:
    """Doubt files that were made from no model that is known."""
    return [
        f"{item.name} {_fault(item)}: it answers without looking at the image"
        for item in variants
        if item.constant
    ]


def _of_variants(variants: Sequence[VariantReport], default: str, of: str) -> list[str]:
    texts = [
        f"{item.name} {_fault(item, of)}; it is not the answer of {of}"
        + ("" if item.name == default else ", and the file is not the default")
        for item in variants
        if not item.is_faithful
    ]
    if not any(item.is_faithful for item in variants):
        texts.append(
            f"NONE OF THE FILES gives the answers of {of}: do not deploy this bundle; "
            "edge diagnose finds the layer that departs"
        )
    return texts


def _of_others(
    variants: Sequence[VariantReport],
    default: str,
    of: str,
    lost: Collection[str],
) -> list[str]:
    """Name the files that change many answers, even if as many are right.

    Args:
        variants: The files.
        default: The name of the default variant.
        of: What they were made of.
        lost: The files of which ``losses`` speaks, which are not named a second time.
    """

    def is_other(item: VariantReport) -> bool:
        interval = item.agreement_interval
        return item.agreement_level is Level.LOW or (
            interval is not None and interval[1] < LEAST_AGREEMENT and item.name not in lost
        )

    return [
        f"{item.name} gives another class than {of} on "
        f"{percent(1 - (item.agreement or 0.0))} of the images"
        + ("" if item.name == default else "; it is not the default")
        for item in variants
        if item.is_faithful and is_other(item)
    ]


def _fault(item: VariantReport, of: str = KERAS_MODEL) -> str:
    if item.constant:
        return "gives every image the same scores"
    return (
        f"agrees with {of} on {percent(item.agreement)} of the images (95 % interval "
        f"{span(item.agreement_interval)}), no more than chance "
        f"({percent(item.chance_agreement)})"
    )


def _of_few(
    reference: Reference,
    pictures: Sequence[Picture],
    labels: Sequence[str],
    division: Division | None,
) -> list[str]:
    """Say where images are too few to tell, and how many would."""
    several = reference.multi_label
    if several:
        held = {item.label: item.positives for item in several.labels}
        return few_positives(held, several.images)
    if reference.top1 is None:
        return _few_without_labels(reference.images)
    counts = Counter(item.label for item in pictures if item.label is not None)
    of_class = {label: counts[index] for index, label in enumerate(labels)}
    if division is not None and division.alike:
        return too_few(reference.top1, division.scored_groups, of_class, noun="group")
    return too_few(reference.top1, reference.labelled, of_class)


def _few_without_labels(images: int) -> list[str]:
    needed = images_for_half_width(1.0, WIDE / 2, CONFIDENCE)
    if images >= needed:
        return []
    return [
        f"{images} images without labels are few: even if a file agrees on all of them, it may "
        f"change more than 5 % of the answers; {needed} would tell"
    ]
