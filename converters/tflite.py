"""Keras -> TFLite, through TensorFlow's converter.

The model is traced once; each precision then takes a second or two of conversion. The converter's
``from_keras_model`` takes six: it writes a SavedModel each time.
"""

import time
from collections.abc import Iterator
from typing import Any

from converters.base import ConversionRequest, ConversionResult, Precision, Target
from converters.bias_correction import bias_corrected
from converters.calibration import Calibration
from converters.pixel_input import pixel_model
from converters.tflite_metadata import embed
from edge.errors import ConversionError
from edge.runtime.files import write_bytes


def convert(request: ConversionRequest, model: Any) -> Iterator[ConversionResult]:
    """Write one file per precision.

    Args:
        request: What to write.
        model: Keras model, RGB 0..255 in.

    Raises:
        ConversionError: The converter refused the model.
    """
    float_precisions = [p for p in request.precisions if p is not Precision.INT8]
    if float_precisions:
        function = traced(model)
        for precision in float_precisions:
            yield _written(request, precision, function, None, ())
    if Precision.INT8 in request.precisions:
        pixels = pixel_model(model)
        calibration = Calibration(request.calibration, pixels.zero_point)
        corrected = bias_corrected(pixels.model, calibration)
        yield _written(request, Precision.INT8, traced(corrected), calibration, pixels.notes)


def traced(model: Any) -> Any:
    """The model as a TensorFlow function of one image."""
    import tensorflow as tf

    shape = (1, *model.inputs[0].shape[1:])
    function = tf.function(lambda image: model(image, training=False))
    return function.get_concrete_function(tf.TensorSpec(shape, tf.float32, name="image"))


def converted(function: Any, precision: Precision, calibration: Calibration | None = None) -> bytes:
    """One TFLite file's bytes, without metadata.

    Raises:
        ConversionError: The converter refused the model.
    """
    import tensorflow as tf

    # Without a trackable object the converter makes constants of the variables; with the Keras 3
    # model as one, it writes a file that has lost its weights.
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    if precision is not Precision.FP32:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision is Precision.FP16:
        converter.target_spec.supported_types = [tf.float16]
    if precision is Precision.INT8:
        assert calibration is not None  # the caller's contract, not a user's input
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: ([image] for image in calibration)
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.uint8
    try:
        content: bytes = converter.convert()
    except Exception as error:  # MLIR's errors are of several types
        raise ConversionError(
            f"TensorFlow's converter refused {precision}: {str(error).strip()[:500]}"
        ) from error
    return content


def _written(
    request: ConversionRequest,
    precision: Precision,
    function: Any,
    calibration: Calibration | None,
    notes: tuple[str, ...],
) -> ConversionResult:
    started = time.monotonic()
    target = Target(format="tflite", precision=precision)
    content = embed(converted(function, precision, calibration), **request.metadata(target))
    path = request.output / target.filename
    write_bytes(path, content)
    seconds = time.monotonic() - started
    return ConversionResult(variant=target.name, path=path, seconds=seconds, notes=notes)
