"""How the integer file of somebody else's float file takes a picture.

The float file takes real = factor * pixel + term, for each channel. The integer file takes the
pixel itself wherever that can be had: as a quantized tensor of scale s and zero point z the pixel x
stands for s * (x - z). With one factor for all channels s is that factor, and z = -term / factor,
rounded to a whole grey level; with one for each, s is 1. What is left goes into the first
convolution:

    conv(w, factor * x + term) = conv(w * factor / s, s * (x - z)) + sum(w * (term + factor * z))

That is exact wherever the kernel lies inside the picture; on padded borders the padding's zero
becomes the pixel z. Where that is more than half a grey level off, the file takes real values.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.runtime.contract import ChannelOrder, InputEncoding, Preprocessing

NEGLIGIBLE: Final = 1e-3  # grey levels; an 8-bit input rounds away 500 times as much
HALF: Final = 0.5 + NEGLIGIBLE  # grey levels
REAL_INPUT: Final = "the input stays float32: its scaling folds into no first convolution"


@dataclass(frozen=True, slots=True)
class FirstConvolution:
    """The convolution that reads the picture.

    Attributes:
        kernel: float32, channels in axis ``axis``.
        bias: float32 (outputs,), or None.
        axis: The axis of the input's channels; that of the outputs is 0.
        pads: Whether anything pads the picture.
        replace: Puts another kernel and bias of the same shapes in their place.
    """

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    axis: int
    pads: bool
    replace: Callable[[NDArray[np.float32], NDArray[np.float32]], Any]


@dataclass(frozen=True, slots=True)
class FileImage:
    """What the integer file takes.

    Attributes:
        zero_point: The pixel that stands for real 0; None where the file takes real values.
        encoding: What a pixel becomes in the float file, its first convolution rewritten.
    """

    zero_point: int | None
    encoding: InputEncoding

    @property
    def notes(self) -> tuple[str, ...]:
        """What the report says of it."""
        return (REAL_INPUT,) if self.zero_point is None else ()


def file_input(contract: Preprocessing, first: FirstConvolution | None) -> FileImage:
    """Choose the form of the input, and rewrite the first convolution where that is needed.

    Args:
        contract: What the float file takes.
        first: The convolution that alone reads the picture; None where there is no such one.
    """
    encoding = contract.encoding
    factors, terms = map(np.array, encoding.affine(contract.color_order.channels))
    scale = float(factors[0]) if np.ptp(factors) <= 1e-9 * factors[0] else 1.0
    zero_point = int(np.clip(np.rint(np.mean(-terms / factors)), 0, 255))
    rest = terms + factors * zero_point
    off = float(np.abs(rest / factors).max())  # grey levels
    if off > NEGLIGIBLE or np.ptp(factors) > 1e-9 * factors[0]:
        if first is None or (first.pads and off > HALF):
            return FileImage(None, encoding)
        turned = slice(None, None, -1 if encoding.channel_order is ChannelOrder.BGR else 1)
        _fold(first, (factors / scale)[turned], rest[turned])
    value_range = (-scale * zero_point, scale * (255 - zero_point))
    order, layout = encoding.channel_order, encoding.layout
    return FileImage(
        zero_point, InputEncoding(value_range=value_range, channel_order=order, layout=layout)
    )


def _fold(first: FirstConvolution, factors: NDArray[Any], terms: NDArray[Any]) -> None:
    kernel = first.kernel.astype(np.float64)
    shape = [1] * kernel.ndim
    shape[first.axis] = -1
    added = (kernel * terms.reshape(shape)).reshape(len(kernel), -1).sum(axis=1)
    bias = added if first.bias is None else first.bias + added
    first.replace((kernel * factors.reshape(shape)).astype(np.float32), bias.astype(np.float32))
