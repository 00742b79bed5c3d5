"""Whether two files hold the same float32 weights: then they must answer the same."""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelLoadError
from edge.modelfile.contents import constants
from edge.modelfile.corruption import corruption

# Smaller tensors are scalings, means, axes and shapes: just what may be wrong around the weights.
FEWEST: Final = 64
# The types of 4, 8 and 16 bits: weights in them are rounded.
NARROW: Final = frozenset({"int4", "int8", "uint8", "int16", "uint16", "float16", "bfloat16"})
# Training moves every tensor by more, rounding in a converter by less.
TOLERANCE: Final = 1e-4


def same_network(ours: tuple[Path, ...], theirs: tuple[Path, ...]) -> bool | None:
    """Whether a file of the one family has the float32 weights of one of the other.

    The answer is None where that takes a package that is not installed here.

    Args:
        ours: Files of one side that are known to be one network, in any format.
        theirs: Such files of the other side.
    """
    if set(ours) & set(theirs):
        return True
    pairs = [(left, right) for left in ours for right in theirs if left.suffix == right.suffix]
    try:
        return any(same_weights(left, right) for left, right in pairs)
    except ImportError:  # of onnx: only ONNX Runtime is needed to compare
        return None


def same_weights(ours: Path, theirs: Path) -> bool:
    """Whether two files of one format hold the same float32 weights, in any order.

    The answer is False as well if a file holds other weights than float32, or cannot be read for
    them here.
    """
    one, other = _fingerprints(ours), _fingerprints(theirs)
    if one is None or other is None or one.shape != other.shape:
        return False
    return len(one) > 0 and bool(np.allclose(one, other, rtol=TOLERANCE, atol=0))


def _fingerprints(path: Path) -> NDArray[np.float64] | None:
    """(tensors, 3) float64, sorted: elements, sum and square sum of the absolute values.

    Norms stay the same where channels are reversed, which is a fault to be found, not another
    network. None for a file that is not of float32 alone.
    """
    rows = []
    try:
        with corruption(path, "model"):
            for constant in constants(path):
                if constant.elements < FEWEST:
                    continue
                if constant.dtype in NARROW:
                    return None
                if constant.dtype == "float32":
                    size = np.abs(constant.read().reshape(-1))
                    total, squares = size.sum(dtype=float), np.square(size).sum(dtype=float)
                    rows.append((len(size), total, squares))
    except ModelLoadError:
        return None
    return np.array(sorted(rows), float).reshape(-1, 3)
