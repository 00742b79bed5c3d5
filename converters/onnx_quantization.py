"""Float ONNX -> integer ONNX in the QDQ form, from an observation.

ONNX Runtime's quantizer does the rewriting, from ranges that are observed here once.
"""

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from converters.calibration import Calibration
from converters.onnx_graph import FloatGraph, Session
from converters.onnx_pixels import taking_pixels
from converters.quantizable import Quantizable


class QuantizableONNX(Quantizable):
    """Makes integer ONNX files.

    Args:
        proto: Float graph whose input is what ``calibration`` yields.
        calibration: Representative images.
        corrected: See ``Quantizable``.
    """

    suffix = "onnx"

    def __init__(self, proto: Any, calibration: Calibration, *, corrected: bool = True) -> None:
        super().__init__(calibration, corrected=corrected)
        self._proto = _prepared(proto)

    def graph(self) -> FloatGraph:
        """A fresh copy of the float model."""
        return FloatGraph(self._proto)

    def runner(self) -> Session:
        """Runs the float model."""
        return Session(self.graph().observable())

    def quantized(self, keep: Collection[str] = ()) -> bytes:
        """Int8 weights per channel, uint8 activations and pixels, but for the blocks named.

        uint8 activations with int8 weights is the pair that ONNX Runtime has fast kernels for on
        x86 (VNNI) and on Arm (documented in its quantization guide). A Softmax at the end stays
        in floats: it costs microseconds, and probabilities in steps of 1/256 tie.
        """
        import onnx
        from onnxruntime import quantization
        from onnxruntime.quantization.calibrate import TensorsData
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
        from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

        members = self.members(keep)
        graph = self.graph()
        self.correct(graph, members)
        ranges = {
            name: (np.float32(low), np.float32(high))
            for name, (low, high) in self.observation.ranges.items()
        }
        quantizer = QDQQuantizer(
            graph.proto,
            per_channel=True,
            reduce_range=False,
            weight_qType=quantization.QuantType.QInt8,
            activation_qType=quantization.QuantType.QUInt8,
            tensors_range=TensorsData(quantization.CalibrationMethod.MinMax, ranges),
            nodes_to_quantize=[],
            nodes_to_exclude=[*sorted(members), *graph.answers],
            op_types_to_quantize=sorted({*QLinearOpsRegistry, *QDQRegistry}),
            extra_options={},
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
        proto = quantizer.model.model
        taking_pixels(proto, self.calibration.zero_point)
        used = {node.domain for node in proto.graph.node}
        opsets = [entry for entry in proto.opset_import if entry.domain in used]
        del proto.opset_import[:]
        proto.opset_import.extend(opsets)
        onnx.checker.check_model(proto)
        content: bytes = proto.SerializeToString()
        return content


def _prepared(proto: Any) -> Any:
    """Batch normalization folded and shapes inferred, by ONNX Runtime's own preparation."""
    import onnx
    from onnxruntime.quantization import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="edge-onnx-") as folder:
        source, prepared = Path(folder, "float.onnx"), Path(folder, "prepared.onnx")
        onnx.save(proto, source)
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        return onnx.load(prepared)
