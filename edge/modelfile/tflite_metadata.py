"""TFLite Model Metadata: labels, normalization and our preprocessing contract inside the model.

Any reader of the standard (MediaPipe Tasks, TensorFlow Lite Task Library, Android Studio) finds
what it needs in the ``.tflite`` alone: a flatbuffer in the model buffer that ``Model.metadata``
names ``TFLITE_METADATA``, and the files it refers to in a zip archive behind the model.
Source: https://ai.google.dev/edge/litert/conversion/tensorflow/metadata.
"""

import io
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from edge.errors import ConversionError, ModelLoadError
from edge.modelfile import tflite, tflite_metadata_schema
from edge.modelfile.corruption import READ_ERRORS
from edge.modelfile.tflite_metadata_schema import ClassifierMetadata
from edge.runtime import checked
from edge.runtime.output import PROBABILITIES, OutputSpec
from edge.runtime.spec import Preprocessing, canonical_json

LABELS_FILE: Final = "labels.txt"
MAX_FILE: Final = 8 << 20  # bytes of an associated file that is read
PREPROCESSING_FILE: Final = "edge_preprocessing.json"
OUTPUT_FILE: Final = "edge_output.json"  # where the best of the values is not the answer

_METADATA_NAME: Final = "TFLITE_METADATA"


@dataclass(frozen=True, slots=True, kw_only=True)
class TFLiteMetadata:
    """What a TFLite model says about itself.

    Attributes:
        name: Of the model, for people.
        description: Of the model, for people.
        labels: Class names; the index is the class. Empty if the file states none.
        mean: The model expects (pixel - mean) / std, pixel in 0..255; None if the file states
            none, or not the same one for every channel.
        std: See ``mean``.
        edge_preprocessing: ``Preprocessing.to_json()``; None in a file of another writer.
        edge_output: ``OutputSpec.to_json()``; None where the best of the values is the answer,
            and in a file of another writer.
    """

    name: str
    description: str
    labels: tuple[str, ...]
    mean: float | None
    std: float | None
    edge_preprocessing: dict[str, Any] | None
    edge_output: dict[str, Any] | None = None


def embed(
    model: bytes,
    *,
    name: str,
    description: str,
    labels: Sequence[str],
    preprocessing: Preprocessing,
    mean: float,
    std: float,
    output: OutputSpec = PROBABILITIES,
) -> bytes:
    """Write the metadata of an image classifier into a model, in place of any it had.

    The same arguments give the same bytes, and weights and operators stay as they are.

    Args:
        model: Content of a ``.tflite`` file: one image tensor in, one tensor (batch, class) out.
        name: Of the model, for people.
        description: Of the model, for people.
        labels: Class names; the index is the class. Empty for a model that gives an embedding.
        preprocessing: The contract, kept as ``edge_preprocessing.json``.
        mean: The model expects (pixel - mean) / std, with pixel in 0..255. Readers ignore both
            where the input is uint8: there the pixel is the quantized input itself.
        std: See ``mean``; above 0.
        output: What the model's values mean, kept as ``edge_output.json`` where the best of them
            is not the answer.

    Returns:
        Content of the ``.tflite`` file with metadata, a zip archive to zip readers.

    Raises:
        ConversionError: Not a TFLite classifier, not as many labels as classes, a
            label is not one line of text, or mean and std are no scaling.
    """
    if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
        raise ConversionError(f"normalization has mean {mean} and std {std}; std is above 0")
    label_lines = _encode_labels(labels)
    unpacked = tflite.unpacked(model)
    input_type = _check_classifier(unpacked, classes=len(labels))
    low, high = _input_range(input_type, mean, std)
    described = ClassifierMetadata(
        name=name,
        description=description,
        mean=(mean,),
        std=(std,),
        color_order=preprocessing.color_order,
        minimum=low,
        maximum=high,
        label_file=LABELS_FILE if labels else None,
        associated_files=(
            (PREPROCESSING_FILE, "Image file to tensor, as the edge project does."),
            *[(OUTPUT_FILE, "Values to answer, as the edge project does.")] * (not output.plain),
        ),
    )
    _set_metadata(unpacked, tflite_metadata_schema.encode(described))
    files = {PREPROCESSING_FILE: canonical_json(preprocessing.to_json()).encode()}
    if not output.plain:
        files[OUTPUT_FILE] = canonical_json(output.to_json()).encode()
    if labels:
        files = {LABELS_FILE: label_lines, **files}
    return _append_archive(tflite.packed(unpacked), files)


def read(model: bytes) -> TFLiteMetadata | None:
    """The metadata of a model, of this project or of another writer.

    Args:
        model: Content of a ``.tflite`` file.

    Returns:
        None where the model has no metadata.

    Raises:
        ModelLoadError: Not a TFLite model, or metadata that cannot be read.
    """
    content = _metadata_content(model)
    if content is None:
        return None
    described = tflite_metadata_schema.decode(content)
    wanted = (described.label_file, PREPROCESSING_FILE, OUTPUT_FILE)
    files = _read_archive(model, [name for name in wanted if name is not None])
    labels: tuple[str, ...] = ()
    if described.label_file is not None:
        labels = _decode_labels(described.label_file, files)
    contract, output = (_json(name, files) for name in (PREPROCESSING_FILE, OUTPUT_FILE))
    return TFLiteMetadata(
        name=described.name,
        description=described.description,
        labels=labels,
        mean=_common(described.mean),
        std=_common(described.std),
        edge_preprocessing=contract,
        edge_output=output,
    )


def _json(name: str, files: Mapping[str, bytes]) -> Any:
    """The content of an associated file; None where the model has none of that name."""
    try:
        return checked.parse_json(files[name], "the file") if name in files else None
    except checked.Malformed as error:
        raise ModelLoadError(f"{name} in the model is not JSON: {error}") from error


def _check_classifier(unpacked: Any, *, classes: int) -> int:
    """The TensorType of the image tensor, once the tensors are those of a classifier.

    0 classes: of a model that gives an embedding, of any length.
    """
    graph = unpacked.subgraphs[0]
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ConversionError(
            f"the model has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; "
            "a classifier has one of each"
        )
    shape = graph.tensors[graph.outputs[0]].shape
    if classes and (shape is None or len(shape) == 0 or int(shape[-1]) != classes):
        found = "no" if shape is None or len(shape) == 0 else int(shape[-1])
        raise ConversionError(f"{classes} labels for a model with {found} classes")
    return int(graph.tensors[graph.inputs[0]].type)


def _input_range(input_type: int, mean: float, std: float) -> tuple[float, float]:
    """Least and greatest value of the image tensor."""
    schema = tflite.load_schema()
    if input_type == schema.TensorType.UINT8:
        return 0.0, 255.0
    if input_type == schema.TensorType.INT8:
        return -128.0, 127.0
    return (0.0 - mean) / std, (255.0 - mean) / std


def _set_metadata(unpacked: Any, content: bytes) -> None:
    schema = tflite.load_schema()
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(content, np.uint8)
    unpacked.metadata = unpacked.metadata or []
    for entry in unpacked.metadata:
        if entry.name == _METADATA_NAME.encode():
            unpacked.buffers[entry.buffer] = buffer
            return
    entry = schema.MetadataT()
    entry.name = _METADATA_NAME.encode()
    entry.buffer = len(unpacked.buffers)
    unpacked.buffers.append(buffer)
    unpacked.metadata.append(entry)


def _metadata_content(model: bytes) -> bytes | None:
    if not tflite.starts_as_tflite(model):
        raise ModelLoadError(f"not a TFLite model: identifier {model[4:8]!r} is not b'TFL3'")
    try:
        return tflite.TfliteFile(model).metadata(_METADATA_NAME)
    except READ_ERRORS as error:
        raise ModelLoadError(f"the TFLite model cannot be read: {error}") from error


def _append_archive(model: bytes, files: Mapping[str, bytes]) -> bytes:
    """A zip archive behind the model: stored, since readers map it, and without dates."""
    stream = io.BytesIO(model)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.create_system = 3  # Unix, so that the next line counts and every host agrees
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)
    return stream.getvalue()


def _read_archive(model: bytes, wanted: Sequence[str]) -> dict[str, bytes]:
    """The content of those associated files that are there; no other is inflated."""
    if not zipfile.is_zipfile(io.BytesIO(model)):
        return {}  # metadata without associated files
    what = "the archive of associated files"
    try:
        with checked.opened_zip(model, what) as archive:
            there = set(archive.namelist()).intersection(wanted)
            return {
                name: checked.read_member(archive, name, what, max_bytes=MAX_FILE) for name in there
            }
    except checked.Malformed as error:
        raise ModelLoadError(f"the TFLite metadata cannot be read: {error}") from error


def _encode_labels(labels: Sequence[str]) -> bytes:
    """``labels.txt``: one label a line; a line break or a blank label would shift the classes."""
    for index, label in enumerate(labels):
        if label.splitlines() != [label] or not label.strip():
            raise ConversionError(
                f"label {index} is {label!r}; a label is one line of text",
                hint="Rename the folder of that class.",
            )
        try:
            label.encode()
        except UnicodeEncodeError as error:
            raise ConversionError(
                f"label {index} is {label!r}, which is not Unicode text",
                hint="Rename the folder of that class.",
            ) from error
    return "".join(f"{label}\n" for label in labels).encode()


def _decode_labels(name: str, files: Mapping[str, bytes]) -> tuple[str, ...]:
    if name not in files:
        raise ModelLoadError(f"the TFLite metadata names {name!r}, which the file does not hold")
    try:
        lines = files[name].decode().removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ModelLoadError(f"{name!r} in the model is not UTF-8: {error}") from error
    return tuple(line.removesuffix("\r") for line in lines)


def _common(values: tuple[float, ...]) -> float | None:
    return values[0] if len(set(values)) == 1 else None
