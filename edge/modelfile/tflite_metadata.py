"""TFLite Model Metadata: labels, normalization and our preprocessing contract inside the model.

Any reader of the standard (MediaPipe Tasks, TensorFlow Lite Task Library, Android Studio) finds
what it needs in the ``.tflite`` alone: a flatbuffer in the model buffer that ``Model.metadata``
names ``TFLITE_METADATA``, and the files it refers to in a zip archive behind the model.
Source: https://ai.google.dev/edge/litert/conversion/tensorflow/metadata.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from edge.errors import ConversionError, ModelLoadError
from edge.modelfile import tflite, tflite_metadata_schema
from edge.modelfile.corruption import READ_ERRORS, damage
from edge.modelfile.metadata import (
    ModelDescription,
    ModelMetadata,
    check_tensors,
)
from edge.modelfile.tflite_metadata_schema import ClassifierMetadata
from edge.runtime import checked
from edge.runtime.contract import canonical_json

LABELS_FILE: Final = "labels.txt"
MAX_FILE: Final = 8 << 20  # bytes of an associated file that is read
PREPROCESSING_FILE: Final = "edge_preprocessing.json"
OUTPUT_FILE: Final = "edge_output.json"  # where the best of the values is not the answer
DECODER_FILE: Final = "edge_decoder.json"  # where the model is no classifier
_FILES: Final = {  # of edge's own; the file of labels stands in the metadata of the output
    PREPROCESSING_FILE: "Image file to tensor, as the edge project does.",
    OUTPUT_FILE: "Values to answer, as the edge project does.",
    DECODER_FILE: "Output tensors to answer, as the edge project does.",
}
_LABELS: Final = "Names of the classes or keypoints, one a line."

_METADATA_NAME: Final = "TFLITE_METADATA"


def embed(content: bytes, description: ModelDescription) -> bytes:
    """Write the metadata of an image model into it, in place of any it had.

    Equal arguments give equal bytes, and weights and operators stay as they are.

    Args:
        content: A ``.tflite`` file: one image tensor in; one tensor (batch, class) out, or with a
            decoder any number of any shape.
        description: What to write.

    Returns:
        The ``.tflite`` file with metadata, which zip readers take for a zip archive.

    Raises:
        ConversionError: The file is no such TFLite model, there are not as many labels as
            classes, a label is not one line of text, or mean and std are no scaling.
    """
    description.check_scaling()
    labels = _encode_labels(description.labels)
    model = tflite.unpacked(content)
    input_type = _check_model(model, description)
    low, high = _input_range(input_type, description)
    files = _associated_files(description, labels)
    # No tensor axis of a detector is one label an index: its labels are the whole model's.
    of_axis = bool(description.labels) and description.decoder is None
    described = _FILES if of_axis else {LABELS_FILE: _LABELS, **_FILES}
    stated = ClassifierMetadata(
        name=description.name,
        description=description.description,
        mean=description.means,
        std=description.stds,
        color_order=description.preprocessing.color_order,
        minimum=low,
        maximum=high,
        label_file=LABELS_FILE if of_axis else None,
        associated_files=tuple((name, described[name]) for name in files if name in described),
        outputs=None if description.decoder is None else len(model.subgraphs[0].outputs),
    )
    _set_metadata(model, tflite_metadata_schema.encode(stated))
    return _append_archive(tflite.packed(model), files)


def _associated_files(description: ModelDescription, labels: bytes) -> dict[str, bytes]:
    """The content of each associated file by its name, in their order in the archive."""
    files = {LABELS_FILE: labels} if description.labels else {}
    files[PREPROCESSING_FILE] = canonical_json(description.preprocessing.to_json()).encode()
    if not description.output.plain:
        files[OUTPUT_FILE] = canonical_json(description.output.to_json()).encode()
    if description.decoder is not None:
        files[DECODER_FILE] = canonical_json(description.decoder.to_json()).encode()
    return files


def read(content: bytes) -> ModelMetadata | None:
    """Read the metadata of a model, of this project or of another writer.

    Args:
        content: A ``.tflite`` file.

    Returns:
        None where the model has no metadata.

    Raises:
        ModelLoadError: The file is not TFLite, or its metadata are damaged.
    """
    packed = _metadata_content(content)
    if packed is None:
        return None
    stated = tflite_metadata_schema.decode(packed)
    ours = (PREPROCESSING_FILE, OUTPUT_FILE, DECODER_FILE)
    whole = [name for name, _ in stated.associated_files if name == LABELS_FILE]
    label_file = stated.label_file or next(iter(whole), None)
    files = _read_archive(content, [name for name in (label_file, *ours) if name is not None])
    labels: tuple[str, ...] = ()
    if label_file is not None:
        labels = _decode_labels(label_file, files)
    contract, output, decoder = (_json(name, files) for name in ours)
    return ModelMetadata(
        name=stated.name,
        description=stated.description,
        labels=labels,
        mean=_common(stated.mean),
        std=_common(stated.std),
        edge_preprocessing=contract,
        edge_output=output,
        edge_decoder=decoder,
        channel_mean=stated.mean,
        channel_std=stated.std,
    )


def _json(name: str, files: Mapping[str, bytes]) -> Any:
    """The content of an associated file; None where the model has none of that name."""
    try:
        return checked.parse_json(files[name], "the file") if name in files else None
    except checked.Malformed as error:
        raise ModelLoadError(f"{name} in the model is not JSON: {error}") from error


def _check_model(model: Any, description: ModelDescription) -> int:
    """The TensorType of the image tensor, once the tensors are those that are described.

    A model that gives an embedding, of any length, has 0 classes.
    """
    graph = model.subgraphs[0]
    check_tensors(len(graph.inputs), len(graph.outputs), description.decoder)
    shape = graph.tensors[graph.outputs[0]].shape
    classes = len(description.labels) if description.decoder is None else 0
    if classes and (shape is None or len(shape) == 0 or int(shape[-1]) != classes):
        stated = "no" if shape is None or len(shape) == 0 else int(shape[-1])
        raise ConversionError(f"{classes} labels for a model with {stated} classes")
    return int(graph.tensors[graph.inputs[0]].type)


def _input_range(input_type: int, description: ModelDescription) -> tuple[float, float]:
    """Least and greatest value of the image tensor."""
    types = tflite.load_schema().TensorType
    if input_type == types.UINT8:
        return 0.0, 255.0
    if input_type == types.INT8:
        return -128.0, 127.0
    pairs = list(zip(description.means, description.stds, strict=True))
    return min((0.0 - mean) / std for mean, std in pairs), max(
        (255.0 - mean) / std for mean, std in pairs
    )


def _set_metadata(model: Any, content: bytes) -> None:
    schema = tflite.load_schema()
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(content, np.uint8)
    model.metadata = model.metadata or []
    for entry in model.metadata:
        if entry.name == _METADATA_NAME.encode():
            model.buffers[entry.buffer] = buffer
            return
    entry = schema.MetadataT()
    entry.name = _METADATA_NAME.encode()
    entry.buffer = len(model.buffers)
    model.buffers.append(buffer)
    model.metadata.append(entry)


def _metadata_content(content: bytes) -> bytes | None:
    if not tflite.starts_as_tflite(content):
        raise ModelLoadError(f"not a TFLite model: identifier {content[4:8]!r} is not b'TFL3'")
    try:
        return tflite.TfliteFile(content).metadata(_METADATA_NAME)
    except READ_ERRORS as error:
        raise ModelLoadError(f"the TFLite model cannot be read: {damage(error)}") from error


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
        raise ModelLoadError(f"{name!r} in the model is not UTF-8") from error
    return tuple(line.removesuffix("\r") for line in lines)


def _common(values: tuple[float, ...]) -> float | None:
    return values[0] if len(set(values)) == 1 else None
