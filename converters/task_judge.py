"""Holds a file that answers another task against its float file, picture by picture.

The answers are compared in pixels of the image tensor; ``edge.evaluation.task_agreement`` says how.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.base import ConversionRequest
from converters.judge import Loss
from edge.errors import NegativeVerdict, UsageError
from edge.evaluation.task_agreement import agreement as agreement
from edge.evaluation.task_agreement import agreements
from edge.evaluation.task_agreement import shares as shares
from edge.runtime.contract import Preprocessing
from edge.runtime.placement import Placement
from edge.runtime.session import Session, encode_pixels, open_session
from edge.runtime.tasks.decoder import Tensors
from edge.runtime.tasks.results import Answer
from edge.runtime.tasks.table import DecoderSpec


class TaskJudge:
    """Holds files against the float file of a request.

    Args:
        request: A request with a float file, a decoder and held-out images.

    Raises:
        UsageError: The request lacks one of them.
        NegativeVerdict: The float file finds nothing.
    """

    def __init__(self, request: ConversionRequest) -> None:
        if request.float_file is None or request.decoder is None or request.held_out is None:
            raise UsageError("a search for a task needs a float file, its decoder and images")
        self._contract: Preprocessing = request.preprocessing
        self._labels = request.labels
        self._decoder: DecoderSpec = request.decoder
        self._float = request.float_file
        self._pixels: NDArray[np.uint8] = np.load(request.held_out.pixels, mmap_mode="r")
        self._wanted = list(self._answers(self._float))
        if agreements(self._wanted, self._wanted).empty:
            raise NegativeVerdict(
                f"the float file finds nothing in any of the {len(self._wanted)} images, so that "
                "no other file can be held against it",
                hint="Give images that show what the model knows, or lower --score-threshold.",
            )
        self._raw: list[list[NDArray[Any]]] = []

    def loss(self, path: Path) -> Loss:
        """See ``converters.judge.Judge``: a hundred points less those of the agreement."""
        share = agreement(self._wanted, list(self._answers(path)))
        return Loss(drop_points=100 * (1 - share), agreement=share)

    def error(self, path: Path, images: int) -> float:
        """See ``converters.judge.Judge``: the mean of what ``relative_error`` says of an output."""
        if len(self._raw) < min(images, len(self._pixels)):
            self._raw = [outputs for _, outputs in self._run(self._float, images)]
        given = [outputs for _, outputs in self._run(path, images)]
        errors = [
            relative_error(np.concatenate(wanted), np.concatenate(found))
            for wanted, found in zip(
                zip(*self._raw, strict=True), zip(*given, strict=True), strict=True
            )
        ]
        return float(np.mean(errors))

    def _answers(self, path: Path) -> Iterator[Answer]:
        height, width, _ = self._contract.shape
        whole = Placement(width=width, height=height, left=0, top=0, scale_x=1, scale_y=1)
        decoder = None
        for session, outputs in self._run(path, len(self._pixels)):
            if decoder is None:
                decoder = self._decoder.open(
                    Tensors(
                        outputs=session.outputs,
                        preprocessing=self._contract,
                        labels=self._labels,
                    )
                )
            yield decoder.decode(outputs, whole)

    def _run(self, path: Path, images: int) -> Iterator[tuple[Session, list[NDArray[Any]]]]:
        session = open_session(path)
        encoding = self._contract.encoding
        for pixels in self._pixels[:images]:
            yield session, session.run(encode_pixels(pixels, session.inputs[0], encoding))


def relative_error(wanted: NDArray[Any], given: NDArray[Any]) -> float:
    """Return the power of the error over that of the signal, the mean of all channels, 0..1.

    Coordinates of hundreds and scores of 0..1 stand in one tensor: each channel counts alike, and
    one that is wrong altogether counts as 1. The channels are those of the shortest axis.

    Args:
        wanted: (images, ...), of the float file.
        given: The same of another file.
    """
    if wanted.shape != given.shape or not wanted.size:
        return 1.0  # as many objects as there are, say
    extents = [extent if extent > 1 else wanted.size for extent in wanted.shape[1:]]
    axis = 1 + int(np.argmin(extents)) if extents else 0
    rows = np.moveaxis(wanted, axis, 0).reshape(wanted.shape[axis], -1).astype(np.float64)
    others = np.moveaxis(given, axis, 0).reshape(rows.shape).astype(np.float64)
    power, error = (rows**2).sum(axis=1), ((rows - others) ** 2).sum(axis=1)
    shares = np.minimum(error / np.maximum(power, 1e-12), 1.0)
    return float(shares[power > 0].mean()) if (power > 0).any() else 0.0
