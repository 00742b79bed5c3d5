"""What the scores of a job do not prove, and by which figures: notes, one sentence each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from edge.dataset.pictures import Picture
from edge.evaluation.chance import Level
from edge.evaluation.confidence import CONFIDENCE, WIDE, images_for_half_width, too_few
from edge.evaluation.multilabel import few_positives
from edge.pipeline.report import KERAS_MODEL, VariantReport
from edge.wording import percent, span


def doubts(
    reference: Mapping[str, Any],
    variants: Sequence[VariantReport],
    default: str,
    pictures: Sequence[Picture],
    labels: Sequence[str],
) -> list[str]:
    """What a user should know before trusting the table.

    Args:
        reference: Of ``reference_score``.
        variants: The files that were written.
        default: Name of the default variant.
        pictures: That they were scored on.
        labels: Class names.
    """
    adopted = all(item.agreement is None for item in variants)
    return [
        *_of_reference(reference, variants),
        *(_of_adopted(variants) if adopted else _of_variants(variants, default)),
        *dict.fromkeys(note for item in variants for note in item.notes),
        *_of_few(reference, pictures, labels),
    ]


def _of_reference(reference: Mapping[str, Any], variants: Sequence[VariantReport]) -> list[str]:
    model = reference.get("of", KERAS_MODEL)
    several = reference.get("multi_label")
    if several and reference["map_interval"] and reference["map_interval"][0] <= several["chance"]:
        return [
            f"the mAP of {model}, {percent(several['mean_average_precision'])} (95 % "
            f"interval {span(reference['map_interval'])}), may be no better than guessing "
            f"({percent(several['chance'])}, how often the labels hold): it is untrained, it is "
            "fed wrongly, or the labels are not those of its outputs"
        ]
    if reference["level"] is Level.CHANCE:
        right = round(reference["top1"] * reference["labelled"])
        return [
            f"{model} is right on {right} of the {reference['labelled']} labelled "
            f"images ({percent(reference['top1'])}, 95 % interval "
            f"{span(reference['top1_interval'])}), no better than guessing "
            f"({percent(reference['chance'])}): {_cause(reference)}; no score or drop of this "
            "table means anything"
        ]
    if all(item.chance_agreement == 1 for item in variants) and reference["images"] > 1:
        return [
            f"every one of the {reference['images']} images gets the same class from the Keras "
            "model and from every file: such images cannot tell whether the files agree"
        ]
    return []


def _cause(reference: Mapping[str, Any]) -> str:
    """The likely cause of answers at chance level, or clearly below it."""
    if reference["top1_interval"][1] < reference["chance"]:
        return (
            "that is clearly worse than guessing, so that it does tell the images apart: most "
            "likely the labels are in another order than its outputs, or its values have the "
            "opposite sign"
        )
    return "it is untrained, it is fed wrongly, or the labels are not those of its outputs"


def _of_adopted(variants: Sequence[VariantReport]) -> list[str]:
    """Of files that were made from no model that is known."""
    return [
        f"{item.name} {_fault(item)}: it answers without looking at the image"
        for item in variants
        if item.constant
    ]


def _of_variants(variants: Sequence[VariantReport], default: str) -> list[str]:
    found = [
        f"{item.name} {_fault(item)}; it is not the answer of the Keras model"
        + ("" if item.name == default else ", and the file is not the default")
        for item in variants
        if not item.is_faithful
    ]
    found += [
        f"{item.name} gives another class than the Keras model on "
        f"{percent(1 - (item.agreement or 0.0))} of the images"
        + ("" if item.name == default else "; it is not the default")
        for item in variants
        if item.is_faithful and item.agreement_level is Level.LOW
    ]
    if not any(item.is_faithful for item in variants):
        found.append(
            "NONE OF THE FILES gives the answers of the Keras model: do not deploy this bundle; "
            "edge diagnose finds the layer that departs"
        )
    return found


def _fault(item: VariantReport) -> str:
    if item.constant:
        return "gives every image the same scores"
    return (
        f"agrees with the Keras model on {percent(item.agreement)} of the images (95 % interval "
        f"{span(item.agreement_interval)}), no more than chance "
        f"({percent(item.chance_agreement)})"
    )


def _of_few(
    reference: Mapping[str, Any], pictures: Sequence[Picture], labels: Sequence[str]
) -> list[str]:
    """Images too few to tell, and how many would."""
    several = reference.get("multi_label")
    if several:
        held = {item["label"]: item["positives"] for item in several["labels"]}
        return few_positives(held, several["images"])
    if reference["top1"] is None:
        return _few_without_labels(reference["images"])
    counts = Counter(item.label for item in pictures if item.label is not None)
    of_class = {label: counts[index] for index, label in enumerate(labels)}
    return too_few(reference["top1"], reference["labelled"], of_class)


def _few_without_labels(images: int) -> list[str]:
    needed = images_for_half_width(1.0, WIDE / 2, CONFIDENCE)
    if images >= needed:
        return []
    return [
        f"{images} images without labels are few: even if a file agrees on all of them, it may "
        f"change more than 5 % of the answers; {needed} would tell"
    ]
