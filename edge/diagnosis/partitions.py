"""How a TFLite file falls into parts between XNNPACK and the built-in kernels, and at what cost.

A value that passes from one part to the next is written to memory and prepared anew, and an
operator that XNNPACK leaves runs on one of TFLite's own kernels. The time of these operators is
measured by LiteRT's profiler; what the passing itself costs is not told apart.
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.accelerators.base import EngineSettings, OperatorTime
from benchmarks.accelerators.litert_cpu import open_litert
from edge.diagnosis.result import Partitions
from edge.modelfile.delegation import delegation
from edge.runtime.contract import InputEncoding
from edge.runtime.session import encode_pixels

PROFILES: Final = 5
PROFILED: Final = 5  # inferences of each


def partitions(
    variant: str, path: Path, pixels: NDArray[np.uint8], encoding: InputEncoding
) -> Partitions:
    """Return how XNNPACK divides a file, and the share of the time of what it leaves.

    Args:
        variant: The name of the variant.
        path: A .tflite file.
        pixels: The pixels of any image, (height, width, 3).
        encoding: What real values a pixel becomes in a file that takes such.

    Raises:
        EngineUnavailable: ai-edge-litert is not installed.
        ModelLoadError: The file does not load.
    """
    runner = open_litert(path, EngineSettings())
    divided = delegation(runner.graph())
    tensors = (encode_pixels(pixels, runner.inputs[0], encoding),)
    profiles = [_seconds(runner.profile(tensors, PROFILED)) for _ in range(PROFILES)]
    kinds = {kind for found in profiles for kind in found}
    # A machine that does something else in between makes one profile wrong, not most.
    seconds = {kind: median(found.get(kind, 0.0) for found in profiles) for kind in kinds}
    whole = sum(seconds.values())
    return Partitions(
        variant=variant,
        operators=divided.operators,
        delegated=divided.delegated,
        partitions=divided.partitions,
        left=divided.left,
        splitting=divided.splitting,
        shares={kind: seconds.get(kind, 0.0) / whole for kind in divided.left} if whole else None,
    )


def _seconds(times: Iterable[OperatorTime]) -> dict[str, float]:
    """The time of the operators of each type, and under no name that of what XNNPACK computes."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for item in times:
        seconds["" if item.where == "XNNPACK" else item.type] += item.seconds
    return seconds
