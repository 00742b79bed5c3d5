"""From output tensors to answers."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import InferenceError
from edge.runtime.output import HALF, PROBABILITIES, OutputSpec
from edge.runtime.spec import Category, TensorSpec


def dequantize(tensor: NDArray[Any], spec: TensorSpec) -> NDArray[np.float32]:
    """Return the real values, float32: scale * (q - zero_point).

    The source is the TFLite 8-bit quantization specification. Integers are widened before the
    zero point is subtracted, so that nothing wraps around.
    """
    if spec.quantization is None:
        return tensor.astype(np.float32, copy=False)
    scales = np.asarray(spec.quantization.scales, np.float32)
    points = np.asarray(spec.quantization.zero_points, np.int32)
    if scales.size > 1:
        shape = [1] * tensor.ndim
        shape[spec.quantization.quantized_dimension] = scales.size
        scales, points = scales.reshape(shape), points.reshape(shape)
    return (tensor.astype(np.int32) - points).astype(np.float32) * scales


def best_class(
    scores: NDArray[np.float32], output: OutputSpec = PROBABILITIES
) -> NDArray[np.int64]:
    """Return the answer of each row of (images, classes) probabilities: (images,) class index.

    With a threshold, the second of two classes is the answer from it on. Where labels do not
    exclude one another there is no such answer: see ``holding``.
    """
    if output.thresholds and not output.multi_label:
        return (scores[..., 1] >= output.threshold).astype(np.int64)
    best: NDArray[np.int64] = scores.argmax(axis=-1)
    return best


def holding(scores: NDArray[np.float32], output: OutputSpec) -> NDArray[np.bool_]:
    """Return which labels hold, (images, labels) bool, where they do not exclude one another."""
    thresholds = np.asarray(output.thresholds or HALF, np.float32)
    holds: NDArray[np.bool_] = scores >= thresholds
    return holds


def answers(scores: NDArray[np.float32], output: OutputSpec = PROBABILITIES) -> NDArray[np.int64]:
    """Return what each row of (images, classes) says, as (images,) numbers that can be compared.

    A number is a class index, or, where labels do not exclude one another, stands for the set of
    labels that hold.
    """
    if not output.multi_label:
        return best_class(scores, output)
    sets = np.packbits(holding(scores, output), axis=1)
    codes = [int.from_bytes(blake2b(row.tobytes(), digest_size=7).digest()) for row in sets]
    return np.array(codes, np.int64)


def answered(
    scores: NDArray[np.float32], labels: Sequence[str], output: OutputSpec
) -> tuple[str, ...]:
    """Return the labels that a row (classes,) answers with.

    They are one class, or every label that holds.
    """
    if output.multi_label:
        return tuple(labels[index] for index in np.flatnonzero(holding(scores, output)).tolist())
    return (labels[int(best_class(scores, output))],)


def top_k(
    scores: NDArray[np.float32],
    labels: Sequence[str],
    k: int,
    output: OutputSpec = PROBABILITIES,
) -> list[Category]:
    """Return the k best classes, best first; equal scores in the order of their index.

    Args:
        scores: (classes,), float32.
        labels: One per class.
        k: At most as many answers; of labels that do not exclude one another, every one that
            holds is among them, however many they are.
        output: What the scores mean: the answer goes first, also where a threshold chose it.

    Raises:
        InferenceError: The scores are not finite, or not as many as the labels.
    """
    if scores.shape != (len(labels),):
        raise InferenceError(
            f"the model gave {scores.shape} scores for {len(labels)} labels",
            hint="The file is of another model than the labels.",
        )
    if not np.isfinite(scores).all():
        raise InferenceError("the model's answer is not finite (NaN or infinity)")
    first = np.zeros(len(labels), bool)
    if output.multi_label:
        first = holding(scores, output)
    elif output.thresholds:
        first[int(best_class(scores, output))] = True
    order = np.lexsort((-scores, ~first))[: max(k, int(first.sum()) if output.multi_label else 0)]
    return [Category(index=int(i), label=labels[i], score=float(scores[i])) for i in order]
