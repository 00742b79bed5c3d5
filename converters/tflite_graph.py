"""A float TFLite file, taken apart so that it can be observed, corrected and quantized."""

from collections.abc import Collection, Mapping
from copy import copy
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.kernels import Operation, better_in_floats
from converters.observation import Activations, Wanted, merged
from converters.quantizable import ARITHMETIC, Block, blocks, tail
from converters.rounding import WeightedOperator
from edge.modelfile.tflite import load_schema, packed, unpacked

CONV_2D: Final = 3  # BuiltinOperator of the TFLite schema
DEPTHWISE_CONV_2D: Final = 4
FULLY_CONNECTED: Final = 9
TRANSPOSE_CONV: Final = 67  # its kernel stands where the others have theirs
DEQUANTIZE: Final = 6
FLOAT32: Final = 0  # TensorType of the schema
UINT8: Final = 3
# What XNNPACK, TFLite's fast kernels, takes in floats and not in int8; see converters.kernels.
SLOW: Final = frozenset(
    {
        1,  # AVERAGE_POOL_2D
        19,  # RELU that is not fused into another operator
        21,  # RELU6, likewise
        25,  # SOFTMAX
        42,  # DIV
        47,  # EXP
        54,  # PRELU
        73,  # LOG
        75,  # SQRT
        76,  # RSQRT
        99,  # SQUARED_DIFFERENCE
        101,  # ABS
        117,  # HARD_SWISH
        150,  # GELU
    }
)
LIGHT: Final = SLOW | {
    0,  # ADD
    14,  # LOGISTIC
    18,  # MUL
    28,  # TANH
    40,  # MEAN
    41,  # SUB
    59,  # NEG
    74,  # SUM
    92,  # SQUARE
}
LARGEST_TAPS: Final = 25  # positions of a depthwise kernel that XNNPACK's int8 sums in one pass
INPUT: Final = 0  # position among a weighted operator's inputs
KERNEL: Final = 1
BIAS: Final = 2


class TfliteFloatGraph:
    """The first subgraph of a float TFLite file.

    Args:
        content: The bytes of the file, or what ``unpacked`` made of them, to change it in place.
    """

    def __init__(self, content: Any) -> None:
        self._schema = load_schema()
        self._model = unpacked(content) if isinstance(content, bytes) else content
        self._graph = self._model.subgraphs[0]
        codes = self._model.operatorCodes
        self._kinds = [
            max(code.builtinCode, code.deprecatedBuiltinCode)
            for code in (codes[operator.opcodeIndex] for operator in self._graph.operators)
        ]

    def copied(self) -> "TfliteFloatGraph":
        """Return a copy that can be changed; reading the file again takes fifty times as long."""
        model = copy(self._model)
        model.buffers = [copy(buffer) for buffer in model.buffers]
        model.subgraphs = [copy(graph) for graph in model.subgraphs]
        for graph in model.subgraphs:
            graph.tensors = [copy(tensor) for tensor in graph.tensors]
            graph.operators = [copy(operator) for operator in graph.operators]
        return TfliteFloatGraph(model)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks in the order of execution; the quantizer knows operators by their outputs."""
        written = [
            tuple(self._name(index) for index in operator.outputs)
            for operator in self._graph.operators
        ]
        return blocks(
            (self._is_weighted(operator, kind), names[0], names)
            for operator, kind, names in zip(
                self._graph.operators, self._kinds, written, strict=True
            )
        )

    @property
    def wanted(self) -> dict[str, Wanted]:
        """What is wanted of the inputs of weighted operators; channels come last in TFLite."""
        return merged(
            (source, Wanted(-1, covariance=layer.is_pointwise))
            for layer, source in self.layers().values()
        )

    @property
    def tail(self) -> tuple[str, ...]:
        """The tensors that the operators after the last layer of each path write."""
        operators = list(self._graph.operators)
        after = tail(
            [
                (self._has_weights(operator, kind), list(operator.inputs), list(operator.outputs))
                for operator, kind in zip(operators, self._kinds, strict=True)
            ]
        )
        return tuple(
            self._name(index) for position in sorted(after) for index in operators[position].outputs
        )

    @property
    def in_floats(self) -> tuple[str, ...]:
        """The tensors that the operators write which XNNPACK computes faster in floats."""
        operators = list(self._graph.operators)
        operations = [
            Operation(
                slow=kind in SLOW or self._is_large_depthwise(operator, kind),
                light=kind in LIGHT,
                reads=frozenset(i for i in map(int, operator.inputs) if self._is_computed(i)),
                writes=frozenset(map(int, operator.outputs)),
            )
            for operator, kind in zip(operators, self._kinds, strict=True)
        ]
        chosen = better_in_floats(operations, [int(index) for index in self._graph.outputs])
        return tuple(
            self._name(index)
            for position in sorted(chosen)
            for index in operators[position].outputs
        )

    def _is_computed(self, index: int) -> bool:
        if index < 0:
            return False
        return self._model.buffers[self._graph.tensors[index].buffer].data is None

    def _is_large_depthwise(self, operator: Any, kind: int) -> bool:
        if kind != DEPTHWISE_CONV_2D:
            return False
        _, rows, columns, _ = self._graph.tensors[operator.inputs[KERNEL]].shape
        return int(rows * columns) > LARGEST_TAPS

    def drop_tail(self) -> None:
        """Let the file end with the last layer of each path: its outputs are what follows reads."""
        tail = set(self.tail)
        ends = [self._name(operator.outputs[0]) in tail for operator in self._graph.operators]
        if all(ends):
            return  # no layer of any size
        pairs = list(zip(self._graph.operators, self._kinds, ends, strict=True))
        written = [int(i) for operator, _, end in pairs if not end for i in operator.outputs]
        read = {int(i) for operator, _, end in pairs if end for i in operator.inputs}
        outputs = read.union(map(int, self._graph.outputs))
        self._graph.operators = [operator for operator, _, end in pairs if not end]
        self._kinds = [kind for _, kind, end in pairs if not end]
        self._graph.outputs = [index for index in written if index in outputs]
        self._model.signatureDefs = None

    def reads_input(self, members: Collection[str]) -> bool:
        """Whether ``members`` alone read the picture."""
        readers = self.readers(self._graph.inputs[0])
        return all(self._name(operator.outputs[0]) in members for operator, _ in readers)

    def writes_output(self, members: Collection[str]) -> bool:
        """Whether ``members`` write an output."""
        return any(self._name(index) in members for index in self._graph.outputs)

    def layers(self) -> dict[str, tuple[WeightedOperator, str]]:
        """Return the weighted operators with a bias by the tensor they write, with their inputs."""
        layers = {}
        for operator, kind in self._weighted():
            kernel, bias = self.constants(operator)
            if kernel is None or bias is None:
                continue
            name, source = self._name(operator.outputs[0]), operator.inputs[INPUT]
            inputs = int(self._graph.tensors[source].shape[-1])
            canonical = _canonical(kernel, kind)
            groups = inputs // canonical.shape[1]
            if groups * canonical.shape[1] != inputs:
                continue  # the operator flattens its input
            layer = WeightedOperator(name=name, kernel=canonical, bias=bias, groups=groups)
            layers[name] = (layer, self._name(source))
        return layers

    def replace(self, layer: WeightedOperator) -> None:
        """Put other weights of the same shapes in the place of the layer's."""
        for operator, kind in zip(self._graph.operators, self._kinds, strict=True):
            # The name first: whether an operator has weights takes a copy of them to see.
            if self._name(operator.outputs[0]) == layer.name and self._is_weighted(operator, kind):
                shape = self._array(operator.inputs[KERNEL])
                assert shape is not None  # layers() gave it
                self.put(operator, _stored(layer.kernel, kind, shape.shape), layer.bias)

    def readers(self, index: int) -> list[tuple[Any, int]]:
        """Return the operators that read a tensor, each with its kind."""
        pairs = zip(self._graph.operators, self._kinds, strict=True)
        return [(operator, kind) for operator, kind in pairs if index in operator.inputs]

    def constants(
        self, operator: Any
    ) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
        """Return kernel and bias of an operator; None for what is no float constant."""
        kernel = self._array(operator.inputs[KERNEL])
        has_bias = len(operator.inputs) > BIAS and operator.inputs[BIAS] >= 0
        return kernel, self._array(operator.inputs[BIAS]) if has_bias else None

    def put(self, operator: Any, kernel: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        """Put another kernel and bias of the same shapes in the place of an operator's."""
        self._put(operator, KERNEL, kernel)
        self._put(operator, BIAS, bias)

    def content(
        self,
        ranges: Mapping[str, tuple[float, float]] | None = None,
        members: Collection[str] = (),
    ) -> bytes:
        """Return the file's bytes; with ranges, as the quantizer takes it from a calibrator.

        The quantizer rounds every tensor that has a range. One that passes between operators of
        ``members``, which stay in floats, or from such a one to an output, has none.
        """
        self._forget_replaced()
        rounded = self._rounded(members)
        for index, tensor in enumerate(self._graph.tensors):
            name = tensor.name.decode()
            known = ranges is not None and name in ranges and index in rounded
            if ranges is not None and known and tensor.type == FLOAT32:
                quantization = self._schema.QuantizationParametersT()
                quantization.min, quantization.max = ([value] for value in ranges[name])
                tensor.quantization = quantization
        return packed(self._model)

    def _rounded(self, members: Collection[str]) -> set[int]:
        """The tensors that an operator reads or writes which does not stay in floats."""
        return {
            int(index)
            for operator in self._graph.operators
            if self._name(operator.outputs[0]) not in members
            for index in (*operator.inputs, *operator.outputs)
        }

    def observable(self) -> bytes:
        """Return the file's bytes with every activation among the outputs.

        The interpreter then keeps its fast kernels; asked to preserve all tensors instead, it
        takes seven times as long.
        """
        original = self._graph.outputs
        written = [index for operator in self._graph.operators for index in operator.outputs]
        floats = [i for i in dict.fromkeys(written) if self._graph.tensors[i].type == FLOAT32]
        self._graph.outputs = [*original, *(i for i in floats if i not in original)]
        try:
            return packed(self._model)
        finally:
            self._graph.outputs = original

    def _weighted(self) -> list[tuple[Any, int]]:
        pairs = zip(self._graph.operators, self._kinds, strict=True)
        return [(operator, kind) for operator, kind in pairs if self._is_weighted(operator, kind)]

    def _is_weighted(self, operator: Any, kind: int) -> bool:
        if kind not in (CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED):
            return False
        return self._array(operator.inputs[KERNEL]) is not None

    def _has_weights(self, operator: Any, kind: int) -> bool:
        if kind not in (CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED, TRANSPOSE_CONV):
            return False
        kernel = self._array(operator.inputs[KERNEL])
        return kernel is not None and kernel.size >= ARITHMETIC

    def _name(self, index: int) -> str:
        name: str = self._graph.tensors[index].name.decode()
        return name

    def _array(self, index: int) -> NDArray[np.float32] | None:
        """A float constant, or None for anything else."""
        tensor = self._graph.tensors[index]
        data = self._model.buffers[tensor.buffer].data
        if data is None or tensor.type != FLOAT32:
            return None
        return np.frombuffer(np.asarray(data, np.uint8).tobytes(), np.float32).reshape(tensor.shape)

    def _forget_replaced(self) -> None:
        """Empty the buffers of weights that nothing reads: the int16 quantizer would keep them."""
        graphs = self._model.subgraphs
        used = {
            graph.tensors[index].buffer
            for graph in graphs
            for item in (*graph.operators, graph)
            for index in (*item.inputs, *item.outputs)
            if index >= 0
        }
        for tensor in (tensor for graph in graphs for tensor in graph.tensors):
            if tensor.buffer not in used:
                self._model.buffers[tensor.buffer].data = None

    def _put(self, operator: Any, position: int, values: NDArray[np.float32]) -> None:
        """A tensor and buffer of its own: the converter lets equal constants share theirs."""
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values, np.float32).tobytes(), np.uint8)
        tensor = copy(self._graph.tensors[operator.inputs[position]])
        tensor.buffer = len(self._model.buffers)
        operator.inputs = [int(index) for index in operator.inputs]  # numpy gives it read-only
        operator.inputs[position] = len(self._graph.tensors)
        self._model.buffers.append(buffer)
        self._graph.tensors.append(tensor)


def taking_pixels(content: bytes, zero_point: int, scale: float = 1.0) -> bytes:
    """Put the uint8 pixel before a float input: real value = scale * (pixel - zero point).

    TensorFlow's quantizer leaves the input in floats where its first consumer stays in floats.
    """
    schema, model = load_schema(), unpacked(content)
    graph = model.subgraphs[0]
    pixels = copy(graph.tensors[graph.inputs[0]])
    pixels.name, pixels.type, pixels.buffer = b"pixels", UINT8, len(model.buffers)
    pixels.quantization = schema.QuantizationParametersT()
    pixels.quantization.scale, pixels.quantization.zeroPoint = [scale], [zero_point]
    model.buffers.append(schema.BufferT())
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = DEQUANTIZE
    code.version = 1
    operator = schema.OperatorT()
    operator.opcodeIndex = len(model.operatorCodes)
    operator.inputs, operator.outputs = [len(graph.tensors)], [int(graph.inputs[0])]
    model.operatorCodes.append(code)
    graph.inputs = [len(graph.tensors)]
    graph.tensors.append(pixels)
    graph.operators.insert(0, operator)
    for signature in model.signatureDefs or ():
        for item in signature.inputs:
            item.tensorIndex = graph.inputs[0]
    return packed(model)


class TfliteActivations:
    """Runs an observable file and gives every activation."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert.interpreter import Interpreter as LiteRT

        self._interpreter = LiteRT(model_content=content, num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self._outputs = self._interpreter.get_output_details()

    def __call__(self, image: NDArray[np.float32]) -> Activations:
        """Yield names and values of the input and of every activation; they live until the next."""
        self._interpreter.set_tensor(self._input["index"], image)
        self._interpreter.invoke()
        yield self._input["name"], image
        for detail in self._outputs:
            yield detail["name"], self._interpreter.get_tensor(detail["index"])


def _canonical(kernel: NDArray[np.float32], kind: int) -> NDArray[np.float32]:
    """(outputs, inputs per group, positions)."""
    if kind == CONV_2D:  # (outputs, rows, columns, inputs per group)
        outputs, *_, inputs = kernel.shape
        return np.ascontiguousarray(kernel.reshape(outputs, -1, inputs).swapaxes(1, 2))
    if kind == DEPTHWISE_CONV_2D:  # (1, rows, columns, outputs)
        outputs = kernel.shape[-1]
        return np.ascontiguousarray(kernel.reshape(-1, outputs).T[:, np.newaxis, :])
    return kernel[:, :, np.newaxis]  # fully connected: (outputs, inputs)


def _stored(kernel: NDArray[np.float32], kind: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The way back from ``_canonical``."""
    if kind == CONV_2D:
        return kernel.swapaxes(1, 2).reshape(shape)
    if kind == DEPTHWISE_CONV_2D:
        return kernel[:, 0, :].T.reshape(shape)
    return kernel[:, :, 0]
