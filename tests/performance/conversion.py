"""Time to write all six variants: edge against the default tools one after another.

The default tools run in this process, TensorFlow already imported; edge's time includes the start
of its converter processes and their imports.
"""

import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from onnxruntime import quantization

from converters.base import DEFAULT_TARGETS, ConversionRequest, targets
from edge.cache import StageCache
from edge.pipeline.conversion import convert_all
from edge.runtime.contract import Preprocessing
from edge.training.backbones import backbone
from edge.training.weights import load_classifier

ROUNDS = 2
IMAGES = 100


def main() -> None:
    """Measure and print."""
    model = load_classifier(backbone("mobilenet"), "imagenet", 0).model
    measure(model, IMAGES, ROUNDS)


def measure(model: keras.Model, images: int, rounds: int) -> None:
    """Measure a classifier of RGB pictures, calibrated on so many of noise, and print."""
    size = model.input_shape[1:]
    pixels = np.random.default_rng(0).integers(0, 256, (images, *size), np.uint8)
    for index in range(rounds):
        default, own = _default_tools(model, pixels), _edge(model, pixels)
        print(
            f"round {index + 1}: default tools {default:.1f} s, edge {own:.1f} s, "
            f"{default / own:.2f} times faster"
        )


def _default_tools(model: keras.Model, pixels: np.ndarray) -> float:
    with tempfile.TemporaryDirectory() as name:
        started = time.monotonic()
        for precision in ("fp32", "fp16", "dynamic", "int8"):
            converter = tf.lite.TFLiteConverter.from_keras_model(model)
            if precision != "fp32":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if precision == "fp16":
                converter.target_spec.supported_types = [tf.float16]
            if precision == "int8":
                converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
                converter.representative_dataset = lambda: (
                    [image[np.newaxis].astype(np.float32)] for image in pixels
                )
                converter.inference_input_type = tf.uint8
            Path(name, f"{precision}.tflite").write_bytes(converter.convert())
        _default_onnx(model, pixels, Path(name))
        return time.monotonic() - started


def _default_onnx(model: keras.Model, pixels: np.ndarray, folder: Path) -> None:
    signature = [tf.TensorSpec((None, *pixels.shape[1:]), tf.float32, name="image")]
    function = tf.function(lambda image: model(image, training=False))
    source, prepared = folder / "fp32.onnx", folder / "prepared.onnx"
    proto, _ = tf2onnx.convert.from_function(function, input_signature=signature, opset=17)
    onnx.save(proto, source)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.images = iter(pixels)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.images, None)
            return None if image is None else {"image": image[np.newaxis].astype(np.float32)}

    quantization.quant_pre_process(source, prepared, skip_symbolic_shape=True)
    quantization.quantize_static(prepared, folder / "int8.onnx", Reader(), per_channel=True)


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
    main()
