"""Keras -> TFLite, through TensorFlow's converter.

The model is traced once; each precision then takes a second or two of conversion. The converter's
``from_keras_model`` takes six: it writes a SavedModel each time.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

from converters.base import CALIBRATED, ConversionRequest, ConversionResult, Precision
from converters.calibration import Calibration
from converters.tflite_metadata import embed
from converters.tflite_quantization import QuantizableTFLite
from converters.writing import written, written_integers
from edge.errors import ConversionError


def convert(
    request: ConversionRequest, model: Any, step: Callable[[], None]
) -> Iterator[ConversionResult]:
    """Write one file per precision.

    Args:
        request: What to write.
        model: Keras model, RGB 0..255 in.
        step: Called now and then in a search.

    Raises:
        ConversionError: The converter refused the model.
        NegativeVerdict, UsageError: Of a mixed file, see ``integer_files``.
    """
    floats = [precision for precision in request.precisions if precision not in CALIBRATED]
    if floats:
        function = traced(model)
        for precision in floats:
            started = time.monotonic()
            content = converted(function, precision)
            yield written(request, precision, content, embed, started=started)
    if len(floats) < len(request.precisions):

        def quantizable(pixels: Any, calibration: Calibration) -> QuantizableTFLite:
            content = converted(traced(pixels), Precision.FP32)
            return QuantizableTFLite(content, calibration, corrected=request.corrected)

        yield from written_integers(request, model, quantizable, embed, step)


def traced(model: Any) -> Any:
    """The model as a TensorFlow function of one image."""
    import tensorflow as tf

    shape = (1, *model.inputs[0].shape[1:])
    function = tf.function(lambda image: model(image, training=False))
    return function.get_concrete_function(tf.TensorSpec(shape, tf.float32, name="image"))


def converted(function: Any, precision: Precision) -> bytes:
    """One TFLite file's bytes with float input and output, without metadata.

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
    try:
        content: bytes = converter.convert()
    except Exception as error:  # MLIR's errors are of several types
        raise ConversionError(
            f"TensorFlow's converter refused {precision}: {str(error).strip()[:500]}"
        ) from error
    return content
