"""Time to write all six variants: edge against the default tools one after another.

    python tests/performance/conversion.py [--rounds 2]

The network is the MobileNet that edge ships, and the bar is that edge is 2.5 times as fast. The
default tools run in this process, TensorFlow already imported; edge's time includes the start of
its converter processes and their imports.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import keras
import numpy as np
from support.by_hand import default_onnx, default_tflite, imported
from support.script import Report, Script
from support.tiny import tiny_classifier

from converters.base import DEFAULT_TARGETS, ConversionRequest, targets
from edge.cache import StageCache
from edge.pipeline.conversion import convert_all
from edge.runtime.contract import Preprocessing
from edge.training.backbones import backbone
from edge.training.weights import load_classifier

MOST: Final = 0.4  # of the time: 2.5 times as fast


def main() -> int:
    """Measure and print; see ``support.script`` for the exit codes."""
    script = Script(__doc__)
    script.amount("--rounds", 2, 1, "of the default tools and edge in turn")
    script.amount("--images", 100, 4, "of noise that calibrate")
    return script.run(_measure)


def _measure(options: argparse.Namespace, report: Report) -> None:
    model = (
        tiny_classifier()
        if options.smoke
        else load_classifier(backbone("mobilenet"), "imagenet", 0).model
    )
    size = model.input_shape[1:]
    pixels = np.random.default_rng(0).integers(0, 256, (options.images, *size), np.uint8)
    imported()
    found: dict[str, list[float]] = {"default_tools_seconds": [], "edge_seconds": []}
    for number in range(options.rounds):
        for seconds, way in zip(found.values(), (_default_tools, _edge), strict=True):
            seconds.append(way(model, pixels))
        default, own = (seconds[-1] for seconds in found.values())
        report.say(f"round {number + 1}: default tools {default:.1f} s, edge {own:.1f} s")
    report.figures.update(found)
    ratio = statistics.median(own / other for other, own in zip(*found.values(), strict=True))
    report.bar("edge / default tools", ratio, at_most=MOST, unit="times")


def _default_tools(model: keras.Model, pixels: np.ndarray) -> float:
    with tempfile.TemporaryDirectory() as name:
        started = time.monotonic()
        default_tflite(model, pixels, Path(name))
        default_onnx(model, pixels, Path(name))
        return time.monotonic() - started


def _edge(model: keras.Model, pixels: np.ndarray) -> float:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.monotonic()
        model.save(folder / "model.keras")
        np.save(folder / "pixels.npy", pixels)
        request = ConversionRequest(
            keras_model=folder / "model.keras",
            format="tflite",
            precisions=(),
            output=folder,
            calibration=folder / "pixels.npy",
            name="mobilenet",
            labels=tuple(str(index) for index in range(model.output_shape[-1])),
            preprocessing=Preprocessing(height=pixels.shape[1], width=pixels.shape[2]),
        )
        cache = StageCache(folder / "cache")
        convert_all(
            request,
            targets(DEFAULT_TARGETS),
            model_id="benchmark",
            calibration_id="benchmark",
            held_out_id="none",
            recipes={},
            cache=cache,
            step=lambda count: None,
        )
        return time.monotonic() - started


if __name__ == "__main__":
    sys.exit(main())
