"""The ways to make an int8 file that are measured: each from the same float graph.

Every method gets the network with its scaling folded into the first convolution
(``converters.pixel_input``) and the same calibration images, so that the rows differ by how they
quantize and by nothing else.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import tensorflow as tf
from numpy.typing import NDArray
from onnxruntime import quantization

from converters.base import Precision
from converters.onnx import exported
from converters.onnx_quantization import QuantizableONNX, taking_pixels
from converters.pixel_input import pixel_model
from converters.quantizable import Calibration, Quantizable
from converters.tflite import QuantizableTFLite, converted, traced
from converters.writing import int8_file
from edge.errors import ConversionError
from support import quantization_tried as tried


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a method starts from.

    Attributes:
        model: Keras model; its input is the pixel less the calibration's zero point.
        function: The same, traced by TensorFlow.
        tflite: The same as a float TFLite file, its bytes.
        onnx: The same as a float ONNX file, prepared by ONNX Runtime's ``quant_pre_process``.
        calibration: The images.
        folder: For intermediate files.
    """

    model: Any
    function: Any
    tflite: bytes
    onnx: Path
    calibration: Calibration
    folder: Path


def source(model: Any, folder: Path) -> Source:
    """The float graph in every form that a method starts from.

    Args:
        model: Keras model, RGB 0..255 in.
        folder: Holds ``calibration.npy``; for intermediate files.
    """
    pixels = pixel_model(model)
    function = traced(pixels.model)
    onnx.save(exported(pixels.model), folder / "traced.onnx")
    quantization.quant_pre_process(
        folder / "traced.onnx", folder / "float.onnx", skip_symbolic_shape=True
    )
    return Source(
        model=pixels.model,
        function=function,
        tflite=converted(function, Precision.FP32),
        onnx=folder / "float.onnx",
        calibration=Calibration(folder / "calibration.npy", pixels.zero_point),
        folder=folder,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A way to make an int8 file.

    Attributes:
        name: For the table.
        format: ``tflite`` or ``onnx``.
        make: Gives the file's bytes.
        package: What has to be installed besides edge; None for nothing.
    """

    name: str
    format: str
    make: Callable[[Source], bytes]
    package: str | None = None


def _plain_tflite(source: Source) -> bytes:
    """TensorFlow's full-integer recipe: ``representative_dataset``, uint8 in and out."""
    converter = tf.lite.TFLiteConverter.from_concrete_functions([source.function])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image] for image in source.calibration)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    content: bytes = converter.convert()
    return content


def _litert_quantizer(source: Source) -> bytes:
    """litert-quantizer's ready recipe ``static_wi8_ai8`` as it comes: int8 in and out."""
    recipe = import_module("litert_quantizer.recipe").static_wi8_ai8()
    # It calibrates by signature, and only a file from a Keras model has one.
    content = tf.lite.TFLiteConverter.from_keras_model(source.model).convert()
    runner = tf.lite.Interpreter(model_content=content)
    (signature, details), *_ = runner.get_signature_list().items()
    tool = import_module("litert_quantizer.quantizer").Quantizer(bytearray(content), recipe)
    data = [{details["inputs"][0]: image} for image in source.calibration]
    ranges = tool.calibrate({signature: data})
    made = tool.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(made.quantized_model)


def edge_int8(source: Source, format_: str) -> tuple[bytes, tuple[str, ...]]:
    """edge's file and the blocks that stay in floats in it, as ``edge export`` makes it."""
    content, checked = int8_file(_quantizable(source, format_), lambda: None)
    return content, () if checked is None else checked.kept


def _edge(source: Source, *, format_: str) -> bytes:
    return edge_int8(source, format_)[0]


def _without_rounding(source: Source, *, format_: str) -> bytes:
    base = _quantizable(source, format_)
    base.observation = replace(base.observation, covariances={})
    return int8_file(base, lambda: None)[0]


def _quantizable(source: Source, format_: str) -> Quantizable:
    if format_ == "tflite":
        return QuantizableTFLite(source.tflite, source.calibration)
    return QuantizableONNX(onnx.load(source.onnx), source.calibration)


class _Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # has no types
    def __init__(self, calibration: Calibration, name: str) -> None:
        self._images = iter(calibration)
        self._name = name

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        image = next(self._images, None)
        return None if image is None else {self._name: image}


def _plain_onnx(source: Source, *, method: str = "MinMax") -> bytes:
    """ONNX Runtime's ``quantize_static``, per channel, QDQ, uint8 activations, int8 weights."""
    written = source.folder / "static.onnx"
    name = onnx.load(source.onnx).graph.input[0].name
    quantization.quantize_static(
        source.onnx,
        written,
        _Reader(source.calibration, name),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        calibrate_method=quantization.CalibrationMethod[method],
    )
    return _from_pixels(onnx.load(written), source.calibration.zero_point or 0)


def _nncf(source: Source, *, fast: bool = True) -> bytes:
    """NNCF's ``quantize`` as it comes, on all calibration images."""
    os.environ.setdefault("NNCF_CI", "1")  # else it reports its use to its makers
    nncf = import_module("nncf")
    nncf.set_log_level(logging.ERROR)
    proto = onnx.load(source.onnx)
    name = proto.graph.input[0].name
    images = nncf.Dataset(list(source.calibration), lambda image: {name: image})
    made = nncf.quantize(
        proto, images, subset_size=len(source.calibration), fast_bias_correction=fast
    )
    return _from_pixels(made, source.calibration.zero_point or 0)


def _from_pixels(proto: Any, zero_point: int) -> bytes:
    """With the pixel for its input as edge's file has it, where the range of the input allows."""
    changed = type(proto).FromString(proto.SerializeToString())
    try:
        taking_pixels(changed, zero_point)
    except ConversionError:
        changed = proto
    content: bytes = changed.SerializeToString()
    return content


def _mse_ranges(source: Source) -> bytes:
    return tried.mse_ranges(onnx.load(source.onnx), source.calibration)


def _equalized(source: Source) -> bytes:
    return tried.equalized(source.model, source.calibration)


PLAIN: Final = "plain"
EDGE: Final = "edge"

METHODS: Final = (
    Method(name=PLAIN, format="tflite", make=_plain_tflite),
    Method(
        name="litert-quantizer, static_wi8_ai8",
        format="tflite",
        make=_litert_quantizer,
        package="litert-quantizer",
    ),
    Method(
        name="edge without GPTQ",
        format="tflite",
        make=partial(_without_rounding, format_="tflite"),
    ),
    Method(name=EDGE, format="tflite", make=partial(_edge, format_="tflite")),
    Method(name=PLAIN, format="onnx", make=_plain_onnx),
    Method(name="plain, Percentile", format="onnx", make=partial(_plain_onnx, method="Percentile")),
    Method(name="plain, Entropy", format="onnx", make=partial(_plain_onnx, method="Entropy")),
    Method(name="NNCF", format="onnx", make=_nncf, package="nncf"),
    Method(
        name="NNCF, fast_bias_correction=False",
        format="onnx",
        make=partial(_nncf, fast=False),
        package="nncf",
    ),
    Method(
        name="edge without GPTQ", format="onnx", make=partial(_without_rounding, format_="onnx")
    ),
    Method(name=EDGE, format="onnx", make=partial(_edge, format_="onnx")),
    Method(name="tried: edge, MSE-optimal ranges", format="onnx", make=_mse_ranges),
    Method(name="tried: edge, ReLU6 equalized", format="onnx", make=_equalized),
)
