"""What a model's answers are: found out from its graph, then from the values on pictures.

The last operator decides where it is a softmax or a sigmoid, and where nothing follows the last
dense layer or convolution. Where it is something else, the values do. What was taken, and from
which evidence, is stated; ``--output-activation`` settles it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import UsageError
from edge.runtime.output import HALF, Activation, OutputActivation, OutputKind, OutputSpec

OPTION: Final = "--output-activation"
ROUNDING: Final = 0.02  # of a probability that is an integer of 8 bits
SUM_ROUNDING: Final = 0.03  # of the sum of such; each further class may add half a step of 256
HALF_STEP: Final = 0.5 / 255


class Ending(StrEnum):
    """What stands at the end of a graph."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    LINEAR = "linear"  # a dense layer or convolution, or a sum behind it
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class GraphEnd:
    """The last operator that is more than a change of shape or of number format.

    Attributes:
        ending: What it is.
        named: For people, such as ``the last operator, Softmax``.
    """

    ending: Ending
    named: str


def output_of(
    end: GraphEnd, columns: int, values: NDArray[np.float32] | None, asked: OutputActivation
) -> OutputSpec:
    """What the values of a model are; thresholds of several labels are 0.5.

    Args:
        end: Of its graph.
        columns: How many values it answers with.
        values: (pictures, columns) float32, what it answers to some pictures; None where the
            graph is enough: see ``needs_values``.
        asked: What the user says they are.

    Raises:
        UsageError: They cannot be what the graph or the user says.
    """
    if asked is OutputActivation.AUTO:
        kind, why = _found(end, columns, values)
    else:
        kind, why = asked, f"{OPTION} {asked}"
    _check(kind, columns, values, why)
    several = columns > 1 and kind in (
        OutputActivation.SIGMOID,
        OutputActivation.MULTI_LABEL_LOGITS,
    )
    pending = Activation.NONE
    if kind is OutputActivation.MULTI_LABEL_LOGITS or (
        kind is OutputActivation.LOGITS and columns == 1
    ):
        pending = Activation.SIGMOID
    elif kind is OutputActivation.LOGITS:
        pending = Activation.SOFTMAX
    return OutputSpec(
        kind=OutputKind.MULTI_LABEL if several else OutputKind.SINGLE_LABEL,
        activation=pending,
        thresholds=(HALF,) * columns if several else (),
        evidence=f"{_words(kind, columns)}: {why}",
    )


def needs_values(end: GraphEnd, asked: OutputActivation) -> bool:
    """Whether the graph leaves open what the values are."""
    return asked is OutputActivation.AUTO and end.ending in (Ending.OTHER, Ending.LINEAR)


def _found(
    end: GraphEnd, columns: int, values: NDArray[np.float32] | None
) -> tuple[OutputActivation, str]:
    if end.ending is Ending.SOFTMAX:
        if columns > 1 and values is not None and not sum_to_one(values):
            raise UsageError(
                f"{end.named}, and yet the {columns} values of a picture do not sum to 1: it runs "
                "along another axis than that of the classes",
                hint=f"Mend the axis, or take the values as they are with {OPTION} softmax.",
            )
        return OutputActivation.SOFTMAX, end.named
    if end.ending is Ending.SIGMOID:
        other = f" ({OPTION} softmax takes them for classes that exclude one another)"
        return OutputActivation.SIGMOID, end.named + (other if columns > 1 else "")
    if values is None:
        return OutputActivation.LOGITS, end.named
    seen = f"{end.named}; on {len(values)} pictures the values are {_range(values)}"
    if columns > 1 and are_within(values) and sum_to_one(values):
        return OutputActivation.SOFTMAX, f"{seen} and sum to 1"
    if end.ending is Ending.LINEAR:
        doubt = f" (they may be probabilities as well: {OPTION} softmax or sigmoid)"
        return OutputActivation.LOGITS, seen + (doubt if are_within(values) else "")
    if are_within(values):
        sums = f" and do not sum to 1 ({OPTION} says otherwise)" if columns > 1 else ""
        return OutputActivation.SIGMOID, seen + sums
    return OutputActivation.LOGITS, f"{seen}, which no probabilities are ({OPTION} says otherwise)"


def are_within(values: NDArray[np.float32]) -> bool:
    """Whether all values lie within 0..1, but for rounding."""
    return bool(values.min() >= -ROUNDING and values.max() <= 1 + ROUNDING)


def sum_to_one(values: NDArray[np.float32]) -> bool:
    """Whether each row of (pictures, columns) sums to 1, but for rounding to 8 bits."""
    most = SUM_ROUNDING + HALF_STEP * values.shape[1]
    return bool((np.abs(values.sum(axis=1, dtype=np.float64) - 1) <= most).all())


def _check(
    kind: OutputActivation, columns: int, values: NDArray[np.float32] | None, why: str
) -> None:
    if kind is OutputActivation.SOFTMAX and columns == 1:
        raise UsageError(
            f"the model answers with a single value, and a softmax over one value is always 1 "
            f"({why}): it can tell nothing apart",
            hint="Train it with a sigmoid at the end, or with a value for each class.",
        )
    if kind is OutputActivation.MULTI_LABEL_LOGITS and columns == 1:
        raise UsageError(
            "the model answers with a single value, which is not several labels",
            hint=f"Use {OPTION} logits: its sigmoid is the probability of the second class.",
        )
    probable = kind in (OutputActivation.SOFTMAX, OutputActivation.SIGMOID)
    if probable and values is not None and not are_within(values):
        raise UsageError(
            f"the values cannot be probabilities ({why}): on {len(values)} pictures they are "
            f"{_range(values)}",
            hint=f"Name what they are with {OPTION}: logits, or multi-label-logits.",
        )


def _words(kind: OutputActivation, columns: int) -> str:
    if columns == 1:
        logit = kind is OutputActivation.LOGITS
        return "one logit of two classes" if logit else "one sigmoid probability of two classes"
    return {
        OutputActivation.SOFTMAX: "softmax probabilities",
        OutputActivation.SIGMOID: "sigmoid probabilities of labels that do not exclude one another",
        OutputActivation.LOGITS: "logits of classes that exclude one another",
    }.get(kind, "logits of labels that do not exclude one another")


def _range(values: NDArray[np.float32]) -> str:
    return f"{values.min():.3g} to {values.max():.3g}"


def other_count(labels: int, values: int) -> str:
    """What to do where a model answers with another number of values than there are labels."""
    if values == labels + 1:
        return (
            "One value more than labels is often a background class, the first one: add a line "
            "'background' at the top of the labels."
        )
    if values == 1:
        return "A single value tells two classes apart: name two labels."
    return "The labels are of another model, or lines are missing: each value needs one label."
