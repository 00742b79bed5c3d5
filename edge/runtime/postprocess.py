"""From output tensors to answers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import InferenceError
from edge.runtime.spec import Category, TensorSpec


def dequantize(tensor: NDArray[Any], spec: TensorSpec) -> NDArray[np.float32]:
    """Real values, float32: scale * (q - zero_point).

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


def top_k(scores: NDArray[np.float32], labels: Sequence[str], k: int) -> list[Category]:
    """The k best classes, best first; equal scores in the order of their index.

    Args:
        scores: (classes,), float32.
        labels: One per class.
        k: At most as many answers.

    Raises:
        InferenceError: The scores are not finite, or not as many as the labels.
    """
    if scores.shape != (len(labels),):
        raise InferenceError(f"the model gave {scores.shape} scores for {len(labels)} labels")
    if not np.isfinite(scores).all():
        raise InferenceError("the model's answer is not finite (NaN or infinity)")
    order = np.argsort(-scores, kind="stable")[:k]
    return [Category(index=int(i), label=labels[i], score=float(scores[i])) for i in order]
