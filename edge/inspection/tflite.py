"""Inspect a TFLite file through the tables of its flatbuffer; weights are not copied."""

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edge.errors import ModelLoadError
from edge.inspection.corruption import corruption
from edge.inspection.flatbuffer import IDENTIFIER, Reads, load_schema
from edge.inspection.graph import (
    UNCOUNTED,
    Node,
    batch_extent,
    count_mult_adds,
    count_operators,
    count_parameters,
    counted_shapes,
    obstacles,
)
from edge.inspection.report import CONVERSIONS, ModelReport
from edge.inspection.tflite_graph import TfliteGraphReader, resized, resized_tensors
from edge.inspection.tflite_operators import TFLITE
from edge.runtime import checked

_HYBRID: Final = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL"})
# Custom operators that the interpreters register themselves.
_BROUGHT: Final = ("TFLite_Detection_PostProcess", "Mfcc", "AudioSpectrogram", "NumericVerify")
_LONGEST_TEXT_BYTES: Final = 65536


def inspect_tflite(path: Path, shapes: Mapping[str, tuple[int, ...]] | None = None) -> ModelReport:
    """Read what a TFLite file holds.

    Args:
        path: The file.
        shapes: See ``inspect_model``.

    Raises:
        UsageError: A shape does not fit.
        ModelLoadError: Not a TFLite file, or truncated or corrupt.
        OSError: The file cannot be read.
    """
    content = path.read_bytes()
    if content[4:8] != IDENTIFIER:
        raise ModelLoadError(
            f"{path} is not a TFLite model: bytes 4 to 7 are {content[4:8]!r}, not {IDENTIFIER!r}"
        )
    schema = load_schema()
    with corruption(path, "TFLite"):
        reads = Reads(len(content))
        model = schema.Model.GetRootAs(content, 0)
        graph = TfliteGraphReader(schema, model, reads, len(content)).read()
        metadata = _metadata(model, reads, content)
        counted = counted_shapes(graph.inputs, shapes or {}, resizable=True)
        if counted and counted != tuple(value.shape for value in graph.input_values):
            graph = resized(graph, resized_tensors(path, counted))
        mult_adds, notes = count_mult_adds(graph.nodes, TFLITE)
        quantized = [node for node in graph.nodes if _is_quantized(node)]
        batch = batch_extent(graph.input_values)
        return ModelReport(
            format="tflite",
            path=str(path),
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            inputs=graph.inputs,
            outputs=graph.outputs,
            operators=count_operators(graph.nodes),
            parameters=count_parameters(graph.nodes, TFLITE),
            mult_adds=mult_adds // batch if counted else None,
            counted_shapes=counted or (),
            quantized_operators=len(quantized),
            quantized_mult_adds=count_mult_adds(quantized, TFLITE)[0] // batch if counted else None,
            metadata=metadata,
            notes=(notes if counted else UNCOUNTED)
            + _graph_notes(graph.nodes)
            + _metadata_notes(metadata),
            obstacles=obstacles(path, graph.nodes, _BROUGHT),
        )


def _is_quantized(node: Node) -> bool:
    """Whether its activations go in as quantized integers and none comes out as a real number."""
    activations = [value for value in node.inputs if value is not None and value.stored is None]
    return (
        node.operator not in CONVERSIONS
        and any(value.quantized for value in activations)
        and all(value.quantized or not value.real for value in (*activations, *node.outputs))
    )


def _graph_notes(nodes: Sequence[Node]) -> tuple[str, ...]:
    notes = []
    hybrid = sum(_is_hybrid(node) for node in nodes)
    if hybrid:
        notes.append(
            f"{hybrid} operators have integer weights but real activations (dynamic range); "
            "they are not among the quantized operators"
        )
    variables = sum(node.operator == "READ_VARIABLE" for node in nodes)
    if variables:
        notes.append(f"{variables} variables are read at run time; parameters leave them out")
    if any(node.operator in ("CONV_2D", "DEPTHWISE_CONV_2D") for node in nodes):
        notes.append(
            "parameters are those of the file: batch normalization that the converter folded "
            "into convolutions is not counted apart"
        )
    return tuple(notes)


def _is_hybrid(node: Node) -> bool:
    if node.operator not in _HYBRID or len(node.inputs) < 2:
        return False
    activation, weights = node.inputs[:2]
    return (
        activation is not None
        and weights is not None
        and not activation.quantized
        and weights.quantized
    )


def _metadata(model: Any, reads: Reads, content: bytes) -> dict[str, str | list[str]]:
    result: dict[str, str | list[str]] = {"schema_version": str(model.Version())}
    description = reads.text(model.Description())
    if description:
        result["description"] = description
    signatures = reads.tables(model.SignatureDefsLength(), model.SignatureDefs)
    if signatures:
        result["signatures"] = [reads.text(table.SignatureKey()) for table in signatures]
    for entry in reads.tables(model.MetadataLength(), model.Metadata):
        if entry.Buffer() >= model.BuffersLength():
            raise ValueError(f"metadata buffer {entry.Buffer()} of {model.BuffersLength()}")
        data = model.Buffers(entry.Buffer()).DataAsNumpy()
        raw = b"" if isinstance(data, int) else data[: _LONGEST_TEXT_BYTES + 1].tobytes()
        reads.spend(len(raw))
        size = 0 if isinstance(data, int) else data.nbytes
        result[reads.text(entry.Name())] = _text_or_size(raw, size)
    files = _associated_files(content)
    if files:
        result["associated_files"] = files
    return result


def _metadata_notes(metadata: Mapping[str, object]) -> tuple[str, ...]:
    """The archive stands at the end of the file, where a cut leaves a model that still runs."""
    if "TFLITE_METADATA" in metadata and "associated_files" not in metadata:
        return ("TFLITE_METADATA without associated files: the end of the file may be cut off",)
    return ()


def _text_or_size(raw: bytes, size_bytes: int) -> str:
    """UTF-8 text as it is (padding zeros cut off); anything else as its size."""
    try:
        text = raw.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        text = "\0"
    readable = all(character.isprintable() or character.isspace() for character in text)
    return text if readable and size_bytes <= _LONGEST_TEXT_BYTES else f"{size_bytes} bytes"


def _associated_files(content: bytes) -> list[str]:
    """Names in the zip archive that TFLite Metadata appends to a model; empty without one."""
    stream = io.BytesIO(content)
    if not zipfile.is_zipfile(stream):
        return []
    with checked.opened_zip(content, "the appended archive of associated files") as archive:
        return archive.namelist()
