"""Whether two files hold the same float32 weights: then they must answer the same."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelLoadError
from edge.inspection.corruption import corruption
from edge.inspection.flatbuffer import load_schema

# Smaller tensors are scalings, means, axes and shapes: just what may be wrong around the weights.
FEWEST: Final = 64
# Training moves every tensor by more, rounding in a converter by less.
TOLERANCE: Final = 1e-4


def same_network(ours: tuple[Path, ...], theirs: tuple[Path, ...]) -> bool | None:
    """Whether a file of the one family has the float32 weights of one of the other.

    None where that takes a package that is not installed here.

    Args:
        ours: Files that are known to be one network, in any format.
        theirs: The same of the other side.
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

    False as well if a file holds other weights than float32, or cannot be read for them here.
    """
    found = [_fingerprints(path) for path in (ours, theirs)]
    if found[0] is None or found[1] is None or found[0].shape != found[1].shape:
        return False
    return len(found[0]) > 0 and bool(np.allclose(found[0], found[1], rtol=TOLERANCE, atol=0))


def _fingerprints(path: Path) -> NDArray[np.float64] | None:
    """(tensors, 3) float64, sorted: elements, sum and square sum of the absolute values.

    Norms stay the same where channels are reversed, which is a fault to be found, not another
    network. None for a file that is not of float32 alone.
    """
    read = _tflite_tensors if path.suffix.lower() == ".tflite" else _onnx_tensors
    rows = []
    try:
        with corruption(path, "model"):
            for values in read(path):
                if values is None:
                    return None
                size = np.abs(values)
                rows.append((len(size), size.sum(dtype=float), np.square(size).sum(dtype=float)))
    except ModelLoadError:
        return None
    return np.array(sorted(rows), float).reshape(-1, 3)


def _tflite_tensors(path: Path) -> Iterator[NDArray[np.float32] | None]:
    """The large float32 constants; None for a constant of 8 or 16 bits."""
    schema = load_schema()
    kinds = schema.TensorType
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    graph = model.Subgraphs(0)
    for index in range(graph.TensorsLength()):
        tensor = graph.Tensors(index)
        content = model.Buffers(tensor.Buffer()).DataAsNumpy()
        if not isinstance(content, np.ndarray) or content.nbytes < FEWEST:
            continue
        if tensor.Type() in (kinds.INT4, kinds.INT8, kinds.UINT8, kinds.INT16, kinds.FLOAT16):
            yield None
        elif tensor.Type() == kinds.FLOAT32 and content.nbytes >= 4 * FEWEST:
            yield content.view(np.float32)


def _onnx_tensors(path: Path) -> Iterator[NDArray[np.float32] | None]:
    """The large float32 constants; None for a constant of 8 or 16 bits."""
    import onnx

    narrow = {
        getattr(onnx.TensorProto, name)
        for name in ("INT8", "UINT8", "INT16", "UINT16", "FLOAT16", "BFLOAT16")
    }
    for tensor in onnx.load(str(path), load_external_data=False).graph.initializer:
        if np.prod(tensor.dims) < FEWEST:
            continue
        if tensor.data_type in narrow:
            yield None
        elif tensor.data_type == onnx.TensorProto.FLOAT:
            yield onnx.numpy_helper.to_array(tensor).reshape(-1)
