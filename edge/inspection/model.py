"""Inspect a model file of any format that the pipeline writes."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.input_shape import bound, given_shapes, still_open
from edge.errors import EngineUnavailable, ModelLoadError, UsageError
from edge.inspection import notes
from edge.inspection.report import ModelReport
from edge.modelfile import graph, onnx
from edge.modelfile.corruption import corruption
from edge.modelfile.graph import Node
from edge.modelfile.mult_adds import ONNX, TFLITE
from edge.modelfile.tflite import TfliteFile, TfliteGraph, starts_as_tflite
from edge.runtime.backends.onnx import check_nodes
from edge.runtime.refusal import refusal
from edge.runtime.session import check_size
from edge.runtime.spec import TensorSpec
from edge.runtime.supervisor import NativeCall

_HEAD_BYTES: Final = 512
# A ModelProto starts with its lowest field: ir_version (field 1, a varint), which every writer
# sets; an ONNX file has no other identifier.
_ONNX_FIRST_BYTE: Final = b"\x08"
_OTHER_FORMATS: Final = (
    (b"PK\x03\x04", "a zip archive (.keras, .pt and .mlpackage files are such)"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras weights)"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"GGUF", "a GGUF model"),
    (b"\x7fELF", "an executable"),
    (b"version https://git-lfs", "a Git LFS pointer; the model itself was not fetched"),
)

Shape = tuple[int, ...]


def inspect_model(path: Path, shapes: Mapping[str, Shape] | None = None) -> ModelReport:
    """Read what a model file holds; the format is told by the content, not by the name.

    Args:
        path: The file.
        shapes: The shapes of inputs that the file leaves open, by name, to count mult-adds; see
            ``benchmarks.input_shape``.

    Raises:
        UsageError: There is no such file, it cannot be read, or a shape does not fit.
        ModelLoadError: The file is neither TFLite nor ONNX, or it is truncated or corrupt.
        PackageMissing: The package that reads the format is not installed.
    """
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no such file"
        raise UsageError(f"{path}: {kind}; a .tflite or .onnx file is needed")
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
        inspect = inspect_tflite if starts_as_tflite(head) else None
        inspect = inspect_onnx if head.startswith(_ONNX_FIRST_BYTE) else inspect
        if inspect is not None:
            check_size(path)
            with NativeCall(path, opens=True):
                return _named(inspect(path, shapes))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    raise ModelLoadError(
        f"{path} is {_describe(head)}; allowed are TFLite (bytes 4 to 7 are 'TFL3') and ONNX",
        hint="Convert the model first, or name the .tflite or .onnx file itself.",
    )


def _named(report: ModelReport) -> ModelReport:
    """The report, with a note where the file's name promises more than it holds."""
    note = report.float_note(Path(report.path).stem)
    return replace(report, notes=(note, *report.notes)) if note else report


def _describe(head: bytes) -> str:
    if not head:
        return "empty"
    for magic, name in _OTHER_FORMATS:
        if head.startswith(magic):
            return name
    if head.isascii() and b"\0" not in head:
        return "text"
    return f"no known format (it starts with {head[:8].hex(' ')})"


def inspect_tflite(path: Path, shapes: Mapping[str, Shape] | None = None) -> ModelReport:
    """Read what a TFLite file holds; see ``inspect_model``.

    Raises:
        OSError: The file cannot be read.
    """
    content = path.read_bytes()
    with corruption(path, "TFLite"):
        file = TfliteFile(content)
        read = file.graph()
        metadata = file.statements() | notes.associated_files(content)
        counted = _counted_shapes(read.inputs, shapes or {}, resizable=True)
        if counted and counted != tuple(value.shape for value in read.input_values):
            read = _resized(read, _resized_tensors(path, counted))
        quantized = [node for node in read.nodes if notes.is_quantized(node)]
        report = ModelReport(
            format="tflite",
            path=str(path),
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            inputs=read.inputs,
            outputs=read.outputs,
            operators=graph.count_operators(read.nodes),
            parameters=graph.count_parameters(read.nodes, TFLITE),
            mult_adds=None,
            counted_shapes=counted or (),
            quantized_operators=len(quantized),
            metadata=metadata,
            notes=notes.tflite_notes(read.nodes, metadata),
            obstacles=notes.obstacles(path, read.nodes, notes.TFLITE_BROUGHT),
        )
        if not counted:
            return _uncounted(report)
        return _counted(report, read.nodes, quantized, read.input_values, TFLITE)


def inspect_onnx(path: Path, shapes: Mapping[str, Shape] | None = None) -> ModelReport:
    """Read what an ONNX file holds; see ``inspect_model``.

    Raises:
        OSError: The file cannot be read.
    """
    content = path.read_bytes()
    model = onnx.parsed(path, content)
    with corruption(path, "ONNX"):
        check_nodes(path, content)
        metadata = onnx.statements(model)
        obstacles = notes.newer_versions(model) + notes.lost_weights(path, model.graph)
        inputs, outputs = onnx.specs(model.graph)
        known, given, sequences = bound(inputs, onnx.axes(model.graph), shapes or {})
        empty = notes.empty_inputs(inputs)
        counted = None if empty else _counted_shapes(known, given, sequences)
        overflows = notes.overflow_notes(model)  # before the values of large weights are dropped
        read = onnx.read_graph(model, counted)
        quantized = notes.quantized_onnx(read.nodes)
        report = ModelReport(
            format="onnx",
            path=str(path),
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            inputs=inputs,
            outputs=outputs,
            operators=graph.count_operators(read.nodes),
            parameters=graph.count_parameters(read.nodes, ONNX),
            mult_adds=None,
            counted_shapes=counted or (),
            quantized_operators=len(quantized),
            metadata=metadata,
            notes=(
                *notes.unranked_inputs(model.graph),
                *notes.onnx_notes(read.nodes),
                *overflows,
            ),
            obstacles=obstacles + empty + notes.obstacles(path, read.nodes, notes.ONNX_BROUGHT),
        )
        if counted is not None:
            report = _counted(report, read.nodes, quantized, read.input_values, ONNX)
        elif not empty:
            report = _uncounted(report)
        return replace(report, notes=read.notes + report.notes)


def _uncounted(report: ModelReport) -> ModelReport:
    return replace(report, notes=(notes.UNCOUNTED, *report.notes))


def _counted(
    report: ModelReport,
    nodes: Sequence[Node],
    quantized: Sequence[Node],
    inputs: Sequence[graph.Value],
    dialect: graph.Dialect,
) -> ModelReport:
    """The report with the mult-adds of one batch element, and what they leave out."""
    batch = graph.batch_extent(inputs)
    mult_adds, left_out = graph.count_mult_adds(nodes, dialect)
    return replace(
        report,
        mult_adds=mult_adds // batch,
        quantized_mult_adds=graph.count_mult_adds(quantized, dialect)[0] // batch,
        notes=left_out + report.notes,
    )


def _counted_shapes(
    inputs: Sequence[TensorSpec],
    shapes: Mapping[str, Shape],
    sequences: Collection[str] = (),
    *,
    resizable: bool = False,
) -> tuple[Shape, ...] | None:
    """Shape of each input to count for, an open batch as 1; None where one is not known.

    Args:
        inputs: The inputs as the file states them, -1 for an open extent.
        shapes: The shapes that the user gives, by name.
        sequences: The names of inputs whose first extent is no batch.
        resizable: Whether a first extent of 1 can be another batch.

    Raises:
        UsageError: A shape does not fit.
    """
    given = given_shapes(inputs, shapes, sequences, resizable=resizable)
    if still_open(inputs, given, sequences):
        return None
    return tuple(
        given.get(spec.name, tuple(1 if extent < 0 else extent for extent in spec.shape))
        for spec in inputs
    )


def _resized_tensors(path: Path, shapes: Sequence[Shape]) -> dict[str, Shape]:
    """Shapes of the main graph's tensors, by key, for inputs of these shapes.

    Only the kernels know how a shape goes through the graph, so the interpreter is asked.

    Raises:
        EngineUnavailable: ai-edge-litert is not installed.
        ModelLoadError: The model does not take inputs of these shapes.
    """
    try:
        from ai_edge_litert import interpreter as module
    except ImportError as error:
        raise EngineUnavailable(
            "mult-adds for other shapes need an interpreter: ai-edge-litert is not installed",
            hint="Install it: pip install ai-edge-litert",
        ) from error
    try:
        loaded = module.Interpreter(
            model_path=str(path),
            experimental_op_resolver_type=module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        for detail, shape in zip(loaded.get_input_details(), shapes, strict=True):
            loaded.resize_tensor_input(detail["index"], shape)
        loaded.allocate_tensors()
        details = loaded.get_tensor_details()
    except (RuntimeError, ValueError, TypeError) as error:
        raise refusal(
            path, "ai-edge-litert with that --input-shape", error, otherwise="Name another shape."
        ) from error
    return {f"0:{item['index']}": tuple(int(n) for n in item["shape"]) for item in details}


def _resized(read: TfliteGraph, shapes: Mapping[str, Shape]) -> TfliteGraph:
    """The graph with those shapes in place of the file's, by the tensors' keys."""

    def value(item: graph.Value) -> graph.Value:
        known = item.stored is None and item.key in shapes
        return replace(item, shape=shapes[item.key]) if known else item

    return replace(
        read,
        nodes=tuple(
            replace(
                node,
                inputs=tuple(item and value(item) for item in node.inputs),
                outputs=tuple(map(value, node.outputs)),
            )
            for node in read.nodes
        ),
        input_values=tuple(map(value, read.input_values)),
    )
