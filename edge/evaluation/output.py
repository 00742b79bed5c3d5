"""What the answers of a model are: decided by its graph, and then by its values on pictures.

The last operator decides if it is a softmax or a sigmoid, or if nothing follows the last dense
layer or convolution. If it is something else, the values decide. The decision and its evidence are
stated; ``--output-activation`` overrules it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import UsageError
from edge.runtime.head import sum_rounding
from edge.runtime.output import HALF, Activation, OutputActivation, OutputKind, OutputSpec

OPTION: Final = "--output-activation"
ROUNDING: Final = 0.02  # the error of a probability that is an integer of 8 bits
SUM_ROUNDING: Final = 0.03  # the error of their sum, besides the rounding of each class
SAME_SUM: Final = 0.01  # the relative spread of sums that count as always the same
NEAR: Final = 0.25  # how far outside 0..1 a straight line goes that was fitted to 0 and 1
APART: Final = 0.3  # the least spread of the values of a model that was fitted to 0 and 1
ALWAYS_ONE: Final = 0.999


class Ending(StrEnum):
    """What stands at the end of a graph."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    LINEAR = "linear"  # a dense layer or convolution, or a sum behind it
    TANH = "tanh"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class GraphEnd:
    """The last operator that is more than a change of shape or of number format.

    Attributes:
        ending: The kind of the operator.
        named: Its name for people, such as ``the last operator, Softmax``.
    """

    ending: Ending
    named: str


def output_of(
    end: GraphEnd,
    columns: int,
    values: NDArray[np.float32] | None,
    asked: OutputActivation,
    why: str = "",
) -> OutputSpec:
    """Decide what the values of a model are; the thresholds of several labels are 0.5.

    Args:
        end: The end of its graph.
        columns: The number of values of an answer.
        values: (pictures, columns) float32, the answers to some pictures; None without pictures.
            They overrule the graph.
        asked: What the user says the values are.
        why: What says so instead of the user.

    Raises:
        UsageError: The values cannot be what the graph or the user says.
    """
    if asked is OutputActivation.AUTO:
        kind, why = _decided(end, columns, values)
    else:
        kind, why = asked, why or f"{OPTION} {asked}"
    _check(end, kind, columns, values, why, asked)
    several = columns > 1 and kind in (
        OutputActivation.SIGMOID,
        OutputActivation.MULTI_LABEL_LOGITS,
    )
    pending, done = _pending(end, kind, columns, values)
    return OutputSpec(
        kind=OutputKind.MULTI_LABEL if several else OutputKind.SINGLE_LABEL,
        activation=pending,
        thresholds=(HALF,) * columns if several else (),
        evidence=f"{_words(kind, columns)}: {why}{done}",
    )


def _pending(
    end: GraphEnd, kind: OutputActivation, columns: int, values: NDArray[np.float32] | None
) -> tuple[Activation, str]:
    """Return what makes probabilities of the values, and a remark on it."""
    if kind is OutputActivation.MULTI_LABEL_LOGITS or (
        kind is OutputActivation.LOGITS and columns == 1
    ):
        doubt = values is not None and are_within(values)
        return Activation.SIGMOID, _doubt(values) if doubt else ""
    if kind is OutputActivation.LOGITS:
        doubt = values is not None and are_within(values)
        return Activation.SOFTMAX, _doubt(values) if doubt else ""
    if kind is OutputActivation.SIGMOID and end.ending is Ending.TANH and columns == 1:
        return Activation.HALF_TANH, "; (value + 1) / 2 is the probability"
    if values is None:
        return Activation.NONE, ""
    if kind is OutputActivation.SOFTMAX and not sum_to_one(values):
        return Activation.SHARES, (
            f"; on {len(values)} pictures they sum to {_sums(values)}, and each is divided by the "
            "sum of its picture"
        )
    if kind is OutputActivation.SIGMOID and (end.ending is Ending.LINEAR or not are_within(values)):
        return Activation.CLIP, f"; the values are {_range(values)}, and limited to 0..1"
    return Activation.NONE, ""


def _doubt(values: NDArray[np.float32] | None) -> str:
    seen = "" if values is None else f" {_range(values)} on {len(values)} pictures"
    return f"; their values{seen} may be probabilities already"


def _decided(
    end: GraphEnd, columns: int, values: NDArray[np.float32] | None
) -> tuple[OutputActivation, str]:
    if end.ending is Ending.SOFTMAX:
        return OutputActivation.SOFTMAX, end.named
    if end.ending is Ending.SIGMOID:
        other = f" ({OPTION} softmax takes them for classes that exclude one another)"
        return OutputActivation.SIGMOID, end.named + (other if columns > 1 else "")
    if values is None:
        return OutputActivation.LOGITS, end.named
    seen = f"{end.named}; on {len(values)} pictures the values are {_range(values)}"
    if end.ending is Ending.TANH:
        if columns == 1:
            return OutputActivation.SIGMOID, seen
        return OutputActivation.LOGITS, (
            f"{seen}; a tanh may also be of labels that do not exclude one another ({OPTION} "
            "multi-label-logits), and its scores say little of how sure the model is"
        )
    if columns > 1 and sum_alike(values) and not sum_to_one(values):
        return OutputActivation.SOFTMAX, seen
    if columns > 1 and are_within(values) and sum_to_one(values):
        return OutputActivation.SOFTMAX, f"{seen} and sum to 1"
    if end.ending is Ending.LINEAR:
        other = f" ({OPTION} softmax or sigmoid says otherwise)" if are_within(values) else ""
        return OutputActivation.LOGITS, seen + other
    if are_within(values):
        sums = f" and do not sum to 1 ({OPTION} says otherwise)" if columns > 1 else ""
        return OutputActivation.SIGMOID, seen + sums
    return OutputActivation.LOGITS, f"{seen}, which no probabilities are ({OPTION} says otherwise)"


def are_within(values: NDArray[np.float32]) -> bool:
    """Return whether all values lie within 0..1, but for rounding."""
    return bool(values.min() >= -ROUNDING and values.max() <= 1 + ROUNDING)


def sum_to_one(values: NDArray[np.float32]) -> bool:
    """Return whether each row of (pictures, columns) sums to 1, but for rounding to 8 bits."""
    most = SUM_ROUNDING + sum_rounding(values)
    return bool((np.abs(values.sum(axis=1, dtype=np.float64) - 1) <= most).all())


def sum_alike(values: NDArray[np.float32]) -> bool:
    """Return whether the rows of (pictures, columns) are shares of one sum, such as per cents."""
    sums = values.sum(axis=1, dtype=np.float64)
    spread = float(sums.max() - sums.min())
    varies = float(values.std(axis=0).max()) > SAME_SUM * float(sums.max())
    return bool(values.min() >= 0 and spread <= SAME_SUM * sums.max() and varies)


def like_fitted_to_0_and_1(end: GraphEnd, values: NDArray[np.float32] | None) -> bool:
    """Return whether one linear value (pictures, 1) looks like a score of 0..1, not a logit.

    Logits of two classes lie on both sides of 0; a model that was trained to answer 0 and 1
    keeps close to them.
    """
    if end.ending is not Ending.LINEAR or values is None or values.shape[1] != 1:
        return False
    low, high = float(values.min()), float(values.max())
    return _is_near(values) and high >= HALF and high - low >= APART and -low <= high / 3


def _is_near(values: NDArray[np.float32]) -> bool:
    return bool(values.min() >= -NEAR and values.max() <= 1 + NEAR)


def _check(
    end: GraphEnd,
    kind: OutputActivation,
    columns: int,
    values: NDArray[np.float32] | None,
    why: str,
    asked: OutputActivation,
) -> None:
    """Refuse a kind that the number of values, or the values themselves, contradict."""
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
    if values is not None:
        _check_values(end, kind, values, why, asked)


def _check_values(
    end: GraphEnd,
    kind: OutputActivation,
    values: NDArray[np.float32],
    why: str,
    asked: OutputActivation,
) -> None:
    """Refuse values that cannot be of that kind."""
    columns = values.shape[1]
    halved = end.ending is Ending.TANH and columns == 1
    if kind is OutputActivation.SIGMOID and not (_is_near(values) or halved):
        _refuse_range(values, why)
    if kind is OutputActivation.SOFTMAX and not sum_alike(values):
        if not are_within(values):
            _refuse_range(values, why)
        if not sum_to_one(values) and not (asked is kind and values.min() < ALWAYS_ONE):
            raise UsageError(
                f"they cannot be probabilities of classes that exclude one another ({why}): on "
                f"{len(values)} pictures the {columns} values of a picture sum to {_sums(values)}, "
                "not to 1; a softmax along another axis than that of the classes does so",
                hint=f"Mend the model's last layers, or name what its values are with {OPTION}: "
                "sigmoid, if each is the probability of a label of its own.",
            )
    if kind is OutputActivation.SIGMOID and columns > 1 and values.min() >= ALWAYS_ONE:
        raise UsageError(
            f"all values are 1 on {len(values)} pictures ({why}): they tell nothing apart, as a "
            "softmax along another axis than that of the classes does",
            hint="Mend the axis, and export the model again.",
        )
    shares = columns > 1 and are_within(values) and sum_to_one(values)
    if kind is OutputActivation.LOGITS and shares:
        raise UsageError(
            f"the values are probabilities already ({why}): on {len(values)} pictures they are "
            f"{_range(values)} and sum to {_sums(values)}; a softmax over them would make them "
            "alike",
            hint=f"Use {OPTION} softmax, or leave it out.",
        )


def _refuse_range(values: NDArray[np.float32], why: str) -> None:
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


def _range(values: NDArray[np.floating]) -> str:
    return f"{values.min():.3g} to {values.max():.3g}"


def _sums(values: NDArray[np.float32]) -> str:
    return _range(values.sum(axis=1, dtype=np.float64))


def other_count(labels: int, values: int) -> str:
    """Say what to do if a model does not answer with as many values as there are labels."""
    if values == labels + 1:
        return (
            "One value more than labels is often a background class, the first one: add a line "
            "'background' at the top of the labels."
        )
    if values == 1:
        return "A single value tells two classes apart: name two labels."
    return "The labels are of another model, or lines are missing: each value needs one label."
