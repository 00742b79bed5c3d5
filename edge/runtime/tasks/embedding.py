"""Embeddings: a vector that is near those of similar pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edge.runtime.placement import Placement
from edge.runtime.postprocess import dequantize
from edge.runtime.tasks.boxes import check_finite
from edge.runtime.tasks.decoder import Tensors, misfit
from edge.runtime.tasks.results import Embedding


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingParameters:
    """How the output is read.

    Attributes:
        normalize: Whether the vector is divided by its length.
    """

    normalize: bool = False


class EmbeddingDecoder:
    """See ``Decoder``."""

    PARAMETERS: ClassVar = EmbeddingParameters

    def __init__(self, tensors: Tensors, parameters: EmbeddingParameters) -> None:
        shape = tensors.outputs[0].shape if len(tensors.outputs) == 1 else ()
        if sum(extent not in (1, -1) for extent in shape) != 1:
            raise misfit("embedding", tensors, "one vector")
        (self._spec,) = tensors.outputs
        self._normalize = parameters.normalize

    def decode(self, outputs: Sequence[NDArray[Any]], placement: Placement) -> Embedding:
        """See ``Decoder``."""
        del placement
        values = dequantize(outputs[0], self._spec).reshape(-1)
        check_finite(values)
        length = float(np.linalg.norm(values))
        return Embedding(values=values / length if self._normalize and length else values)
