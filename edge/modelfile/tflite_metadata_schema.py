"""The TFLite Model Metadata flatbuffer of an image classifier: encode and decode.

Source: ``metadata_schema.fbs``, schema version 1.5.0, of tflite-support and of MediaPipe
(``mediapipe/tasks/metadata``), which no installed package of ours ships as Python.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import flatbuffers
from flatbuffers import number_types
from flatbuffers.table import Table

from edge.errors import ModelLoadError
from edge.modelfile.corruption import damage
from edge.runtime.contract import ColorOrder

FILE_IDENTIFIER: Final = b"M001"

# Every field that is used here stands in schema 1.0.0, the oldest that a reader may know.
_MIN_PARSER_VERSION: Final = "1.0.0"

# The fields of each table in the order of metadata_schema.fbs, as far as they are used here: the
# position is the slot number, and a union takes two slots, its type before its value.
_SLOTS: Final[dict[str, tuple[str, ...]]] = {
    "ModelMetadata": (
        "name",
        "description",
        "version",
        "subgraph_metadata",
        "author",
        "license",
        "associated_files",
        "min_parser_version",
    ),
    "SubGraphMetadata": (
        "name",
        "description",
        "input_tensor_metadata",
        "output_tensor_metadata",
    ),
    "TensorMetadata": (
        "name",
        "description",
        "dimension_names",
        "content",
        "process_units",
        "stats",
        "associated_files",
    ),
    "Content": ("content_properties_type", "content_properties", "range"),
    "FeatureProperties": (),
    "ImageProperties": ("color_space", "default_size"),
    "ProcessUnit": ("options_type", "options"),
    "NormalizationOptions": ("mean", "std"),
    "Stats": ("max", "min"),
    "AssociatedFile": ("name", "description", "type", "locale", "version"),
}
_BYTE_FIELDS: Final = frozenset({"content_properties_type", "color_space", "options_type", "type"})

_COLOR_SPACES: Final = {  # the standard has none with opacity
    ColorOrder.RGB: 1,
    ColorOrder.GREY: 2,
    ColorOrder.RGBA: 0,
}
_CONTENT_FEATURE: Final = 1
_CONTENT_IMAGE: Final = 2
_OPTIONS_NORMALIZATION: Final = 1
_FILE_UNKNOWN: Final = 0
_FILE_TENSOR_AXIS_LABELS: Final = 2
_FILE_TENSOR_VALUE_LABELS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierMetadata:
    """What the metadata flatbuffer of an image classifier states.

    Attributes:
        name: The name of the model, for people.
        description: What the model does, for people.
        mean: Is subtracted from a pixel, one value or one per channel; empty if not stated.
        std: Divides the difference, as many values as ``mean``.
        color_order: The channels of the input; they are written and not read.
        minimum: The least value of the input tensor; it is written and not read.
        maximum: The greatest value of the input tensor; it is written and not read.
        label_file: The associated file with one class name a line; None if not stated.
        associated_files: The further files of the model, as (name, description).
        outputs: How many tensors a model gives that is no classifier; None for a classifier. It is
            written and not read.
    """

    name: str
    description: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    color_order: ColorOrder = ColorOrder.RGB
    minimum: float = 0.0
    maximum: float = 255.0
    label_file: str | None
    associated_files: tuple[tuple[str, str], ...] = ()
    outputs: int | None = None


def encode(metadata: ClassifierMetadata) -> bytes:
    """Write the metadata flatbuffer, with file identifier ``M001``."""
    build = _TableWriter()
    subgraph = build.table(
        "SubGraphMetadata",
        input_tensor_metadata=build.tables([_input_tensor(build, metadata)]),
        output_tensor_metadata=build.tables(_output_tensors(build, metadata)),
    )
    files = [
        build.table(
            "AssociatedFile",
            name=build.string(name),
            description=build.string(description),
            type=_FILE_UNKNOWN,
        )
        for name, description in metadata.associated_files
    ]
    root = build.table(
        "ModelMetadata",
        name=build.string(metadata.name),
        description=build.string(metadata.description),
        version=build.string("v1"),
        subgraph_metadata=build.tables([subgraph]),
        associated_files=build.tables(files),
        min_parser_version=build.string(_MIN_PARSER_VERSION),
    )
    return build.finish(root)


def decode(content: bytes) -> ClassifierMetadata:
    """Read a metadata flatbuffer, of this project or of another writer.

    Raises:
        ModelLoadError: The bytes are not a metadata flatbuffer.
    """
    if content[4:8] != FILE_IDENTIFIER:
        raise ModelLoadError(f"the TFLite metadata has identifier {content[4:8]!r}, not b'M001'")
    try:
        start = struct.unpack_from("<I", content)[0]
        root = _TableReader("ModelMetadata", Table(content, start))
        subgraph = root.first("subgraph_metadata", "SubGraphMetadata")
        image = subgraph and subgraph.first("input_tensor_metadata", "TensorMetadata")
        answers = subgraph.tables("output_tensor_metadata", "TensorMetadata") if subgraph else []
        scaling = _normalization(image) if image else None
        return ClassifierMetadata(
            name=root.string("name"),
            description=root.string("description"),
            mean=scaling.floats("mean") if scaling else (),
            std=scaling.floats("std") if scaling else (),
            # A detector's labels are those of its second output, the classes.
            label_file=next(filter(None, map(_label_file, answers)), None),
            associated_files=tuple(
                (file.string("name"), file.string("description"))
                for file in root.tables("associated_files", "AssociatedFile")
            ),
        )
    except (struct.error, IndexError, ValueError, TypeError) as error:
        raise ModelLoadError(f"the TFLite metadata cannot be read: {damage(error)}") from error


def _input_tensor(build: "_TableWriter", metadata: ClassifierMetadata) -> int:
    scaling = build.table(
        "NormalizationOptions", mean=build.floats(metadata.mean), std=build.floats(metadata.std)
    )
    unit = build.table("ProcessUnit", options_type=_OPTIONS_NORMALIZATION, options=scaling)
    image = build.table("ImageProperties", color_space=_COLOR_SPACES[metadata.color_order])
    return build.table(
        "TensorMetadata",
        name=build.string("image"),
        description=build.string(f"{metadata.color_order} picture to be classified."),
        content=build.table(
            "Content", content_properties_type=_CONTENT_IMAGE, content_properties=image
        ),
        process_units=build.tables([unit]),
        stats=build.table(
            "Stats", max=build.floats([metadata.maximum]), min=build.floats([metadata.minimum])
        ),
    )


def _output_tensors(build: "_TableWriter", metadata: ClassifierMetadata) -> list[int]:
    if metadata.outputs is None:
        return [_output_tensor(build, metadata)]
    return [
        build.table("TensorMetadata", name=build.string(f"output {number}"))
        for number in range(metadata.outputs)
    ]


def _output_tensor(build: "_TableWriter", metadata: ClassifierMetadata) -> int:
    files = []
    if metadata.label_file is not None:
        files.append(
            build.table(
                "AssociatedFile",
                name=build.string(metadata.label_file),
                description=build.string("Class names, one a line, in the order of the classes."),
                type=_FILE_TENSOR_AXIS_LABELS,
            )
        )
    return build.table(
        "TensorMetadata",
        name=build.string("probability"),
        description=build.string("Probability of each class, 0 to 1."),
        content=build.table(
            "Content",
            content_properties_type=_CONTENT_FEATURE,
            content_properties=build.table("FeatureProperties"),
        ),
        stats=build.table("Stats", max=build.floats([1.0]), min=build.floats([0.0])),
        associated_files=build.tables(files),
    )


def _normalization(tensor: "_TableReader") -> "_TableReader | None":
    for unit in tensor.tables("process_units", "ProcessUnit"):
        if unit.byte("options_type") == _OPTIONS_NORMALIZATION:
            return unit.table("options", "NormalizationOptions")
    return None


def _label_file(tensor: "_TableReader") -> str | None:
    for file in tensor.tables("associated_files", "AssociatedFile"):
        if file.byte("type") in (_FILE_TENSOR_AXIS_LABELS, _FILE_TENSOR_VALUE_LABELS):
            return file.string("name")
    return None


class _TableWriter:
    """A flatbuffer under construction; every method but ``finish`` returns an offset in it."""

    def __init__(self) -> None:
        self._builder: Any = flatbuffers.Builder(1024)

    def string(self, text: str) -> int:
        return int(self._builder.CreateString(text))

    def floats(self, values: Sequence[float]) -> int:
        self._builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self._builder.PrependFloat32(value)
        return int(self._builder.EndVector())

    def tables(self, offsets: Sequence[int]) -> int:
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return int(self._builder.EndVector())

    def table(self, kind: str, **fields: int) -> int:
        """Write a table whose fields are enum values, or offsets of strings, vectors, tables."""
        slots = _SLOTS[kind]
        self._builder.StartObject(len(slots))
        for name, value in fields.items():
            if name in _BYTE_FIELDS:
                self._builder.PrependInt8Slot(slots.index(name), value, 0)
            else:
                self._builder.PrependUOffsetTRelativeSlot(slots.index(name), value, 0)
        return int(self._builder.EndObject())

    def finish(self, root: int) -> bytes:
        self._builder.Finish(root, FILE_IDENTIFIER)
        return bytes(self._builder.Output())


class _TableReader:
    """One table of a finished flatbuffer; absent fields read as empty."""

    def __init__(self, kind: str, table: Any) -> None:
        self._slots = _SLOTS[kind]
        self._table = table

    def _offset(self, field: str) -> int:
        # A vtable begins with two uint16, its own size and the table's; then one per slot.
        return int(self._table.Offset(4 + 2 * self._slots.index(field)))

    def string(self, field: str) -> str:
        offset = self._offset(field)
        return self._table.String(offset + self._table.Pos).decode() if offset else ""

    def byte(self, field: str) -> int:
        offset = self._offset(field)
        if not offset:
            return 0
        return int(self._table.Get(number_types.Int8Flags, offset + self._table.Pos))

    def floats(self, field: str) -> tuple[float, ...]:
        offset = self._offset(field)
        if not offset:
            return ()
        start, count = self._table.Vector(offset), self._table.VectorLen(offset)
        return struct.unpack_from(f"<{count}f", self._table.Bytes, start)

    def table(self, field: str, kind: str) -> "_TableReader | None":
        offset = self._offset(field)
        if not offset:
            return None
        at = self._table.Indirect(offset + self._table.Pos)
        return _TableReader(kind, Table(self._table.Bytes, at))

    def tables(self, field: str, kind: str) -> list["_TableReader"]:
        offset = self._offset(field)
        if not offset:
            return []
        start, count = self._table.Vector(offset), self._table.VectorLen(offset)
        at = [self._table.Indirect(start + 4 * index) for index in range(count)]
        return [_TableReader(kind, Table(self._table.Bytes, position)) for position in at]

    def first(self, field: str, kind: str) -> "_TableReader | None":
        return next(iter(self.tables(field, kind)), None)
