"""ONNX files: the one module that opens them and reads their graph and constants.

protobuf checks the structure of a file while it parses it; what it does not check, such as a
constant that is larger than its bytes, is checked here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelLoadError, missing_package
from edge.modelfile.corruption import AGAIN
from edge.modelfile.graph import Constant, Node, Value
from edge.runtime.spec import TensorSpec

_STANDARD_DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml", "ai.onnx.preview.training"})
_LARGEST_INFERENCE_CONSTANT: Final = 1024  # elements; shapes, axes and pads are far smaller
_MOST_ELEMENTS_PER_BYTE: Final = 8  # 4 with INT2


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxGraph:
    """The nodes of a model, bodies of conditions and loops included.

    Attributes:
        nodes: The nodes in the order of the file, a body after the node that holds it.
        input_values: The inputs of the main graph.
        notes: One sentence for each thing that could not be read.
    """

    nodes: tuple[Node, ...]
    input_values: tuple[Value, ...]
    notes: tuple[str, ...]


def parsed(path: Path, content: bytes) -> Any:
    """Return the ModelProto of a file.

    Raises:
        ModelLoadError: The content is not an ONNX model, or not a whole one.
        PackageMissing: onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise (missing_package(error) or error) from None
    decode_error = import_module("google.protobuf.message").DecodeError
    try:
        model = onnx.load_model_from_string(content)
    except (decode_error, ValueError) as error:
        raise ModelLoadError(
            f"{path} is not an ONNX model, or truncated or corrupt ({error})",
            hint=AGAIN,
        ) from error
    # Any of these missing makes it no model (ONNX IR specification, "Model Semantics").
    required = {
        "an IR version": model.ir_version > 0,
        "an operator set": len(model.opset_import) > 0,
        "a graph with outputs": len(model.graph.output) > 0,
    }
    missing = [name for name, present in required.items() if not present]
    if missing:
        raise ModelLoadError(
            f"{path} is not a whole ONNX model: it lacks {', '.join(missing)}", hint=AGAIN
        )
    return model


def loaded(path: Path, *, external: bool = False) -> Any:
    """Return the ModelProto of a file that an engine has loaded, or may refuse later.

    Args:
        path: The file.
        external: Whether to read the weights too that lie in other files.

    Raises:
        ImportError: onnx is not installed.
    """
    import onnx

    return onnx.load(str(path), load_external_data=external)


def constants(model: Any) -> Iterator[Constant]:
    """Return the constants of a ModelProto's main graph, those of text left out."""
    import onnx

    def reader(tensor: Any) -> NDArray[Any]:
        if is_external(tensor):  # onnx would look for the file in the working directory
            raise ValueError(f"the values of {tensor.name!r} lie in another file")
        values: NDArray[Any] = onnx.numpy_helper.to_array(tensor)
        return values

    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.STRING:
            yield Constant(
                name=tensor.name,
                dtype=dtype_name(tensor.data_type),
                elements=prod(tensor.dims),
                read=partial(reader, tensor),
            )


def bare_nodes(model: Any) -> tuple[Node, ...]:
    """Return the nodes of a ModelProto's main graph without the shapes of their tensors."""
    return tuple(_node(node, {}) for node in model.graph.node)


def activation_steps(model: Any) -> dict[str, float | None]:
    """Return the quantization step of each activation, None for a real one.

    In a QDQ file the activations are the outputs of DequantizeLinear and the sums of a dense layer
    that nothing rounds, in a float file those of every node. They stand in the order of execution;
    the output of the model comes last.
    """
    import onnx

    graph = model.graph
    stored = {item.name: item for item in graph.initializer}
    rounded = {node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    steps: dict[str, float | None] = {}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] not in stored:
            scale = onnx.numpy_helper.to_array(stored[node.input[1]])
            steps[node.output[0]] = float(scale.reshape(-1)[0])
        elif steps and node.op_type == "Gemm" and node.output[0] not in rounded:
            steps[node.output[0]] = None  # see ``converters.onnx_quantization.keep_sums``
    if not steps:
        inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
        real = {
            item.name
            for item in inferred
            if item.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        }
        steps = {name: None for node in graph.node for name in node.output if name in real}
    output = graph.output[0].name
    return {name: step for name, step in steps.items() if name != output} | {
        output: steps.get(output)
    }


def pixel_zero_point(model: Any) -> int | None:
    """Return the pixel that an integer file takes for zero; None where it takes real values.

    It is that of the first DequantizeLinear of no constant, behind at most a transposition.
    """
    import onnx

    graph = model.graph
    stored = {item.name: item for item in graph.initializer}
    if graph.input[0].type.tensor_type.elem_type != onnx.TensorProto.UINT8:
        return None
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] not in stored:
            point = stored.get(node.input[2]) if len(node.input) > 2 else None
            return 0 if point is None else int(onnx.numpy_helper.to_array(point).reshape(-1)[0])
    return None


def with_outputs(model: Any, names: Sequence[str]) -> bytes:
    """Return the bytes of a file that gives these float activations instead of its outputs."""
    import onnx

    copy = type(model).FromString(model.SerializeToString())
    del copy.graph.output[:]
    copy.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    content: bytes = copy.SerializeToString()
    return content


def cut(model: Any, names: Sequence[str]) -> bytes:
    """Return the bytes of a file that is cut at these float activations.

    What made each of them writes another one instead, and those are the outputs; what reads it
    reads an input, behind the inputs that there were. So each part runs on what it is given.
    """
    import onnx

    copy = type(model).FromString(model.SerializeToString())
    graph = copy.graph
    made = {name: f"{name}#made" for name in names}
    for node in graph.node:
        node.output[:] = [made.get(name, name) for name in node.output]
    inputs = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in names]
    graph.input.extend(inputs)
    del graph.value_info[:], graph.output[:]
    graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in made.values()
    )
    content: bytes = copy.SerializeToString()
    return content


def statements(model: Any) -> dict[str, str | list[str]]:
    """Return what a ModelProto says about itself: versions, producer, metadata.

    Raises:
        ValueError: A string is not UTF-8.
    """
    result: dict[str, str | list[str]] = {
        "ir_version": str(model.ir_version),
        "opsets": [
            f"{checked_text(item.domain) or 'ai.onnx'} {item.version}"
            for item in model.opset_import
        ],
    }
    for name in ("producer_name", "producer_version", "domain", "doc_string"):
        if getattr(model, name):
            result[name] = checked_text(getattr(model, name))
    for item in model.metadata_props:
        result[checked_text(item.key)] = checked_text(item.value)
    return result


def attribute(node: Any, name: str, default: int) -> int:
    """Return an integer attribute of a node."""
    return next((int(item.i) for item in node.attribute if item.name == name), default)


def by_output(node: Any, weights: NDArray[Any]) -> NDArray[Any] | None:
    """Return the weights of a convolution or a matrix product, one row for each output.

    Args:
        node: The node.
        weights: As the file stores them.

    Returns:
        (outputs, inputs per group, positions); None for other weights than a node has by rule.
    """
    if "Conv" in node.op_type:
        return weights.reshape(*weights.shape[:2], -1) if weights.ndim > 2 else None
    if weights.ndim != 2:
        return None
    return (weights if attribute(node, "transB", 0) else weights.T)[:, :, np.newaxis]


def tensor_spec(value: Any) -> TensorSpec:
    """Return an input or output; quantization lies in the graph's operators, not in its tensors."""
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return TensorSpec(
            name=checked_text(value.name), shape=(), dtype=str(kind).removesuffix("_type")
        )
    dimensions = value.type.tensor_type.shape.dim
    return TensorSpec(
        name=checked_text(value.name),
        shape=tuple(
            item.dim_value
            if item.WhichOneof("value") == "dim_value" and item.dim_value >= 0
            # Some exporters write -1 for an open extent.
            else -1
            for item in dimensions
        ),
        dtype=dtype_name(value.type.tensor_type.elem_type),
    )


def specs(graph: Any) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Return the real inputs and the outputs of a graph."""
    return tuple(map(tensor_spec, real_inputs(graph))), tuple(map(tensor_spec, graph.output))


def axes(graph: Any) -> list[list[int | str]]:
    """Return for each real input its extents, or the names of those that are left open."""
    shapes = (value.type.tensor_type.shape.dim for value in real_inputs(graph))
    return [[item.dim_value or checked_text(item.dim_param) for item in dims] for dims in shapes]


def real_inputs(graph: Any) -> list[Any]:
    """Return the inputs that a caller must give: those without an initializer (IR version < 4)."""
    stored = {tensor.name for tensor in graph.initializer}
    return [value for value in graph.input if value.name not in stored]


def dtype_name(code: int) -> str:
    """Return the numpy name of a TensorProto data type.

    Raises:
        KeyError: ONNX does not define the code.
    """
    import onnx

    return str(onnx.helper.tensor_dtype_to_np_dtype(code).name)


def checked_text(value: str | bytes) -> str:
    """Return a string of the file.

    Raises:
        ValueError: It is not UTF-8; protobuf then hands out its bytes.
    """
    if isinstance(value, bytes):
        raise ValueError(f"the string {value[:32]!r} is not UTF-8")
    return value


def read_graph(model: Any, shapes: Sequence[tuple[int, ...]] | None) -> OnnxGraph:
    """Return the graph of a ModelProto, with inferred shapes; ``model`` is changed by it.

    Args:
        model: The ModelProto.
        shapes: The shapes of the real inputs, with every extent; None where these are not known:
            then no shape that depends on them is known either.

    Raises:
        ValueError: A stored tensor does not fit its shape.
        LookupError: A data type is unknown.
    """
    notes = []
    if model.functions:
        import onnx.inliner

        model = onnx.inliner.inline_local_functions(model)
    values: dict[str, Value] = {}
    for graph in _graphs(model.graph):
        for tensor in graph.initializer:
            values[tensor.name] = _stored_value(tensor)
            if prod(tensor.dims) > _LARGEST_INFERENCE_CONSTANT:
                tensor.ClearField("raw_data")  # inference then copies no weights
    if any(is_external(tensor) for tensor in model.graph.initializer):
        notes.append("weights lie in other files, which size_bytes and sha256 leave out")
    _set_extents(model.graph, shapes)
    model, failure = _with_shapes(model)
    for graph in _graphs(model.graph):
        for info in (*graph.input, *graph.value_info, *graph.output):
            values.setdefault(info.name, _described_value(info))
    nodes = tuple(_node(node, values) for node in _nodes(model.graph))
    inputs = tuple(values[info.name] for info in real_inputs(model.graph))
    return OnnxGraph(nodes=nodes, input_values=inputs, notes=(*notes, *failure))


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for body in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _graphs(body)


def _nodes(graph: Any) -> Iterator[Any]:
    for each in _graphs(graph):
        yield from each.node


def is_external(tensor: Any) -> bool:
    """Return whether the values of a TensorProto lie in another file."""
    return bool(tensor.data_location == tensor.EXTERNAL)


def _stored_value(tensor: Any) -> Value:
    shape = tuple(tensor.dims)
    stored = len(tensor.raw_data)
    if any(extent < 0 for extent in shape) or (
        stored and prod(shape) > _MOST_ELEMENTS_PER_BYTE * stored
    ):
        raise ValueError(f"a constant of shape {list(shape)} in {stored} bytes")
    return Value(
        key=tensor.name, shape=shape, dtype=dtype_name(tensor.data_type), stored=tensor.name
    )


def _set_extents(graph: Any, shapes: Sequence[tuple[int, ...]] | None) -> None:
    """Set the extents of the inputs.

    An extent of the same symbol elsewhere is inferred again, so its record is dropped.
    """
    for value, shape in zip(real_inputs(graph), shapes or (), strict=False):
        dimensions = value.type.tensor_type.shape.dim
        del dimensions[:]
        for extent in shape:
            dimensions.add().dim_value = extent
    for value in (*graph.value_info, *graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_value <= 0:
                dimension.Clear()


def _with_shapes(model: Any) -> tuple[Any, tuple[str, ...]]:
    """The model with the shapes of its activations, or unchanged and a note why."""
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True), ()
    except (onnx.shape_inference.InferenceError, RuntimeError) as error:
        reason = str(error).strip().splitlines()
        return model, (f"shape inference failed: {reason[0] if reason else type(error).__name__}",)


def _described_value(info: Any) -> Value:
    kind = info.type.tensor_type
    known = kind.HasField("shape") and all(item.HasField("dim_value") for item in kind.shape.dim)
    return Value(
        key=info.name,
        shape=tuple(max(item.dim_value, 0) for item in kind.shape.dim) if known else None,
        dtype=dtype_name(kind.elem_type) if kind.elem_type else "object",
    )


def _node(node: Any, values: dict[str, Value]) -> Node:
    outputs = []
    for name in filter(None, node.output):
        value = values.get(name) or Value(key=name, shape=None, dtype="object")
        if node.op_type in ("Constant", "DequantizeLinear"):
            value = Value(
                key=name,
                shape=value.shape,
                dtype=value.dtype,
                stored=name if node.op_type == "Constant" else None,
                quantized=node.op_type == "DequantizeLinear",
            )
            values[name] = value
        outputs.append(value)
    name, domain = checked_text(node.op_type), checked_text(node.domain)
    return Node(
        operator=name if domain in ("", "ai.onnx") else f"{domain}.{name}",
        inputs=tuple(_input(name, values) for name in node.input),
        outputs=tuple(outputs),
        attributes={item.name: item.i for item in node.attribute if item.type == item.INT},
        custom=domain not in _STANDARD_DOMAINS,
    )


def _input(name: str, values: dict[str, Value]) -> Value | None:
    if not name:
        return None
    return values.get(name) or Value(key=name, shape=None, dtype="object")
