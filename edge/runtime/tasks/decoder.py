"""What every decoder is made for and does: output tensors -> answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.errors import InferenceError
from edge.runtime.contract import Preprocessing
from edge.runtime.placement import Placement
from edge.runtime.tasks.results import Answer

if TYPE_CHECKING:
    from edge.runtime.spec import TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensors:
    """What a decoder is made for.

    Attributes:
        outputs: The outputs of the model, in the order in which a session returns them.
        preprocessing: The contract of its input.
        labels: The names of classes, or of keypoints for poses.
    """

    outputs: "tuple[TensorSpec, ...]"
    preprocessing: Preprocessing
    labels: tuple[str, ...]


class Decoder(Protocol):
    """Turns the output tensors of one model into an answer; it keeps buffers between pictures.

    A decoder's class is called with ``Tensors`` and an instance of its ``PARAMETERS``.
    """

    def decode(self, outputs: Sequence[NDArray[Any]], placement: Placement) -> Answer:
        """Return what the picture shows.

        Args:
            outputs: What the session returned: raw, integers where the outputs are quantized.
            placement: Where the tensor lies in the picture.

        Raises:
            InferenceError: An output is not finite, or of a shape that does not fit.
        """
        ...


class OrderedDecoder(Decoder, Protocol):
    """What a ``DecoderEntry`` with ``ordered`` names: its rows are in the order of their scores."""

    def row_scores(self, outputs: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """Return the score of each row of raw outputs, float32 (rows,)."""
        ...


def misfit(name: str, tensors: Tensors, wanted: str) -> InferenceError:
    """Return the error for outputs that are not of a decoder's layout.

    Args:
        name: The decoder.
        tensors: What it was given.
        wanted: The layout, in words.
    """
    shapes = ", ".join(f"{list(item.shape)} {item.dtype}" for item in tensors.outputs)
    return InferenceError(
        f"the decoder {name} does not fit: the model's outputs are {shapes}; expected {wanted}",
        hint="Name another decoder with --decoder.",
    )
