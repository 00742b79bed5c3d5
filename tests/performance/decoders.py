"""What decoding costs beside the inference, in one run: boxes with NMS, masks, poses, vectors.

    EDGE_TEST_DATA=DATA python tests/performance/decoders.py [--rounds 30]

1. The decoder, suppression of overlaps included, takes at most a tenth of the invoke, on an SSD of
   300 pixels and on a YOLOX of 416 pixels, for a picture with objects.
2. What a decode allocates at its peak once it has run (tracemalloc), and the worst case of 10,000
   candidates: stated, without a bar.

The two are timed in turn, and medians are compared.
"""

import argparse
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from support.script import Report, Script, data_with

BAR: Final = 10.0  # % of the invoke
MODELS: Final = "models/tasks"
PICTURE: Final = "images/tasks/cats_and_dogs.jpg"
FILES: Final = {
    "SSD 300": "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite",
    "YOLOX 416": "yolox_nano.onnx",
    "DeepLab 257": "deeplabv3.tflite",
    "MoveNet 192": "movenet_single_pose_lightning_ptq.tflite",
}
WITH_A_BAR: Final = ("SSD 300", "YOLOX 416")


def main() -> int:
    """Measure and print; see ``support.script`` for the exit codes."""
    script = Script(__doc__)
    script.amount("--rounds", 30, 2, "of the inference and its decoder in turn")
    return script.run(_measure)


def _measure(options: argparse.Namespace, report: Report) -> None:
    worst_case(options.rounds, report)
    data = data_with(PICTURE, *(f"{MODELS}/{file}" for file in FILES.values()))
    for name in FILES:
        measured(name, data, options.rounds, report)


def measured(name: str, data: Path, rounds: int, report: Report) -> None:
    """Print one model's line, and whether its bar is met."""
    from edge.identification.identify import identify
    from edge.identification.model import StatedModel
    from edge.runtime.session import open_session
    from edge.runtime.source import placed_pixels
    from edge.runtime.tasks.model import TaskModel

    found = identify(data / MODELS / FILES[name], StatedModel())
    assert found.decoder is not None
    session = open_session(found.path)
    model = TaskModel(session, found.labels, found.preprocessing, found.decoder)
    placed = placed_pixels(data / PICTURE, found.preprocessing)
    outputs = model.outputs(placed)
    invoke, decode = _medians(
        lambda: model.outputs(placed), lambda: model.decode(outputs, placed), rounds
    )
    peak = _peak(lambda: model.decode(outputs, placed))
    share = 100 * decode / invoke
    report.say(
        f"{name}: invoke {1e3 * invoke:.2f} ms, decoder {1e3 * decode:.3f} ms: "
        f"{share:.1f} % of it; peak {peak / 1e3:.0f} kB"
    )
    report.figures[name] = {"invoke_seconds": invoke, "decode_seconds": decode, "peak_bytes": peak}
    if name in WITH_A_BAR:
        report.bar(f"decoder / inference of {name}", share, at_most=BAR, unit="%")


def worst_case(rounds: int, report: Report) -> None:
    """Print what 10,000 boxes of 80 classes that all reach the threshold take."""
    from edge.runtime.contract import Preprocessing
    from edge.runtime.placement import placement_of
    from edge.runtime.spec import TensorSpec
    from edge.runtime.tasks.decoder import Tensors
    from edge.runtime.tasks.table import DecoderSpec

    random = np.random.default_rng(0)
    table = random.random((1, 10_000, 85), np.float32)
    table[0, :, :4] *= 640
    table[0, :, 4:] = 0.6 + 0.4 * table[0, :, 4:]
    contract = Preprocessing(height=640, width=640)
    spec = TensorSpec(name="output", shape=table.shape, dtype="float32")
    tensors = Tensors(outputs=(spec,), preprocessing=contract, labels=())
    decoder = DecoderSpec(name="yolov5").open(tensors)
    placement = placement_of((640, 640), contract)
    decode, _ = _medians(lambda: decoder.decode([table], placement), lambda: None, rounds)
    report.say(f"10,000 candidates of 80 classes: {1e3 * decode:.2f} ms")
    report.figures["worst_case_seconds"] = decode


def _medians(
    first: Callable[[], Any], second: Callable[[], Any], rounds: int
) -> tuple[float, float]:
    """Return the median seconds of two functions, which are called in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 2):
        for part, function in zip(times, (first, second), strict=True):
            began = time.perf_counter()
            function()
            part.append(time.perf_counter() - began)
    return statistics.median(times[0][2:]), statistics.median(times[1][2:])


def _peak(function: Callable[[], Any]) -> int:
    """Return the bytes that a call allocates at its peak, once it has been called."""
    function()
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


if __name__ == "__main__":
    sys.exit(main())
