"""Keras -> TFLite, through TensorFlow's converter.

The model is traced once, and its variables made constants; each precision then takes half a second
of conversion. The converter's ``from_keras_model`` takes six: it writes a SavedModel each time.
"""

import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

from converters.base import CALIBRATED, ConversionRequest, ConversionResult, Precision
from converters.quantizable import Calibration, Quantizable
from converters.tflite_graph import TfliteActivations, TfliteFloatGraph, taking_pixels
from converters.writing import of_keras, written_floats, written_integers
from edge.errors import ConversionError
from edge.modelfile.tflite_metadata import embed
from edge.runtime.session import first_line


def convert(
    request: ConversionRequest, model: Any, step: Callable[[], None]
) -> Iterator[ConversionResult]:
    """Write one TFLite file per precision; see ``converters.base.Converter``."""
    others = [precision for precision in request.precisions if precision not in CALIBRATED]
    floats: bytes | None = None
    if others:
        function = traced(model)
        for precision in others:
            started = time.monotonic()
            content = converted(function, precision)
            yield written_floats(request, model, precision, content, embed, started=started)
            if precision is Precision.FP32 and request.searches:
                floats = content  # a search times its files against it
    if len(others) < len(request.precisions):
        yield from written_integers(
            request,
            lambda: of_keras(request, model, taken_apart),
            embed,
            step,
            lambda: converted(traced(model), Precision.FP32) if floats is None else floats,
        )


def traced(model: Any) -> Any:
    """Return the model as a TensorFlow function of one image, its variables made constants."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    shape = (1, *model.inputs[0].shape[1:])
    function = tf.function(lambda image: model(image, training=False))
    concrete = function.get_concrete_function(tf.TensorSpec(shape, tf.float32, name="image"))
    return convert_variables_to_constants_v2(concrete, lower_control_flow=False)


def converted(function: Any, precision: Precision) -> bytes:
    """Convert to one TFLite file with float input and output, without metadata.

    TensorFlow's newer converter would make constants of the variables each time, which takes longer
    than all else it does; the file is the same but for the name of the interface in its metadata.

    Args:
        function: What ``traced`` returns.
        precision: That of the file.

    Raises:
        ConversionError: The converter refused the model.
    """
    import tensorflow as tf

    inputs = [tensor for tensor in function.inputs if tensor.dtype != tf.resource]
    converter = tf.compat.v1.lite.TFLiteConverter(
        function.graph.as_graph_def(), inputs, function.outputs
    )
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


def taken_apart(
    model: Any, calibration: Calibration, *, corrected: bool = True
) -> "QuantizableTFLite":
    """Take a Keras model apart whose input is what ``calibration`` yields; see ``Quantizable``."""
    content = converted(traced(model), Precision.FP32)
    return QuantizableTFLite(content, calibration, corrected=corrected)


class QuantizableTFLite(Quantizable):
    """Makes integer TFLite files from an observation, with any blocks left in floats.

    TensorFlow's quantizer does the rewriting. Its calibrator, which runs the model without fast
    kernels, is not needed: the quantizer reads ranges from the float file, wherever they come
    from.

    Args:
        content: A float TFLite file whose input is what ``calibration`` yields.
        calibration: Representative images.
        corrected: See ``Quantizable``.
        real_outputs: See ``Quantizable``.
    """

    suffix = "tflite"

    def __init__(
        self,
        content: bytes,
        calibration: Calibration,
        *,
        corrected: bool = True,
        real_outputs: bool = False,
    ) -> None:
        super().__init__(calibration, corrected=corrected, real_outputs=real_outputs)
        self._source = TfliteFloatGraph(content)

    def graph(self) -> TfliteFloatGraph:
        """Return a fresh copy of the float model."""
        return self._source.copied()

    def runner(self) -> TfliteActivations:
        """Return what runs the float model."""
        return TfliteActivations(self.graph().observable())

    def quantized(self, keep: Collection[str] = ()) -> bytes:
        """Make a full-integer int8 file, uint8 in and out, but for the blocks of those names.

        Raises:
            ConversionError: TensorFlow's quantizer refused the model.
        """
        import tensorflow as tf
        from tensorflow.lite.python.util import modify_model_io_type

        members = self.members(keep)
        graph = self.graph()
        content = self._rounded(graph, members)
        zero_point, scale = self.calibration.zero_point, self.calibration.scale
        real_input = zero_point is None or graph.reads_input(members)
        real_output = self._real_outputs or graph.writes_output(members)
        result: bytes = modify_model_io_type(
            content, tf.float32 if real_input else tf.uint8, tf.float32 if real_output else tf.uint8
        )
        if not real_input or zero_point is None:
            return result
        return taking_pixels(result, zero_point, scale)

    def trial(self, keep: Collection[str] | None) -> TfliteActivations:
        """See ``Quantizable``."""
        graph = self.graph()
        graph.drop_tail()
        if keep is None:
            return TfliteActivations(graph.content())
        return TfliteActivations(self._rounded(graph, self.members(keep)))

    def _rounded(self, graph: TfliteFloatGraph, members: Collection[str]) -> bytes:
        """The graph in int8 but for ``members``, real numbers in and out."""
        from tensorflow.lite.python.convert import mlir_quantize

        self.correct(graph, members)
        try:
            content: bytes = mlir_quantize(
                graph.content(self.observation.ranges, members), denylisted_nodes=sorted(members)
            )
        except Exception as error:  # MLIR's errors are of several types
            raise _refused(error) from error
        return content

    def integer(self, precision: Precision) -> bytes:
        """See ``Quantizable``."""
        return self.w8a16() if precision is Precision.W8A16 else super().integer(precision)

    def w8a16(self) -> bytes:
        """Make a file of int8 weights and int16 activations, uint8 in, float32 out.

        TensorFlow has a quantizer of its own for this, which calibrates by itself.

        Raises:
            ConversionError: TensorFlow's quantizer refused the model, or wrote a useless file.
        """
        import tensorflow as tf
        from tensorflow.lite.python.optimize.calibrator import Calibrator, add_intermediate_tensors

        graph = self.graph()
        self.correct(graph, ())
        try:
            calibrator = Calibrator(add_intermediate_tensors(graph.content()))
            content: bytes = calibrator.calibrate_and_quantize(
                lambda: ([image] for image in self.calibration),
                tf.float32,
                tf.float32,
                False,
                tf.int16,
                tf.int64,
            )
        except Exception as error:  # the quantizer's errors are of several types
            raise _refused(error) from error
        _check_loads(content)
        if self.calibration.zero_point is None:
            return content
        return taking_pixels(content, self.calibration.zero_point, self.calibration.scale)


def _check_loads(content: bytes) -> None:
    """TensorFlow writes int16 files that overflow when they are loaded: ReLU6 of tiny values."""
    try:
        TfliteActivations(content)
    except (RuntimeError, ValueError) as error:
        raise ConversionError(
            f"TensorFlow wrote a w8a16 file that does not load: {first_line(error)}",
            hint="Activations next to zero do not fit int16; int8 files are not affected.",
        ) from error


def _refused(error: Exception) -> ConversionError:
    return ConversionError(f"TensorFlow's quantizer refused the model: {str(error).strip()[:500]}")
