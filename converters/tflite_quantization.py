"""Float TFLite -> integer TFLite, from an observation, with any blocks left in floats.

TensorFlow's quantizer does the rewriting. Its calibrator, which runs the model without fast
kernels, is not needed: the quantizer reads ranges from the float file, wherever they come from.
"""

from collections.abc import Collection

from converters.base import Precision
from converters.calibration import Calibration
from converters.quantizable import Quantizable
from converters.tflite_graph import FloatGraph, Interpreter, taking_pixels
from edge.errors import ConversionError
from edge.runtime.session import first_line


class QuantizableTFLite(Quantizable):
    """Makes integer TFLite files.

    Args:
        content: Float TFLite whose input is what ``calibration`` yields.
        calibration: Representative images.
        corrected: See ``Quantizable``.
    """

    suffix = "tflite"

    def __init__(self, content: bytes, calibration: Calibration, *, corrected: bool = True) -> None:
        super().__init__(calibration, corrected=corrected)
        self._content = content

    def graph(self) -> FloatGraph:
        """A fresh copy of the float model."""
        return FloatGraph(self._content)

    def runner(self) -> Interpreter:
        """Runs the float model."""
        return Interpreter(self.graph().observable())

    def quantized(self, keep: Collection[str] = ()) -> bytes:
        """Full-integer int8, uint8 in and out, but for the blocks of those names.

        Raises:
            ConversionError: TensorFlow's quantizer refused the model.
        """
        import tensorflow as tf
        from tensorflow.lite.python.convert import mlir_quantize
        from tensorflow.lite.python.util import modify_model_io_type

        members = self.members(keep)
        graph = self.graph()
        self.correct(graph, members)
        try:
            content = mlir_quantize(
                graph.content(self.observation.ranges), denylisted_nodes=sorted(members)
            )
        except Exception as error:  # MLIR's errors are of several types
            raise _refused(error) from error
        names = [block.name for block in self.blocks] or [""]  # a network without weights
        first, last = names[0] in keep, names[-1] in keep
        result: bytes = modify_model_io_type(
            content, tf.float32 if first else tf.uint8, tf.float32 if last else tf.uint8
        )
        return taking_pixels(result, self.calibration.zero_point) if first else result

    def integer(self, precision: Precision) -> bytes:
        """See ``Quantizable``."""
        return self.w8a16() if precision is Precision.W8A16 else super().integer(precision)

    def w8a16(self) -> bytes:
        """Int8 weights and int16 activations, uint8 pixels in, float32 probabilities out.

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
        return taking_pixels(content, self.calibration.zero_point)


def _check_loads(content: bytes) -> None:
    """TensorFlow writes int16 files that overflow when they are loaded: ReLU6 of tiny values."""
    try:
        Interpreter(content)
    except (RuntimeError, ValueError) as error:
        raise ConversionError(
            f"TensorFlow wrote a w8a16 file that does not load: {first_line(error)}",
            hint="Activations next to zero do not fit int16; int8 files are not affected.",
        ) from error


def _refused(error: Exception) -> ConversionError:
    return ConversionError(f"TensorFlow's quantizer refused the model: {str(error).strip()[:500]}")
