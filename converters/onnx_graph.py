"""A float ONNX graph, taken apart so that it can be observed, corrected and quantized."""

from collections.abc import Collection
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.kernels import Operation, better_in_floats
from converters.observation import Activations, Wanted, merged
from converters.quantizable import ARITHMETIC, Block, blocks, tail
from converters.rounding import WeightedOperator, paired_scales, scales
from edge.modelfile.onnx import attribute, by_output
from edge.modelfile.pairs import adds_pairs

KERNEL: Final = 1  # position among a weighted node's inputs
BIAS: Final = 2
WEIGHTED: Final = ("Conv", "Gemm", "MatMul")
# What ONNX Runtime has no integer kernel for, or a slow one; see converters.kernels.
SLOW: Final = frozenset(
    (
        *("Abs", "Div", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "Log", "Neg"),
        *("Pow", "PRelu", "Reciprocal", "ReduceMean", "Sqrt", "Sub", "Tanh"),
    )
)
LIGHT: Final = SLOW | {"Add", "Clip", "Mul", "Relu", "Sigmoid"}


class OnnxFloatGraph:
    """A float graph, batch normalization folded.

    Args:
        proto: The ModelProto; a copy is kept.
    """

    def __init__(self, proto: Any) -> None:
        self.proto = type(proto).FromString(proto.SerializeToString())
        self._graph = self.proto.graph
        self._constants = {item.name: item for item in self._graph.initializer}
        self._steps: dict[str, NDArray[np.float64]] = {}  # of replaced layers, by node

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks in the order of execution; the quantizer knows nodes by their names."""
        return blocks(
            (self._is_weighted(node), node.output[0], (node.name,)) for node in self._graph.node
        )

    @property
    def wanted(self) -> dict[str, Wanted]:
        """What is wanted of the inputs of weighted nodes.

        Channels come second in a Conv, and last elsewhere.
        """
        axes = {node.name: 1 if node.op_type == "Conv" else -1 for node in self._weighted()}
        return merged(
            (source, Wanted(axes[name], covariance=layer.is_pointwise))
            for name, (layer, source) in self.layers().items()
        )

    @property
    def answers(self) -> tuple[str, ...]:
        """The names of the Softmax nodes that write an output of the graph."""
        outputs = {item.name for item in self._graph.output}
        return tuple(
            node.name
            for node in self._graph.node
            if node.op_type == "Softmax" and node.output[0] in outputs
        )

    @property
    def tail(self) -> tuple[str, ...]:
        """The names of the nodes after the last one with weights on each path."""
        nodes = list(self._graph.node)
        after = tail([(self._has_weights(node), node.input, node.output) for node in nodes])
        return tuple(nodes[position].name for position in sorted(after))

    def drop_tail(self) -> None:
        """Let the file end with the last layer of each path: its outputs are what follows reads."""
        import onnx

        tail = set(self.tail)
        ends = [node for node in self._graph.node if node.name in tail]
        if len(ends) == len(self._graph.node):
            return  # no layer of any size
        read = {name for node in ends for name in node.input}
        read.update(item.name for item in self._graph.output)
        for node in ends:
            self._graph.node.remove(node)
        written = [name for node in self._graph.node for name in node.output if name in read]
        known = [*self._graph.value_info, *self._graph.output]
        kinds = {item.name: item.type.tensor_type.elem_type for item in known}
        del self._graph.output[:]
        # With a type: the quantizer rounds no tensor of which it does not know that it is real.
        self._graph.output.extend(
            onnx.helper.make_tensor_value_info(
                name, kinds.get(name) or onnx.TensorProto.FLOAT, None
            )
            for name in written
        )

    @property
    def in_floats(self) -> tuple[str, ...]:
        """The names of the nodes that ONNX Runtime computes faster in floats."""
        nodes = list(self._graph.node)
        operations = [
            Operation(
                slow=node.op_type in SLOW,
                light=node.op_type in LIGHT,
                reads=frozenset(name for name in node.input if name not in self._constants),
                writes=frozenset(node.output),
            )
            for node in nodes
        ]
        chosen = better_in_floats(operations, [item.name for item in self._graph.output])
        return tuple(nodes[position].name for position in sorted(chosen))

    def layers(self) -> dict[str, tuple[WeightedOperator, str]]:
        """Return the weighted nodes by name, each with the name of its input tensor."""
        layers = {}
        for node in self._weighted():
            kernel = self._canonical(node)
            bias = self._bias(node)
            if bias is None and node.op_type == "MatMul":
                continue  # nowhere to put a correction
            values = np.zeros(len(kernel), np.float32) if bias is None else bias
            if values.shape != (len(kernel),):
                continue
            groups = attribute(node, "group", 1)
            layer = WeightedOperator(name=node.name, kernel=kernel, bias=values, groups=groups)
            layers[node.name] = (layer, node.input[0])
        return layers

    def steps(self, members: Collection[str]) -> dict[str, list[dict[str, object]]]:
        """Return how weights are to be rounded but for those of ``members``, by their constants.

        It is what ONNX Runtime's quantizer takes as ``TensorQuantOverrides``: a scale and a zero
        point for each output, with which no sum of two products overflows (see
        ``edge.modelfile.pairs``).
        """
        found: dict[str, list[dict[str, object]]] = {}
        for node in self._weighted():
            if node.name in members:
                continue
            steps = self._steps.get(node.name)
            if steps is None:
                kernel = self._canonical(node)
                paired = adds_pairs(kernel, attribute(node, "group", 1))
                steps = (paired_scales if paired else scales)(kernel)[:, 0, 0]
            axis = 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else 1
            found[node.input[KERNEL]] = [
                {"axis": axis, "scale": np.float32(step), "zero_point": 0} for step in steps
            ]
        return found

    def replace(self, layer: WeightedOperator) -> None:
        """Put other weights of the same shapes in the place of the layer's."""
        for node in self._graph.node:
            # The name first: whether a node has weights takes a look at them to see.
            if node.name == layer.name and self._is_weighted(node):
                self._replace(node, layer)
                if layer.steps is not None:
                    self._steps[node.name] = layer.steps

    def _replace(self, node: Any, layer: WeightedOperator) -> None:
        kernel = self._array(node.input[KERNEL])
        assert kernel is not None  # _weighted() has seen it
        stored = layer.kernel[:, :, 0] if node.op_type != "Conv" else layer.kernel
        if node.op_type != "Conv" and not attribute(node, "transB", 0):
            stored = stored.T
        self._put(node, KERNEL, stored.reshape(kernel.shape))
        if node.op_type == "MatMul":
            addition = self._addition(node)
            assert addition is not None  # layers() has found its bias
            position = [self._array(name) is not None for name in addition.input].index(True)
            self._put(addition, position, layer.bias)
        else:
            self._put(node, BIAS, layer.bias)

    def observable(self) -> bytes:
        """Return the file's bytes with every activation among the outputs."""
        import onnx

        proto = type(self.proto).FromString(self.proto.SerializeToString())
        have = {item.name for item in proto.graph.output}
        for node in proto.graph.node:
            for name in node.output:
                if name and name not in have:
                    proto.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
        content: bytes = proto.SerializeToString()
        return content

    def _weighted(self) -> list[Any]:
        return [node for node in self._graph.node if self._is_weighted(node)]

    def _is_weighted(self, node: Any) -> bool:
        if node.op_type not in WEIGHTED:
            return False
        kernel = self._array(node.input[KERNEL])
        return kernel is not None and (node.op_type == "Conv" or kernel.ndim == 2)

    def _has_weights(self, node: Any) -> bool:
        if node.op_type not in (*WEIGHTED, "ConvTranspose"):
            return False
        kernel = self._array(node.input[KERNEL])
        return kernel is not None and kernel.size >= ARITHMETIC

    def _canonical(self, node: Any) -> NDArray[np.float32]:
        """(outputs, inputs per group, positions)."""
        kernel = self._array(node.input[KERNEL])
        assert kernel is not None  # _weighted() has seen it
        found = by_output(node, kernel)
        assert found is not None
        return np.ascontiguousarray(found)

    def _bias(self, node: Any) -> NDArray[np.float32] | None:
        if node.op_type == "MatMul":
            addition = self._addition(node)
            return None if addition is None else self._constant_of(addition)
        return self._array(node.input[BIAS]) if len(node.input) > BIAS else None

    def _addition(self, node: Any) -> Any | None:
        """The Add of a constant that takes the MatMul's output, if nothing else does."""
        consumers = [item for item in self._graph.node if node.output[0] in item.input]
        if len(consumers) == 1 and consumers[0].op_type == "Add":
            return consumers[0] if self._constant_of(consumers[0]) is not None else None
        return None

    def _constant_of(self, node: Any) -> NDArray[np.float32] | None:
        return next((a for a in map(self._array, node.input) if a is not None), None)

    def _array(self, name: str) -> NDArray[np.float32] | None:
        """A float constant, or None for anything else."""
        import onnx

        item = self._constants.get(name)
        if item is None or item.data_type != onnx.TensorProto.FLOAT:
            return None
        return np.asarray(onnx.numpy_helper.to_array(item), np.float32)

    def _put(self, node: Any, position: int, values: NDArray[np.float32]) -> None:
        """A constant of its own: tf2onnx lets equal constants share theirs."""
        import onnx

        name = f"{node.name}:corrected:{position}"
        item = onnx.numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name)
        self._graph.initializer.append(item)
        self._constants[name] = item
        if position < len(node.input):
            node.input[position] = name
        else:
            node.input.append(name)


class OnnxActivations:
    """Runs an observable file and gives every activation."""

    def __init__(self, content: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        self._floats = [
            item.name for item in self._session.get_outputs() if item.type == "tensor(float)"
        ]

    def __call__(self, image: NDArray[np.float32]) -> Activations:
        """Yield names and values of the input and of every float activation."""
        yield self._input, image
        values = self._session.run(self._floats, {self._input: image})
        yield from zip(self._floats, values, strict=True)
