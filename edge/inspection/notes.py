"""What a report says in sentences: what its figures leave out, and what will keep a file from use.

The figure of quantized operators needs the same look at each operator, so it stands here as well.
"""

import io
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edge.modelfile.graph import CONVERSIONS, Node, producers_of, stored_origin
from edge.modelfile.mult_adds import ONNX
from edge.modelfile.onnx import checked_text, loaded, real_inputs
from edge.modelfile.pairs import overflowing
from edge.runtime import checked
from edge.runtime.refusal import (
    CUT_OFF,
    FLOAT16,
    Cause,
    custom_operator,
    element_type,
    flex_operator,
    lost_data,
    missing_kernel,
    newer,
)
from edge.runtime.spec import TensorSpec

UNCOUNTED: Final = "mult-adds are not counted: the file leaves the shape of an input open"
# Custom operators that the TFLite interpreters register themselves.
TFLITE_BROUGHT: Final = (
    "TFLite_Detection_PostProcess",
    "Mfcc",
    "AudioSpectrogram",
    "NumericVerify",
)
ONNX_BROUGHT: Final = ("com.microsoft",)  # domains of operators that ONNX Runtime brings
_HYBRID: Final = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL"})
_BIAS: Final = 2  # input of Conv, ConvTranspose and Gemm that may stay real


def obstacles(path: Path, nodes: Iterable[Node], known: Collection[str]) -> tuple[str, ...]:
    """Return what will keep interpreters from running the file, each with the way out.

    Args:
        path: The file.
        nodes: The nodes of its graphs.
        known: Custom operators, or domains of such, that the interpreters bring all the same.
    """
    causes = [
        flex_operator(name) if name.startswith("Flex") else custom_operator(name)
        for name in dict.fromkeys(node.operator for node in nodes if node.custom)
        if name not in known and name.rpartition(".")[0] not in known
    ]
    dtype = element_type(path)
    if dtype not in ("", FLOAT16):
        causes.append(missing_kernel("kernels of most operators", dtype))
    return _told(causes)


def _told(causes: Iterable[Cause]) -> tuple[str, ...]:
    return tuple(f"the file {cause.says}. {cause.hint}" for cause in causes)


# ---- TFLite


def is_quantized(node: Node) -> bool:
    """Whether its activations go in as quantized integers and none comes out as a real number."""
    activations = [value for value in node.inputs if value is not None and value.stored is None]
    return (
        node.operator not in CONVERSIONS
        and any(value.quantized for value in activations)
        and all(value.quantized or not value.real for value in (*activations, *node.outputs))
    )


def tflite_notes(nodes: Sequence[Node], metadata: Mapping[str, object]) -> tuple[str, ...]:
    """Return what the figures of a TFLite file leave out, and whether its end seems cut off."""
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
    # The archive stands at the end of the file, where a cut leaves a model that still runs.
    if "TFLITE_METADATA" in metadata and "associated_files" not in metadata:
        notes.append("TFLITE_METADATA without associated files: the end of the file may be cut off")
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


def associated_files(content: bytes) -> dict[str, list[str]]:
    """Return the names in the zip archive that TFLite Metadata appends; empty without one."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return {}
    with checked.opened_zip(content, "the appended archive of associated files") as archive:
        names = archive.namelist()
    return {"associated_files": names} if names else {}


# ---- ONNX


def quantized_onnx(nodes: Sequence[Node]) -> list[Node]:
    """Return the nodes that a runtime computes on integers.

    These are integer operators, and operators of which every activation and every weight comes
    from DequantizeLinear (the QDQ form; a bias may stay real).
    """
    producers = producers_of(nodes)
    quantized = []
    for node in nodes:
        name = node.operator.rpartition(".")[2]
        if name.startswith("QLinear") or name.endswith("Integer"):
            quantized.append(node)
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
                quantized.append(node)
    return quantized


def onnx_notes(nodes: Sequence[Node]) -> tuple[str, ...]:
    """Return what the figures of an ONNX file leave out."""
    names = {node.operator for node in nodes}
    if names & {"Conv", "QLinearConv", "ConvInteger"} and "BatchNormalization" not in names:
        return (
            "parameters are those of the file: batch normalization that the exporter folded "
            "into convolutions is not counted apart",
        )
    return ()


def overflow_notes(model: Any) -> tuple[str, ...]:
    """Return a note where weights overflow on some processors; see ``edge.modelfile.pairs``."""
    found, layers = overflowing(model)
    if not found:
        return ()
    return (
        f"{found} of its {layers} layers of int8 weights overflow on x86 processors without VNNI "
        "(AMD before Zen 4, most Intel before Ice Lake): ONNX Runtime cuts sums off there, and its "
        "answers are others than on Arm. Quantize with 7-bit weights (reduce_range), or let edge "
        "quantize the float file",
    )


def overflow_notes_of(path: Path) -> tuple[str, ...]:
    """Return the same of a file that an engine has loaded; nothing where onnx is not installed."""
    if path.suffix != ".onnx":
        return ()
    try:
        return overflow_notes(loaded(path))
    except ImportError:
        return ()


def unranked_inputs(graph: Any) -> tuple[str, ...]:
    """Return a note for each input without a stated shape, which is not that of a scalar."""
    return tuple(
        f"the file does not state how many extents its input {checked_text(value.name)} has: it "
        "is shown as [], as a scalar is"
        for value in real_inputs(graph)
        if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape")
    )


def empty_inputs(inputs: Sequence[TensorSpec]) -> tuple[str, ...]:
    """Return an obstacle for each input of which the file fixes an extent at 0."""
    return tuple(
        f"the file fixes an extent of its input {spec.name} at 0: it takes no values. Export it "
        "again with that extent open, or at what it is in use"
        for spec in inputs
        if 0 in spec.shape
    )


def newer_versions(model: Any) -> tuple[str, ...]:
    """Return an obstacle where the file is newer than the installed onnx.

    No interpreter of the same age will know such a file.
    """
    import onnx

    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    versions = (
        ("opset", opset, onnx.defs.onnx_opset_version()),
        ("IR version", model.ir_version, onnx.IR_VERSION),
    )
    return _told(
        newer(f"{name} {stated}", f", and {last} is the last that onnx knows here", "onnx")
        for name, stated, last in versions
        if stated > last
    )


def lost_weights(path: Path, graph: Any) -> tuple[str, ...]:
    """Return an obstacle for each file of weights that is not there, or not all of it."""
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
    return _told(causes)
