"""A model of one convolution: what runs it runs models.

Bytes, since the worker's environment need not hold the ``onnx`` package. Input ``x`` and output
``y`` are float32 (1, 2, 4, 4); the filter is 1 x 1 with weights [[1, 0.5], [0.25, 1]], so that a
tensor of ones becomes 1.5 in the first channel and 1.25 in the second.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import EngineUnavailable

MODEL: Final = bytes.fromhex(
    "08083a720a120a01780a01771201791a01632204436f6e761201672a1f0802080208010801100142"
    "01774a100000803f0000003f0000803e0000803f5a1b0a017812160a14080112100a0208010a0208"
    "020a0208040a020804621b0a017912160a14080112100a0208010a0208020a0208040a0208044204"
    "0a00100d"
)
SHAPE: Final = (1, 2, 4, 4)
ANSWER: Final = (1.5, 1.25)  # per channel
TOLERANCE: Final = 0.01  # of accelerators that compute in 16 bits


@contextmanager
def written() -> Iterator[Path]:
    """The model as a file, while the block runs."""
    with TemporaryDirectory(prefix="edge-probe-") as folder:
        model = Path(folder) / "tiny.onnx"
        model.write_bytes(MODEL)
        yield model


def ones() -> NDArray[np.float32]:
    """The input to which ``check`` knows the answer."""
    return np.ones(SHAPE, np.float32)


def check(output: NDArray[Any], name: str) -> None:
    """Compare the output for ``ones`` with the right one.

    Args:
        output: (1, 2, 4, 4).
        name: Of what computed it.

    Raises:
        EngineUnavailable: It is another.
    """
    error = np.abs(output - np.reshape(ANSWER, (1, 2, 1, 1))).max()
    if not error <= TOLERANCE:  # also of NaN
        raise EngineUnavailable(
            f"{name} is here, but computes a convolution wrongly, by up to {error:.3g}",
            hint="Update the driver.",
        )
