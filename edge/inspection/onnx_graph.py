"""Inspect an ONNX file through its protobuf and onnx's shape inference."""

import hashlib
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from benchmarks.input_shape import bound
from edge.errors import ModelLoadError, missing_package
from edge.inspection.corruption import corruption
from edge.inspection.graph import (
    UNCOUNTED,
    Node,
    batch_extent,
    count_mult_adds,
    count_operators,
    count_parameters,
    counted_shapes,
    obstacles,
    producers_of,
    stored_origin,
)
from edge.inspection.onnx_nodes import checked_text, dtype_name, read_graph, real_inputs
from edge.inspection.onnx_operators import ONNX
from edge.inspection.report import CONVERSIONS, ModelReport
from edge.runtime.backends.onnx import check_nodes
from edge.runtime.refusal import CUT_OFF, lost_data, newer
from edge.runtime.spec import TensorSpec

_RUNTIME: Final = ("com.microsoft",)  # domains of operators that ONNX Runtime brings
_BIAS: Final = 2  # input of Conv, ConvTranspose and Gemm that may stay real


def inspect_onnx(path: Path, shapes: Mapping[str, tuple[int, ...]] | None = None) -> ModelReport:
    """Read what an ONNX file holds.

    Args:
        path: The file.
        shapes: See ``inspect_model``.

    Raises:
        UsageError: A shape does not fit.
        ModelLoadError: Not an ONNX model, truncated or corrupt, or of too many nodes.
        PackageMissing: onnx is not installed.
        OSError: The file cannot be read.
    """
    content = path.read_bytes()
    model = _parse(path, content)
    with corruption(path, "ONNX"):
        check_nodes(path, content)
        metadata = _metadata(model)
        hindered = _versions(model) + _lost(path, model.graph)
        inputs = tuple(_spec(value) for value in real_inputs(model.graph))
        outputs = tuple(_spec(value) for value in model.graph.output)
        known, given, sequences = bound(inputs, _axes(model.graph), shapes or {})
        empty = _empty(inputs)
        counted = None if empty else counted_shapes(known, given, sequences)
        graph = read_graph(model, counted)
        mult_adds, notes = count_mult_adds(graph.nodes, ONNX)
        quantized = _quantized(graph.nodes)
        batch = batch_extent(graph.input_values)
        return ModelReport(
            format="onnx",
            path=str(path),
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            inputs=inputs,
            outputs=outputs,
            operators=count_operators(graph.nodes),
            parameters=count_parameters(graph.nodes, ONNX),
            mult_adds=mult_adds // batch if counted is not None else None,
            counted_shapes=counted or (),
            quantized_operators=len(quantized),
            quantized_mult_adds=None
            if counted is None
            else count_mult_adds(quantized, ONNX)[0] // batch,
            metadata=metadata,
            notes=graph.notes
            + (notes if counted is not None else () if empty else UNCOUNTED)
            + _unranked(model.graph)
            + _graph_notes(graph.nodes),
            obstacles=hindered + empty + obstacles(path, graph.nodes, _RUNTIME),
        )


def _parse(path: Path, content: bytes) -> Any:
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
            hint="Copy or export the file again and compare its sha256.",
        ) from error
    # Any of these missing makes it no model (ONNX IR specification, "Model Semantics").
    required = {
        "an IR version": model.ir_version > 0,
        "an operator set": len(model.opset_import) > 0,
        "a graph with outputs": len(model.graph.output) > 0,
    }
    missing = [name for name, present in required.items() if not present]
    if missing:
        raise ModelLoadError(f"{path} is not a whole ONNX model: it lacks {', '.join(missing)}")
    return model


def _spec(value: Any) -> TensorSpec:
    """An input or output; quantization lies in the graph's operators, not in its tensors."""
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


def _empty(inputs: Sequence[TensorSpec]) -> tuple[str, ...]:
    """An obstacle for each input of which the file fixes an extent at 0."""
    return tuple(
        f"the file fixes an extent of its input {spec.name} at 0: it takes no values. Export it "
        "again with that extent open, or at what it is in use"
        for spec in inputs
        if 0 in spec.shape
    )


def _unranked(graph: Any) -> tuple[str, ...]:
    """A note for each input of which the file states no shape, which is not that of a scalar."""
    return tuple(
        f"the file does not state how many extents its input {checked_text(value.name)} has: it "
        "is shown as [], as a scalar is"
        for value in real_inputs(graph)
        if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape")
    )


def _axes(graph: Any) -> list[list[int | str]]:
    """Of each real input, its extents or the names of those left open."""
    shapes = (value.type.tensor_type.shape.dim for value in real_inputs(graph))
    return [[item.dim_value or checked_text(item.dim_param) for item in dims] for dims in shapes]


def _quantized(nodes: Sequence[Node]) -> list[Node]:
    """Nodes that a runtime computes on integers.

    Integer operators, and operators of which every activation and every weight comes from
    DequantizeLinear (the QDQ form; a bias may stay real).
    """
    producers = producers_of(nodes)
    found = []
    for node in nodes:
        name = node.operator.rpartition(".")[2]
        if name.startswith("QLinear") or name.endswith("Integer"):
            found.append(node)
        elif node.operator not in CONVERSIONS:
            weighted = node.operator in ONNX.formulas
            reals = [
                value
                for position, value in enumerate(node.inputs)
                if value is not None
                and value.real
                and (value.stored is None or (weighted and position < _BIAS))
            ]
            computed = any(stored_origin(value, producers, ONNX) is None for value in reals)
            if computed and all(value.quantized for value in reals):
                found.append(node)
    return found


def _versions(model: Any) -> tuple[str, ...]:
    """A note where the file is newer than the installed onnx, as no interpreter will know it."""
    import onnx

    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    found = (
        ("opset", opset, onnx.defs.onnx_opset_version()),
        ("IR version", model.ir_version, onnx.IR_VERSION),
    )
    causes = [
        newer(f"{name} {stated}", f", and {last} is the last that onnx knows here", "onnx")
        for name, stated, last in found
        if stated > last
    ]
    return tuple(f"the file {cause.says}. {cause.hint}" for cause in causes)


def _lost(path: Path, graph: Any) -> tuple[str, ...]:
    """An obstacle for each file of weights that is not there, or not all of it."""
    ends: dict[str, int] = {}
    for tensor in graph.initializer:
        entries = {entry.key: checked_text(entry.value) for entry in tensor.external_data}
        if "location" in entries:
            name = entries["location"]
            end = int(entries.get("offset", 0)) + int(entries.get("length", 0))
            ends[name] = max(end, ends.get(name, 0))
    causes = []
    for name, end in sorted(ends.items()):
        file = path.parent / name
        if not file.is_file():
            causes.append(lost_data(name))
        elif file.stat().st_size < end:
            causes.append(CUT_OFF)
    return tuple(f"the file {cause.says}. {cause.hint}" for cause in causes)


def _graph_notes(nodes: Sequence[Node]) -> tuple[str, ...]:
    names = {node.operator for node in nodes}
    if names & {"Conv", "QLinearConv", "ConvInteger"} and "BatchNormalization" not in names:
        return (
            "parameters are those of the file: batch normalization that the exporter folded "
            "into convolutions is not counted apart",
        )
    return ()


def _metadata(model: Any) -> dict[str, str | list[str]]:
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
