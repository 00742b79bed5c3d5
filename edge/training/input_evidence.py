"""How a network is fed, and what speaks for it.

A network that is fed another range than the one it was trained on still answers, only worse, and
every file made of it agrees with it. Two things tell: labelled pictures (``input_trials``) and what
the network remembers of its training images (``input_memory``).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.dataset.pictures import Hashed
from edge.errors import ImageError, UsageError
from edge.runtime.contract import Preprocessing
from edge.runtime.preprocess import load
from edge.training.backbones import BACKBONES, Backbone, Scaling
from edge.training.input_memory import application_name, scaling_in_front
from edge.training.input_range import (
    NAMED,
    InputRange,
)
from edge.training.input_trials import (
    FIRST,
    MOST_SURE,
    SURE,
    RangeTrial,
    RangeVerdict,
    judge,
    range_trials,
)

PICTURES: Final = 128  # the largest number that is tried


MOST_BYTES: Final = 50_000_000  # of pixels; in float32 they are four times as many


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFinding:
    """How a network is fed, and what speaks for it.

    Attributes:
        taken: What the network is taken to want.
        told: Whether the user said so.
        trials: What was tried, ``taken`` first; empty where there were no pictures.
        better: The trial that is clearly better than ``taken``.
        fits: Whether one of the trials, or nothing that is known, may be right; False where
            ``taken`` is wrong and so is every other.
        evidence: What was taken from what, one sentence each.
        doubts: What speaks against it or leaves it open, where that is too little to stop.
    """

    taken: InputRange
    told: bool
    trials: tuple[RangeTrial, ...] = ()
    better: RangeTrial | None = None
    fits: bool = True
    evidence: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the finding as JSON values; ``docs/bundle.md`` explains them."""
        return {
            **self.provenance(),
            "better": None if self.better is None else self.better.to_json(),
            "trials": [trial.to_json() for trial in self.trials],
        }

    def provenance(self) -> dict[str, Any]:
        """Return the same without the trials: what the manifest keeps."""
        return {**self.taken.to_json(), "told": self.told, "evidence": list(self.evidence)}

    @property
    def table(self) -> str:
        """The trials as lines of text."""
        rows = [("input range", "right", "p", "distance")]
        for trial in self.trials:
            percent = "" if trial.percent is None else f"{trial.percent:.1f} % of {trial.images}"
            p_value = "" if trial.p is None else f"{trial.p:.2g}"
            distance = "" if trial.distance is None else f"{trial.distance:.3g}"
            rows.append((trial.option, percent, p_value, distance))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        shown = [column for column in range(4) if any(row[column] for row in rows[1:])]
        return "\n".join(
            "  " + "  ".join(row[column].ljust(widths[column]) for column in shown).rstrip()
            for row in rows
        )


def find_input(
    model: Any,
    pictures: Sequence[Hashed],
    preprocessing: Preprocessing,
    told: InputRange | None,
    *,
    features: bool = False,
) -> InputFinding:
    """Try the usual ways to feed a network.

    Args:
        model: A Keras model as it was given: one input (batch, height, width, channels).
        pictures: Pictures that are not scored later; a ``label`` of theirs is used.
        preprocessing: The contract, whose size and channels are those of the model.
        told: What the user said; None for RGB 0..255.
        features: The model answers with features and not with classes; the class of a picture is
            then that of its nearest neighbour among the others.

    Raises:
        UsageError: What the user said does not fit the number of channels.
        ModelLoadError: The network answers no picture with finite numbers.
    """
    taken = told or InputRange()
    taken.check_channels(preprocessing.shape[2])
    front = scaling_in_front(model)
    evidence = [_taken_sentence(taken, front, told=told is not None)]
    count = min(PICTURES, max(FIRST, MOST_BYTES // int(np.prod(preprocessing.shape))))
    pixels, truth = _read(pictures[:count], preprocessing)
    trials = range_trials(model, pixels, truth, taken, features=features)
    known = [label for label in truth if label is not None]
    most = max(Counter(known).values(), default=0)
    verdict = judge(trials, most / max(len(known), 1), features=features)
    evidence.extend(_sentences(trials, verdict))
    finding = InputFinding(
        taken=taken,
        told=told is not None,
        trials=tuple(trials),
        better=verdict.better,
        fits=verdict.fits,
        evidence=tuple(evidence),
    )
    doubts = [] if finding.told else _open_questions(finding, verdict)
    if not finding.told and not front:
        doubts += _doubts(trials, application_name(model))
    return replace(finding, doubts=tuple(doubts))


def application_input(row: Backbone) -> InputFinding:
    """Return how a network of Keras Applications is fed: by definition."""
    scaling = f"whose scaling ({row.scaling}) edge puts into the model"
    if row.scaling is Scaling.INSIDE:
        scaling = "which scales by itself"
    return InputFinding(
        taken=InputRange(),
        told=False,
        evidence=(f"it is {row.keras_name} of Keras Applications, {scaling}",),
    )


def check_input(finding: InputFinding, name: str) -> tuple[str, ...]:
    """Stop where the network clearly wants something else, unless the user said what it is fed.

    Args:
        finding: What ``find_input`` found.
        name: The name of the model file.

    Returns:
        What a user should do something about, one sentence each.

    Raises:
        UsageError: Another range is clearly better, and nobody said which one is meant.
    """
    better = finding.better
    if better is None and finding.fits:
        return finding.doubts
    if finding.told:
        return (
            f"{name} is fed {finding.taken.text}, as asked for, although {finding.evidence[-1]}",
        )
    wrong = f"{name} seems to want another input than {finding.taken.text}"
    if better is None:
        raise UsageError(
            f"{wrong}, and none of the usual ones fits: {finding.evidence[-1]}\n{finding.table}",
            hint="Say with --input-range what it was trained on, such as MEAN/STD, or 1,0 where "
            "black is 1 and white 0. If it is one of these after all, the labels are perhaps in "
            f"another order. {finding.trials[0].option} keeps it at {finding.taken.text}.",
        )
    raise UsageError(
        f"{wrong}: {finding.evidence[-1]}\n{finding.table}",
        hint=f"Add {better.option} to feed it that; {finding.trials[0].option} keeps it at "
        f"{finding.taken.text}.",
    )


def _read(
    pictures: Sequence[Hashed], preprocessing: Preprocessing
) -> tuple[NDArray[np.uint8], list[int | None]]:
    """Return pixels (pictures, height, width, channels) and classes, where they can be decoded."""
    pixels = [np.zeros((0, *preprocessing.shape), np.uint8)]
    truth = []
    for picture in pictures:
        try:
            pixels.append(load(picture.path, preprocessing)[np.newaxis])
        except ImageError:
            continue  # said where the pictures are read for good
        truth.append(getattr(picture, "label", None))
    return np.concatenate(pixels), truth


def _taken_sentence(taken: InputRange, front: Sequence[str], *, told: bool) -> str:
    if told:
        return f"it is fed {taken.text}, as asked for"
    if front:
        return f"it is fed {taken.text}, which its first layers ({', '.join(front)}) scale"
    return f"it is fed {taken.text}, the usual thing, since nobody said otherwise"


def _sentences(trials: Sequence[RangeTrial], verdict: RangeVerdict) -> list[str]:
    """Return what the trials say; what speaks for another range, or against all, comes last."""
    taken, better = trials[0], verdict.better
    texts = []
    if taken.percent is not None:
        texts.append(f"so fed, it answers {taken.percent:.1f} % of {taken.images} pictures right")
    if taken.distance is not None:
        texts.append(
            f"its first features are {taken.distance:.3g} nats from those of its training images"
        )
    if not verdict.fits:
        texts.append(
            f"its first features are {taken.distance:.3g} nats from those of its training images, "
            "and with each of the usual ranges it answers no more pictures right than guessing"
        )
    if better is None:
        return texts
    if verdict.by_pictures:
        texts.append(_more_right(better, taken))
    else:
        texts.append(
            f"with {better.option} ({better.range.text}) its first features are "
            f"{better.distance:.3g} nats from those of its training images, instead of "
            f"{taken.distance:.3g}"
        )
    return texts


def _more_right(trial: RangeTrial, taken: RangeTrial) -> str:
    return (
        f"with {trial.option} ({trial.range.text}) it answers {trial.percent:.1f} % of "
        f"{trial.images} pictures right instead of {taken.percent:.1f} % (exact McNemar test: "
        f"p = {trial.p:.2g})"
    )


def _open_questions(finding: InputFinding, verdict: RangeVerdict) -> list[str]:
    """Return what the trials leave open, with their figures."""
    taken, perhaps = finding.trials[0], verdict.perhaps
    if perhaps is not None:
        return [
            f"whether the network wants {taken.range.text} is open: {_more_right(perhaps, taken)}"
            "; that may be chance. More labelled pictures decide it, or the option does"
        ]
    if verdict.guesses:
        return [
            f"fed {taken.range.text}, the network answers no more of {taken.images} labelled "
            "pictures right than guessing, and so it does with each of the usual ranges: the "
            "labels are perhaps in another order, or it was trained on something else, which "
            "--input-range says"
        ]
    return []


def _doubts(trials: Sequence[RangeTrial], application: str | None) -> list[str]:
    """Return what is open where nobody said how the network is fed and no layer in front scales."""
    taken = trials[0]
    scaling = None if application is None else BACKBONES[application].scaling.value
    if scaling in NAMED and (taken.distance is None or taken.distance > 1):
        return [
            f"the network is named after {application} of Keras Applications, whose weights want "
            f"--input-range {scaling}; it is fed {taken.range.text}, and no layer in front scales"
        ]
    if taken.distance is None and not taken.images:
        return [
            f"nothing tells whether the network wants {taken.range.text}: no layer in front "
            "scales, no picture has a label, and there is no batch normalization whose memory "
            "could be compared; say what it wants with --input-range"
        ]
    calmer = _calmer(trials)
    if calmer is not None:
        return [
            f"fed {taken.range.text}, the network gives {taken.sure} of {taken.images} answers a "
            f"probability above {SURE}, as networks do that were trained on smaller values; with "
            f"{calmer.option} ({calmer.range.text}) it is so sure of {calmer.sure}, and answers "
            f"{calmer.percent:.1f} % right instead of {taken.percent:.1f} %. If it was trained on "
            "that, its probabilities are wrong as it is fed"
        ]
    return []


def _calmer(trials: Sequence[RangeTrial]) -> RangeTrial | None:
    """Return the best range whose answers are not saturated, where those of the one taken are.

    Statistics that were compared say more than this, which a network that is sure for good
    reasons shows too.
    """
    taken = trials[0]
    if taken.distance is not None or not taken.images or taken.sure < MOST_SURE * taken.images:
        return None
    calmer = [
        trial
        for trial in trials[1:]
        if trial.images == taken.images
        and trial.right >= taken.right
        and 2 * trial.sure < trial.images
    ]
    return max(calmer, key=lambda trial: (trial.right, -trial.sure), default=None)
