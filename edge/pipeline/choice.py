"""The file of a bundle that runs by default: the fastest of those that are as accurate.

What is as accurate is decided here, and what is best of that in ``benchmarks.turns.best``, which a
deploy that measures on the device uses too; ``docs/bundle.md`` states the rule for users.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, Protocol, TypeVar

from benchmarks.turns import AS_LARGE, Turns, best, why_best
from benchmarks.verdict import Judgement, SpeedVerdict
from converters.base import CALIBRATED, TARGETS, Precision
from edge.errors import NegativeVerdict, StrictRefusal
from edge.evaluation.chance import Level
from edge.evaluation.confidence import CONFIDENCE
from edge.pipeline.report import (
    KERAS_MODEL,
    Bounds,
    FailedVariant,
    VariantReport,
    WrittenFile,
)
from edge.wording import joined, percent, span

MAX_DROP_POINTS: Final = 1.0  # of top-1 that the default variant may lose


MAX_CHANGED_POINTS: Final = 3.0  # of answers that it may change where no image has a label


class Compared(Protocol):
    """A written file, held against what it was made of; see ``VariantReport``."""

    @property
    def name(self) -> str:
        """The name of the variant."""
        ...

    @property
    def size_bytes(self) -> int:
        """The size of the file."""
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

    @property
    def tells(self) -> bool:
        """Whether the images can tell another file's answers from them: not all get one class."""
        ...


FileT = TypeVar("FileT", bound=Compared)
WrittenT = TypeVar("WrittenT", bound=WrittenFile)


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


def is_as_accurate(variant: Compared, max_drop_points: float | None) -> bool:
    """Return whether nothing that was measured speaks against a file in the place of its model.

    Its answers are those of the model, beyond chance and not clearly below a kappa of 0.8, and it
    lost no more than the budget, or than ``MAX_DROP_POINTS`` or ``MAX_CHANGED_POINTS``. The gate
    of ``edge compare`` holds the whole interval of the drop against the same point of top-1. What
    it fails is never accurate here, since the drop lies within its interval. What it passes is,
    unless kappa is low. Where it calls the images too few, the drop itself decides: below 199
    images the gate passes not even a file that changed no answer, and a default is needed.

    Images that all get the same class show nothing of an integer file, which may answer so without
    looking at them: it is not taken for accurate.
    """
    if variant.agreement is None or not variant.is_faithful or _is_untold(variant):
        return False
    return variant.agreement_level is not Level.LOW and holds(variant, max_drop_points)


def _is_untold(variant: Compared) -> bool:
    return not variant.tells and TARGETS[variant.name].precision in CALIBRATED


def holds(variant: Compared, max_drop_points: float | None) -> bool:
    """Return whether it loses no more than the budget, or than is next to nothing without one."""
    return lost(variant) <= allowed(variant, max_drop_points)


def allowed(variant: Compared, max_drop_points: float | None) -> float:
    """Return the points that a file may lose; without truth, those of answers that are others."""
    usual = MAX_DROP_POINTS if variant.drop_points is not None else MAX_CHANGED_POINTS
    return usual if max_drop_points is None else max_drop_points


def agreeing(variant: Compared, most: float) -> str:
    """Return the share of answers that are the same, with digits that tell it from the least one.

    Args:
        variant: The file; its images have no labels.
        most: The points of the answers that may be others.
    """
    share = 1 - lost(variant) / 100
    return percent(share, 1 if percent(share) != percent(1 - most / 100) else 2)


def lost(variant: Compared) -> float:
    """Return the points of the score lost; without truth, those of answers that are others."""
    if variant.drop_points is not None:
        return variant.drop_points
    assert variant.agreement is not None  # there is always a model to agree with
    return round(100 * (1 - variant.agreement), 6)


def choose_default(
    variants: Sequence[Compared],
    turns: Turns,
    max_drop_points: float | None = None,
    named: str | None = None,
) -> str:
    """Choose the variant that runs by default.

    It is the best by ``benchmarks.turns.best`` of the files that are as accurate: a fast and a
    small one. Where none is as accurate, it is the most precise one that is faithful.

    Args:
        variants: The files that were written.
        turns: Their times.
        max_drop_points: The points of the score that may be lost.
        named: The variant that was named beforehand, by the user or by a bundle that is made
            again; it is taken if it was written.
    """
    names = [variant.name for variant in variants]
    if named in names:
        return str(named)
    if len(variants) == 1:  # an adopted file among others, which has nothing to lose against
        return names[0]
    if all(variant.agreement is None for variant in variants):  # nothing was found to agree on
        return next((name for name in names if name.endswith("-fp32")), names[0])
    accurate = [item for item in variants if is_as_accurate(item, max_drop_points)]
    if not accurate:
        return _most_precise(variants)
    return best({item.name: item.size_bytes for item in accurate}, turns)


def _most_precise(variants: Sequence[Compared]) -> str:
    """Return the file to run where none is as accurate as what they were made of."""
    faithful = [variant for variant in variants if variant.is_faithful]
    alike = [variant for variant in faithful if variant.agreement_level is not Level.LOW]
    if alike or faithful:
        return (alike or faithful)[0].name
    return max(variants, key=lambda variant: variant.agreement or 0.0).name


def _against(turns: Turns, name: str, other: str) -> Judgement:
    return turns.judged(name, other, CONFIDENCE)


def _is_slower(judgement: Judgement) -> bool:
    return judgement.verdict is SpeedVerdict.SLOWER


def paced(
    variants: Sequence[WrittenT],
    turns: Turns,
    default: str,
    shortcoming: Callable[[WrittenT], str],
) -> tuple[WrittenT, ...]:
    """Return the reports with the time against that of the default, and the faults of each file.

    Args:
        variants: The files that were written.
        turns: Their times.
        default: What ``choose_default`` chose.
        shortcoming: As for ``default_reason``.
    """
    told = []
    for item in variants:
        judgement = _against(turns, item.name, default)
        whole = TARGETS[item.name].precision in CALIBRATED
        faults = (shortcoming(item), _slowness(item.name, turns)) if whole else ()
        made = replace(
            item,
            latency_ratio=judgement.ratio,
            latency_ratio_interval=(judgement.interval.low, judgement.interval.high),
            faults=tuple(filter(None, faults)),
        )
        told.append(made)
    return tuple(told)


def _slowness(name: str, turns: Turns) -> str:
    """Say that a file is slower than the float file of its own format, a verb and more; or ""."""
    floats = f"{TARGETS[name].format}-{Precision.FP32}"
    if floats not in turns.names:
        return ""
    judgement = _against(turns, name, floats)
    slower = _is_slower(judgement)
    return f"takes {judgement.times} as long as {floats} here" if slower else ""


def default_reason(
    variants: Sequence[FileT],
    failed: Sequence[FailedVariant],
    default: str,
    turns: Turns,
    shortcoming: Callable[[FileT], str],
    *,
    named: str | None = None,
) -> str:
    """Say in a sentence why the default is what it is; "" where there is only one file.

    Named are the files that somebody might want instead: the int8 file of the same format and
    every smaller or faster one, else the next in speed.

    Args:
        variants: The files that were written.
        failed: The files that were not written.
        default: What ``choose_default`` chose.
        turns: The times of the files.
        shortcoming: Says what a file lacks in accuracy, a verb and what follows it; "" of a file
            that is as accurate.
        named: As for ``choose_default``.
    """
    unmade = [item.name for item in failed if item.name.endswith("-int8")]
    if len(variants) == 1 and not unmade:
        return ""
    by_name = {item.name: item for item in variants}
    others = [item for item in variants if item.name != default]
    ratio = {item.name: _against(turns, item.name, default).ratio for item in others}
    wanted = [
        item
        for item in others
        if item.name == f"{TARGETS[default].format}-{Precision.INT8}"
        or AS_LARGE * item.size_bytes < by_name[default].size_bytes
        or ratio[item.name] < 1
    ]
    if not wanted and others:
        wanted = [min(others, key=lambda item: ratio[item.name])]
    parts = [
        f"{item.name} {shortcoming(item) or _speed(_against(turns, item.name, default))}"
        for item in wanted
    ]
    parts += [f"{name} could not be made" for name in unmade]
    lead = _lead(by_name[default], variants, turns, shortcoming, named=named)
    return f"{default}, {lead}: {joined(parts)}."


def _lead(
    default: FileT,
    variants: Sequence[FileT],
    turns: Turns,
    shortcoming: Callable[[FileT], str],
    *,
    named: str | None,
) -> str:
    """Say in a few words why a file is the default."""
    accurate = [item for item in variants if not shortcoming(item)]
    if default.name == named:
        return "as was stated [--default]"
    if default not in accurate:
        return "though no file is as accurate as the model" if len(variants) > 1 else "the only one"
    if len(variants) == 1:
        return "the only one"
    return why_best(default.name, {item.name: item.size_bytes for item in accurate}, turns, "here")


def _speed(judgement: Judgement) -> str:
    """Say how fast a file is against the default, a verb and what follows it."""
    if judgement.verdict is SpeedVerdict.SAME:
        return "is as fast"
    return f"takes {judgement.times} as long"


def accuracy_shortcoming(
    variant: VariantReport, max_drop_points: float | None, of: str = KERAS_MODEL
) -> str:
    """Return what a file of a classifier lacks in accuracy, a verb and what follows it; or "".

    Args:
        variant: The file.
        max_drop_points: The points of the score that may be lost.
        of: Whose answers it is held against, in words.
    """
    if variant.constant:
        return "gives every image the same scores"
    if variant.agreement is None or is_as_accurate(variant, max_drop_points):
        return ""
    if not variant.is_faithful:
        return (
            f"agrees with {of} on {100 * variant.agreement:.1f} % of the images, no "
            "more than chance"
        )
    if _is_untold(variant):
        return f"cannot be held against {of}: every image gets the same class from both"
    if holds(variant, max_drop_points):  # so that its level is low
        return (
            f"agrees with {of} on only {100 * variant.agreement:.1f} % of the images "
            "(Cohen's kappa is below 0.8)"
        )
    most = allowed(variant, max_drop_points)
    if variant.drop_points is not None:
        measure = "top-1" if variant.multi_label is None else "mAP"
        return lost_points(variant.drop_points, variant.drop_interval, measure, most)
    known = known_to(variant.agreement_interval, most)
    return (
        f"agrees with {of} on {agreeing(variant, most)} of the images{known}, where without "
        f"labels at least {100 - most:g} % have to agree"
    )


def lost_points(points: float, interval: Bounds | None, measure: str, most: float) -> str:
    """Say how much a file lost, a verb and what follows it, and whether that may be chance.

    Args:
        points: The points of the score that it lost.
        interval: The low and the high end of them, 95 %; None where they are not known.
        measure: The name of the score.
        most: The points that may be lost.
    """
    known = ""
    if interval is not None:
        unsure = _UNSURE if interval[0] <= most else ""
        known = f" (95 % interval {interval[0]:.1f} to {interval[1]:.1f}{unsure})"
    return f"loses {points:.1f} points of {measure}{known}, where {most:g} may be lost"


def known_to(interval: Bounds | None, most: float) -> str:
    """Say how well a share of answers that are the same is known; "" where that is not known.

    Args:
        interval: The low and the high end of the share, 95 %, 0..1.
        most: The points of the answers that may be others.
    """
    if interval is None:
        return ""
    unsure = _UNSURE if 100 * interval[1] >= 100 - most else ""
    return f" (95 % interval {span(interval)}{unsure})"


_UNSURE: Final = "; too few images to tell"  # the file may be as good as it has to be


def loss_notes(
    variants: Sequence[FileT], default: str, shortcoming: Callable[[FileT], str]
) -> list[str]:
    """Say of each integer file, and of the default, that it lost more than may be lost.

    See ``losses``.
    """
    return list(losses(variants, default, shortcoming).values())


def losses(
    variants: Sequence[FileT], default: str, shortcoming: Callable[[FileT], str]
) -> dict[str, str]:
    """Return what to say of the integer files, and of the default, that lost too much; by name.

    What weighs more has notes of its own: answers at chance level, or a low kappa.

    Args:
        variants: The files that were written.
        default: What ``choose_default`` chose.
        shortcoming: As for ``default_reason``.
    """
    searched = any(TARGETS[item.name].precision is Precision.MIXED for item in variants)
    notes = {}
    for item in variants:
        told = TARGETS[item.name].precision in CALIBRATED or item.name == default
        text = shortcoming(item) if told else ""
        if text and item.is_faithful and item.agreement_level is not Level.LOW:
            whole = TARGETS[item.name].precision is Precision.INT8 and not searched
            way = "; --quantize auto looks for blocks to keep in floats" if whole else ""
            notes[item.name] = f"{item.name} {text}{_apart(item.name, default)}{way}"
    return notes


def _apart(name: str, default: str) -> str:
    return ", and it is the default" if name == default else "; it is not the default"


def slow_notes(turns: Turns) -> list[str]:
    """Say of each integer file that it is slower than the float file of its own format."""
    whole = [name for name in turns.names if TARGETS[name].precision in CALIBRATED]
    told = [(name, _slowness(name, turns)) for name in whole]
    return [f"{name} {text}" for name, text in told if text]


def fault_notes(notes: Iterable[str], variants: Sequence[WrittenFile]) -> list[str]:
    """Return the notes on the faults of files, which are said with the report."""
    known = tuple(f"{item.name} {fault}" for item in variants for fault in item.faults)
    return [note for note in notes if note.startswith(known)]


def unsaid(notes: Sequence[str], variants: Sequence[WrittenFile]) -> list[str]:
    """Return the other notes, which are said on the way."""
    later = fault_notes(notes, variants)
    return [note for note in notes if note not in later]


class Reported(Protocol):
    """The report of a job."""

    @property
    def variants(self) -> Sequence[WrittenFile]:
        """The files that were written."""
        ...


def check_strict(report: Reported, *, strict: bool) -> None:
    """Refuse to deliver integer files with a fault, where that is asked for.

    Raises:
        StrictRefusal: There is a fault.
    """
    faults = [f"{item.name} {fault}" for item in report.variants for fault in item.faults]
    if strict and faults:
        raise StrictRefusal(
            f"with --strict, no bundle is written: {'; '.join(faults)}",
            report=report,
            hint="Leave the file out with --variants, add --quantize auto where accuracy is "
            "lost, or leave out --strict.",
        )
