"""What the scores say: the file that runs by default, the budget, and what is in doubt."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

from edge.dataset.pictures import Picture
from edge.errors import NegativeVerdict
from edge.evaluation.chance import Level
from edge.evaluation.confidence import CONFIDENCE, WIDE, images_for_half_width, too_few
from edge.evaluation.multilabel import few_positives
from edge.pipeline.report import KERAS_MODEL, FailedVariant, Reference, VariantReport
from edge.wording import percent, span


def doubts(
    reference: Reference,
    variants: Sequence[VariantReport],
    default: str,
    pictures: Sequence[Picture],
    labels: Sequence[str],
) -> list[str]:
    """Return what a user should know before trusting the table.

    Args:
        reference: The scores of the model that the files are held against.
        variants: The files that were written.
        default: The name of the default variant.
        pictures: The images that they were scored on.
        labels: The names of the classes.
    """
    adopted = all(item.agreement is None for item in variants)
    return [
        *_of_reference(reference, variants),
        *(_of_adopted(variants) if adopted else _of_variants(variants, default, reference.of)),
        *dict.fromkeys(note for item in variants for note in item.notes),
        *_of_few(reference, pictures, labels),
    ]


def _of_reference(reference: Reference, variants: Sequence[VariantReport]) -> list[str]:
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
    if all(item.chance_agreement == 1 for item in variants) and reference.images > 1:
        return [
            f"every one of the {reference.images} images gets the same class from "
            f"{reference.of} and from every file: such images cannot tell whether the files agree"
        ]
    return []


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
    texts += [
        f"{item.name} gives another class than {of} on "
        f"{percent(1 - (item.agreement or 0.0))} of the images"
        + ("" if item.name == default else "; it is not the default")
        for item in variants
        if item.is_faithful and item.agreement_level is Level.LOW
    ]
    if not any(item.is_faithful for item in variants):
        texts.append(
            f"NONE OF THE FILES gives the answers of {of}: do not deploy this bundle; "
            "edge diagnose finds the layer that departs"
        )
    return texts


def _fault(item: VariantReport, of: str = KERAS_MODEL) -> str:
    if item.constant:
        return "gives every image the same scores"
    return (
        f"agrees with {of} on {percent(item.agreement)} of the images (95 % interval "
        f"{span(item.agreement_interval)}), no more than chance "
        f"({percent(item.chance_agreement)})"
    )


def _of_few(reference: Reference, pictures: Sequence[Picture], labels: Sequence[str]) -> list[str]:
    """Say where images are too few to tell, and how many would."""
    several = reference.multi_label
    if several:
        held = {item.label: item.positives for item in several.labels}
        return few_positives(held, several.images)
    if reference.top1 is None:
        return _few_without_labels(reference.images)
    counts = Counter(item.label for item in pictures if item.label is not None)
    of_class = {label: counts[index] for index, label in enumerate(labels)}
    return too_few(reference.top1, reference.labelled, of_class)


def _few_without_labels(images: int) -> list[str]:
    needed = images_for_half_width(1.0, WIDE / 2, CONFIDENCE)
    if images >= needed:
        return []
    return [
        f"{images} images without labels are few: even if a file agrees on all of them, it may "
        f"change more than 5 % of the answers; {needed} would tell"
    ]


SMALLEST: Final = "tflite-int8"  # the default unless it lost something
ONNX_SMALLEST: Final = "onnx-int8"  # the same where there are only ONNX files
PREFERRED: Final = (  # the order in which files are tried as the default
    *(SMALLEST, "tflite-mixed", "tflite-fp16", "tflite-fp32"),
    *(ONNX_SMALLEST, "onnx-mixed", "onnx-fp32"),
)


MAX_DROP_POINTS: Final = 1.0  # of top-1 that the default variant may lose


MAX_CHANGED_POINTS: Final = 3.0  # of answers that it may change where no image has a label


class Compared(Protocol):
    """A written file, held against what it was made of; see ``VariantReport``."""

    @property
    def name(self) -> str:
        """The name of the variant."""
        ...

    @property
    def drop_points(self) -> float | None:
        """The points lost; None where it is not known what is right."""
        ...

    @property
    def agreement(self) -> float | None:
        """The share of answers that are the same, 0..1; None where there is none to compare."""
        ...

    @property
    def agreement_level(self) -> Level | None:
        """What the agreement tells, of a classifier."""
        ...

    @property
    def is_faithful(self) -> bool:
        """Whether its answers are those of what it was made of, as far as images can tell."""
        ...


FileT = TypeVar("FileT", bound=Compared)


def check_budget(variants: Sequence[Compared], max_drop_points: float | None) -> None:
    """Refuse to deliver a mixed file that loses more than was asked for.

    Raises:
        NegativeVerdict: It does on all held-out images, of which the search saw some.
    """
    if max_drop_points is None:
        return
    for variant in variants:
        if variant.name.endswith("-mixed") and variant.agreement is None:
            raise NegativeVerdict(
                f"{variant.name} cannot be held against --max-drop {max_drop_points:g}: nothing is "
                "found in any image",
                hint="Give images that show what the model knows, or lower --score-threshold.",
            )
        if variant.name.endswith("-mixed") and not holds(variant, max_drop_points):
            raise NegativeVerdict(
                f"{variant.name} loses {lost(variant):.2f} points, more than --max-drop "
                f"{max_drop_points:g} allows",
                hint="Search anew with --quantize auto, allow more with --max-drop (without it, a "
                "recipe states what is allowed), or use fp16.",
            )


def choose_default(variants: Sequence[Compared], max_drop_points: float | None = None) -> str:
    """Choose the variant that runs by default: the smallest file that lost next to nothing.

    TFLite files come before ONNX files.

    A file whose answers are not those of the Keras model is never it while another's are: it may
    be right as often, by chance. Where all lost more, it is the most precise one that was written.
    """
    if len(variants) == 1:  # an adopted file among others, which has nothing to lose against
        return variants[0].name
    if all(variant.agreement is None for variant in variants):  # nothing was found to agree on
        return next((v.name for v in variants if v.name.endswith("-fp32")), variants[0].name)
    faithful = [variant for variant in variants if variant.is_faithful]
    alike = [variant for variant in faithful if variant.agreement_level is not Level.LOW]
    by_name = {variant.name: variant for variant in alike}
    for name in PREFERRED:
        if name in by_name and holds(by_name[name], max_drop_points):
            return name
    if alike or faithful:
        return (alike or faithful)[0].name
    return max(variants, key=lambda variant: variant.agreement or 0.0).name


def default_reason(
    variants: Sequence[VariantReport],
    failed: Sequence[FailedVariant],
    default: str,
    max_drop_points: float | None = None,
    of: str = KERAS_MODEL,
) -> str:
    """Say in a sentence why the default is not the smallest file; "" if nothing is to say.

    Args:
        variants: The files that were written.
        failed: The files that were not written.
        default: What ``choose_default`` chose.
        max_drop_points: The points of top-1 that may be lost, as for ``choose_default``.
        of: Whose answers the files are held against, in words.
    """
    return reason_of(
        variants, failed, default, lambda item: _shortcoming(item, max_drop_points, of)
    )


def reason_of(
    variants: Sequence[FileT],
    failed: Sequence[FailedVariant],
    default: str,
    shortcoming: Callable[[FileT], str],
) -> str:
    """Return ``default_reason`` of any task.

    Args:
        variants: The files that were written.
        failed: The files that were not written.
        default: What ``choose_default`` chose.
        shortcoming: Gives what keeps a file from being the default, a verb and what follows it.
    """
    names = [item.name for item in variants] + [item.name for item in failed]
    only_onnx = all(name.startswith("onnx") for name in names)
    smallest = ONNX_SMALLEST if only_onnx else SMALLEST
    if default == smallest:
        return ""
    if any(item.name == smallest for item in failed):
        return f"{default}, since {smallest} could not be made."
    found = passed_over(variants, default)
    return "" if found is None else f"{default} and not {found.name}, which {shortcoming(found)}."


def passed_over(variants: Sequence[FileT], default: str) -> FileT | None:
    """Return the file that would be the default if it had lost nothing; None if that one is it.

    It is the int8 file where there is one, else the smallest one that was asked for.
    """
    by_name = {item.name: item for item in variants}
    first = next((name for name in PREFERRED if name in by_name), default)
    return None if first == default else by_name[first]


def _shortcoming(variant: VariantReport, max_drop_points: float | None, of: str) -> str:
    """Return what keeps a file from being the default."""
    if variant.constant:
        return "gives every image the same scores"
    if variant.agreement is not None and not variant.is_faithful:
        return (
            f"agrees with {of} on {100 * variant.agreement:.1f} % of the images, no "
            "more than chance"
        )
    if holds(variant, max_drop_points):
        assert variant.agreement is not None  # its level is low
        return (
            f"agrees with {of} on only {100 * variant.agreement:.1f} % of the images "
            "(Cohen's kappa is below 0.8)"
        )
    if variant.drop_points is not None:
        most = MAX_DROP_POINTS if max_drop_points is None else max_drop_points
        measure = "top-1" if variant.multi_label is None else "mAP"
        return f"loses {variant.drop_points:.1f} points of {measure}; at most {most:g} may be lost"
    most = MAX_CHANGED_POINTS if max_drop_points is None else max_drop_points
    return (
        f"agrees with {of} on {100 - lost(variant):.1f} % of the images; without "
        f"labels at least {100 - most:g} % have to agree"
    )


def holds(variant: Compared, max_drop_points: float | None) -> bool:
    """Return whether it loses no more than the budget, or than is next to nothing without one."""
    usual = MAX_DROP_POINTS if variant.drop_points is not None else MAX_CHANGED_POINTS
    return lost(variant) <= (usual if max_drop_points is None else max_drop_points)


def lost(variant: Compared) -> float:
    """Return the points of the score lost; without truth, those of answers that are others."""
    if variant.drop_points is not None:
        return variant.drop_points
    assert variant.agreement is not None  # there is always a model to agree with
    return round(100 * (1 - variant.agreement), 6)
