"""Float ONNX -> integer ONNX in the QDQ form, from an observation.

ONNX Runtime's quantizer does the rewriting, from ranges that are observed here once.
"""

import math
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from converters.onnx_graph import OnnxActivations, OnnxFloatGraph
from converters.quantizable import Calibration, Quantizable
from edge.errors import ConversionError
from edge.modelfile.onnx import attribute


class QuantizableONNX(Quantizable):
    """Makes integer ONNX files.

    Args:
        proto: A float model whose input is what ``calibration`` yields.
        calibration: Representative images.
        corrected: See ``Quantizable``.
        real_outputs: See ``Quantizable``.
    """

    suffix = "onnx"
    paired = True

    def __init__(
        self,
        proto: Any,
        calibration: Calibration,
        *,
        corrected: bool = True,
        real_outputs: bool = False,
    ) -> None:
        super().__init__(calibration, corrected=corrected, real_outputs=real_outputs)
        self._proto = prepared(proto)

    def graph(self) -> OnnxFloatGraph:
        """Return a fresh copy of the float model."""
        return OnnxFloatGraph(self._proto)

    def runner(self) -> OnnxActivations:
        """Return what runs the float model."""
        return OnnxActivations(self.graph().observable())

    def quantized(self, keep: Collection[str] = ()) -> bytes:
        """Make a file of int8 weights per channel, uint8 activations and pixels.

        The blocks of those names stay in floats. uint8 activations with int8 weights is the pair
        that ONNX Runtime has fast kernels for on x86 and on Arm (documented in its quantization
        guide); the weights are such that it is right without VNNI as well. A Softmax at the end
        stays in floats: it costs microseconds, and probabilities in steps of 1/256 tie.
        """
        import onnx

        proto = self._rounded(self.graph(), self.members(keep))
        if self.calibration.zero_point is not None:
            taking_pixels(proto, self.calibration.zero_point, self.calibration.scale)
        keep_floats(proto.graph)
        _drop_unused_opsets(proto)
        onnx.checker.check_model(proto)
        content: bytes = proto.SerializeToString()
        return content

    def trial(self, keep: Collection[str] | None) -> OnnxActivations:
        """See ``Quantizable``."""
        graph = self.graph()
        graph.drop_tail()
        if keep is None:
            return OnnxActivations(graph.proto.SerializeToString())
        proto = self._rounded(graph, self.members(keep))
        keep_floats(proto.graph)
        return OnnxActivations(proto.SerializeToString())

    def _rounded(self, graph: OnnxFloatGraph, members: Collection[str]) -> Any:
        """The graph with int8 weights and uint8 activations but for ``members``; reals in."""
        from onnxruntime import quantization
        from onnxruntime.quantization.calibrate import TensorsData
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
        from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

        self.correct(graph, members)
        quantizer = QDQQuantizer(
            graph.proto,
            per_channel=True,
            reduce_range=False,
            weight_qType=quantization.QuantType.QInt8,
            activation_qType=quantization.QuantType.QUInt8,
            tensors_range=TensorsData(quantization.CalibrationMethod.MinMax, self._ranges()),
            nodes_to_quantize=[],
            nodes_to_exclude=[*sorted(members), *graph.answers],
            op_types_to_quantize=sorted({*QLinearOpsRegistry, *QDQRegistry}),
            extra_options={"TensorQuantOverrides": graph.steps(members)},
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
        keep_sums(quantizer.model.model.graph)
        return quantizer.model.model

    def _ranges(self) -> dict[str, tuple[np.float32, np.float32]]:
        ranges = self.observation.ranges
        return {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}


def keep_sums(graph: Any) -> None:
    """Let a dense last layer give its sums as real numbers, in place.

    In 8 bits, several classes of a picture often share the best score. ONNX Runtime sums products
    of integers in 32 bits, and where nothing rounds them it gives them as they are (QGemm), in no
    more time.
    """
    outputs = {item.name for item in graph.output}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    def follower(node: Any, kind: str) -> Any:
        """The node of that kind that alone reads what another writes; None where there is none."""
        found = readers.get(node.output[0], [])
        alone = len(found) == 1 and node.output[0] not in outputs
        return found[0] if alone and found[0].op_type == kind else None

    for layer in [node for node in graph.node if node.op_type == "Gemm"]:
        rounded = follower(layer, "QuantizeLinear")
        real = None if rounded is None else follower(rounded, "DequantizeLinear")
        if real is None:
            continue
        softmax = follower(real, "Softmax")
        if softmax is not None and softmax.output[0] in outputs:
            softmax.input[0] = layer.output[0]
        elif real.output[0] in outputs and not readers.get(real.output[0]):
            layer.output[0] = real.output[0]
        else:
            continue
        graph.node.remove(rounded)
        graph.node.remove(real)
    used = {name for node in graph.node for name in node.input} | outputs
    for item in [item for item in graph.initializer if item.name not in used]:
        graph.initializer.remove(item)  # the steps of what was removed


def keep_floats(graph: Any) -> None:
    """Let layers of float weights that read integers stay as they are, in place.

    Where one scale turns an activation into real numbers, ONNX Runtime takes float weights behind
    it for forgotten ones: it rounds them to 8 bits, by one scale for all outputs
    (``WeightBiasQuantization`` among its graph optimizations). With the same scale stated for each
    channel, it lets them be.
    """
    import onnx

    stored = {item.name: item for item in graph.initializer}
    writers = {name: node for node in graph.node for name in node.output}
    outputs = {item.name for item in graph.output}
    for layer in list(graph.node):
        if layer.op_type not in ("Conv", "ConvTranspose", "Gemm") or layer.input[1] not in stored:
            continue
        moved = [layer]  # down to the node behind the DequantizeLinear
        while (before := writers.get(moved[-1].input[0])) and before.op_type == "Transpose":
            moved.append(before)
        if before is None or before.op_type != "DequantizeLinear" or before.input[0] in stored:
            continue
        axis, channels = _channels(layer, stored[layer.input[1]].dims)
        orders = [list(a.ints) for node in moved[1:] for a in node.attribute if a.name == "perm"]
        if len(orders) < len(moved) - 1:
            continue  # all axes reversed, whose number is not stated: no image of ours
        for order in orders:
            axis = order[axis]
        name = f"{layer.name}:real"
        scale, point = (onnx.numpy_helper.to_array(stored[part]) for part in before.input[1:])
        for part, value in (("scale", scale), ("zero_point", point)):
            each = np.full(channels, value.reshape(-1)[0])
            graph.initializer.append(onnx.numpy_helper.from_array(each, f"{name}:{part}"))
        node = onnx.helper.make_node(
            "DequantizeLinear",
            [before.input[0], f"{name}:scale", f"{name}:zero_point"],
            [name],
            name=name,
            axis=axis,
        )
        graph.node.insert(list(graph.node).index(before) + 1, node)
        old, moved[-1].input[0] = moved[-1].input[0], name
        if old not in outputs and not any(old in item.input for item in graph.node):
            graph.node.remove(before)


def _channels(layer: Any, kernel: Sequence[int]) -> tuple[int, int]:
    """The axis of a layer's input that its channels lie in, and how many there are."""
    if layer.op_type == "Gemm":  # (rows, inputs), or the other way round
        inputs = kernel[1 if attribute(layer, "transB", 0) else 0]
        return 1 - attribute(layer, "transA", 0), int(inputs)
    if layer.op_type == "ConvTranspose":
        return 1, int(kernel[0])
    return 1, int(kernel[1]) * attribute(layer, "group", 1)


def _drop_unused_opsets(proto: Any) -> None:
    used = {node.domain for node in proto.graph.node}
    opsets = [entry for entry in proto.opset_import if entry.domain in used]
    del proto.opset_import[:]
    proto.opset_import.extend(opsets)


def prepared(proto: Any) -> Any:
    """Batch normalization folded and shapes inferred, by ONNX Runtime's own preparation."""
    import onnx
    from onnxruntime.quantization import quant_pre_process

    with tempfile.TemporaryDirectory(prefix="edge-onnx-") as folder:
        source, made = Path(folder, "float.onnx"), Path(folder, "prepared.onnx")
        onnx.save(proto, source)
        quant_pre_process(source, made, skip_symbolic_shape=True)
        return onnx.load(made)


def taking_pixels(proto: Any, zero_point: int, scale: float = 1.0) -> None:
    """Let the uint8 pixel be the quantized tensor: no QuantizeLinear between input and network.

    tf2onnx puts a Transpose to channels first behind the input; it then moves bytes, not floats.
    """
    import onnx

    graph = proto.graph
    tensor = graph.input[0].name
    while True:
        consumers = [node for node in graph.node if tensor in node.input]
        if len(consumers) != 1 or consumers[0].op_type != "Transpose":
            break
        tensor = consumers[0].output[0]
    first = consumers[0]
    if len(consumers) == 1 and first.op_type == "QuantizeLinear":
        constants = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
        quantization = (float(constants[first.input[1]]), int(constants[first.input[2]]))
        same_scale = math.isclose(quantization[0], scale, rel_tol=1e-5)  # float32 of the quantizer
        if not same_scale or quantization[1] != zero_point:
            raise ConversionError(
                f"the input has scale and zero point {quantization}, not {scale:g} and the pixel"
            )
        _rename_input(graph, first.output[0], tensor)
        graph.node.remove(first)
    else:
        _dequantize_input(graph, zero_point, scale)
    graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    del graph.value_info[:]  # dtypes behind the input have changed


def _dequantize_input(graph: Any, zero_point: int, scale: float) -> None:
    """The network starts with an operator that the quantizer left in float: feed it real pixels."""
    import numpy as np
    import onnx

    image = graph.input[0].name
    _rename_input(graph, image, "pixels")
    parameters = {"pixel_scale": np.float32(scale), "pixel_zero_point": np.uint8(zero_point)}
    for name, value in parameters.items():
        graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    node = onnx.helper.make_node("DequantizeLinear", [image, *parameters], ["pixels"])
    graph.node.insert(0, node)


def _rename_input(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
