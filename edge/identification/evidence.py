"""What a model file shows of itself: tensors, operators, metadata and a trial answer."""

import ast
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import InferenceError, ModelLoadError, UsageError, missing_package
from edge.evaluation.output import GraphEnd
from edge.identification.model import StatedModel
from edge.modelfile.contents import embedded_metadata, file_end, integers_inside
from edge.modelfile.corruption import corruption
from edge.modelfile.metadata import ModelMetadata
from edge.runtime import checked
from edge.runtime.contract import MAX_SIDE, ColorOrder, TensorLayout
from edge.runtime.files import sha256_file
from edge.runtime.printable import one_line
from edge.runtime.session import Session, model_format, open_session
from edge.runtime.spec import TensorSpec

MOST_METADATA: Final = 8 << 20  # bytes of what a tool wrote into or behind a file
# Parsing takes some hundred times as much memory; a thousand names take 30 KB.
MOST_LITERAL: Final = 1 << 20
_CHANNELS: Final = {order.channels: order for order in ColorOrder}
_ULTRALYTICS_FILES: Final = ("metadata.json", "TFLITE_ULTRALYTICS_METADATA.json", "temp_meta.txt")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInput:
    """The image tensor of a model.

    Attributes:
        spec: As the model states it.
        layout: The order of its axes.
        height: Rows, pixels.
        width: Columns, pixels.
        color_order: Its channels.
    """

    spec: TensorSpec
    layout: TensorLayout
    height: int
    width: int
    color_order: ColorOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class ExporterNote:
    """What Ultralytics' exporter writes of a model.

    Attributes:
        task: ``detect``, ``segment``, ``classify``, ``pose`` or ``obb``.
        names: The class names in order.
        end_to_end: Whether the boxes come without overlap.
        size: (height, width) of the images that it was exported for; None where it does not say.
    """

    task: str
    names: tuple[str, ...]
    end_to_end: bool
    size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEvidence:
    """Everything that is asked of a file before anything is taken to be so.

    Attributes:
        path: The file.
        format: ``tflite`` or ``onnx``.
        sha256: The content hash, hex.
        image: The image input.
        outputs: The outputs, each with the extents that a trial answer had.
        trial: The raw outputs for one picture, in the order of ``outputs``: of noise, or a drawn
            one where the answer to noise holds nothing but zeros.
        detection_order: For files that end in ``TFLite_Detection_PostProcess``, the position among
            the outputs of its boxes, classes, scores and count; empty for others.
        end: The last operator before the first output.
        metadata: What the file states by the standards of its format.
        exporter: What Ultralytics' exporter wrote; None where it did not write the file.
        producer: The program that wrote the file; empty where it does not say.
        quantized: Whether weights or activations are integers.
    """

    path: Path
    format: str
    sha256: str
    image: ImageInput
    outputs: tuple[TensorSpec, ...]
    trial: tuple[NDArray[Any], ...]
    detection_order: tuple[int, ...]
    end: GraphEnd
    metadata: ModelMetadata | None
    exporter: ExporterNote | None
    producer: str
    quantized: bool

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The extents of the outputs."""
        return tuple(spec.shape for spec in self.outputs)


def read_evidence(path: Path, stated: StatedModel) -> ModelEvidence:
    """Open a file, look at it, and let it answer one picture of noise.

    Raises:
        UsageError: There is no such file, it is of another format, or its size has to be stated.
        ModelLoadError: It does not load, or takes no image.
    """
    format_ = model_format(path)
    _check_operators(path)
    session = open_session(path)
    properties, producer = _onnx_properties(path) if format_ == "onnx" else ({}, "")
    exporter = _exporter_note(path, properties, named=stated.labels is not None)
    image = _image_input(path, session, stated.size, None if exporter is None else exporter.size)
    trial = _trial(path, session, image)
    outputs = tuple(
        TensorSpec(name=s.name, shape=a.shape, dtype=s.dtype, quantization=s.quantization)
        for s, a in zip(session.outputs, trial, strict=True)
    )
    return ModelEvidence(
        path=path,
        format=format_,
        sha256=sha256_file(path),
        image=image,
        outputs=outputs,
        trial=tuple(trial),
        detection_order=_detection_order(path) if format_ == "tflite" else (),
        end=file_end(path),
        metadata=embedded_metadata(path),
        exporter=exporter,
        producer=producer,
        quantized=integers_inside(path),
    )


# Custom operators that the interpreters of TFLite come with.
_KNOWN_CUSTOM: Final = frozenset({"TFLite_Detection_PostProcess"})


def _check_operators(path: Path) -> None:
    """Refuse what no interpreter here runs, by the name of its operator.

    Raises:
        ModelLoadError: The file has such an operator.
    """
    if path.suffix.lower() != ".tflite" or not path.is_file():
        return
    from edge.modelfile.tflite import TfliteFile, starts_as_tflite

    content = path.read_bytes()
    if not starts_as_tflite(content[:8]):
        return  # the interpreter says what is wrong with it
    with corruption(path, "model"):
        nodes = TfliteFile(content).graph().nodes
    custom = {node.operator for node in nodes if node.custom} - _KNOWN_CUSTOM
    if custom:
        named = ", ".join(sorted(one_line(name) for name in custom)[:3])
        raise ModelLoadError(
            f"{path.name} has the custom operator {named}, which no interpreter here can run",
            hint="Export the model without it, and let a decoder of edge do that step: see edge "
            "export --help, or use the runtime that its maker ships.",
        )


def _image_input(
    path: Path,
    session: Session,
    told: tuple[int, int] | None,
    exported: tuple[int, int] | None,
) -> ImageInput:
    inputs = session.inputs
    shapes = ", ".join(f"{spec.name} {list(spec.shape)} {spec.dtype}" for spec in inputs)
    if len(inputs) != 1:
        raise ModelLoadError(
            f"{path.name} takes {len(inputs)} inputs ({shapes}); edge feeds one image",
            hint="Export the model with the image as its only input.",
        )
    (spec,) = inputs
    if len(spec.shape) != 4 or spec.dtype not in ("uint8", "int8", "float32", "float16"):
        raise ModelLoadError(
            f"{path.name} takes no image: its input is {shapes}",
            hint="Expected (1, height, width, channels) or (1, channels, height, width) of uint8, "
            "int8 or float.",
        )
    last, first = spec.shape[3] in _CHANNELS, spec.shape[1] in _CHANNELS
    if last == first:
        both = "both its second and its last axis could be the channels" if last else "no axis fits"
        raise ModelLoadError(
            f"{path.name} takes {shapes}, and {both} (1, 3 or 4)",
            hint="Export the model with a fixed number of channels.",
        )
    layout = TensorLayout.HWC if last else TensorLayout.CHW
    rows, columns, channels = (1, 2, 3) if last else (2, 3, 1)
    size = spec.shape[rows], spec.shape[columns]
    height, width = _size(path, size, told, exported)
    return ImageInput(
        spec=spec,
        layout=layout,
        height=height,
        width=width,
        color_order=_CHANNELS[spec.shape[channels]],
    )


def _size(
    path: Path,
    size: tuple[int, int],
    told: tuple[int, int] | None,
    exported: tuple[int, int] | None,
) -> tuple[int, int]:
    """Return (height, width) of the image input.

    Args:
        path: The file.
        size: As its tensor has it; -1 is an open extent.
        told: As the user states it.
        exported: As its exporter wrote it, which only counts where the tensor leaves it open.

    Raises:
        UsageError: The file leaves it open and nobody states it, or the two differ.
        ModelLoadError: The interpreter of the format cannot be told, or no image is so small.
    """
    if 0 in size:
        raise ModelLoadError(
            f"{path.name} takes images of {size[0]} x {size[1]} pixels (height x width)",
            hint="Export the model again, for images that have pixels.",
        )
    if min(size) >= 1:
        if told is not None and told != size:
            raise UsageError(
                f"--size is {told[0]}x{told[1]}, and {path.name} takes {size[0]}x{size[1]} (height "
                "x width)",
                hint="Leave out --size.",
            )
        if max(size) > MAX_SIDE:
            raise ModelLoadError(f"{path.name} takes {size} pixels; at most {MAX_SIDE} a side")
        return size
    if path.suffix.lower() == ".tflite":
        raise ModelLoadError(
            f"{path.name} leaves its height or width open",
            hint="Export it with a fixed size: what is tested on one size says little of another.",
        )
    told = told or exported
    if told is None:
        raise UsageError(
            f"{path.name} leaves its height or width open",
            hint="State both with --size, such as --size 416 or --size 480x640 (height x width).",
        )
    return told


def _trial(path: Path, session: Session, image: ImageInput) -> list[NDArray[Any]]:
    """Return the raw outputs for noise, of the extents that the model really has.

    A file that answers noise with zeros has found nothing in it: it gets a drawn picture too, and
    both in values to 255, and the first answer that holds anything is the one that tells.
    """
    random = np.random.default_rng(0)
    noise = random.integers(
        0, 256, (image.height, image.width, image.color_order.channels), np.uint8
    )
    first = _answered(path, session, image, noise, 255)
    if any(values.any() for values in first):
        return first
    drawn = _drawn(image)
    real = image.spec.dtype not in ("int8", "uint8")
    for pixels, divisor in ((drawn, 255), *(((drawn, 1), (noise, 1)) if real else ())):
        answer = _answered(path, session, image, pixels, divisor)
        if any(values.any() for values in answer):
            return answer
    return first


def _drawn(image: ImageInput) -> NDArray[np.uint8]:
    """Return a smooth picture with a disc and a box on it, uint8 (rows, columns, channels)."""
    rows, columns = np.mgrid[: image.height, : image.width]
    y, x = rows / image.height, columns / image.width
    picture = np.stack([120 + 100 * y, 140 + 40 * x, 220 - 120 * y, 255 + 0 * x], axis=2)
    picture[(x - 0.35) ** 2 + (y - 0.45) ** 2 < 0.05] = (190, 120, 60, 255)
    picture[(abs(x - 0.75) < 0.15) & (abs(y - 0.6) < 0.3)] = (40, 60, 110, 255)
    return picture[:, :, : image.color_order.channels].astype(np.uint8)


def _answered(
    path: Path, session: Session, image: ImageInput, pixels: NDArray[np.uint8], divisor: int
) -> list[NDArray[Any]]:
    """Return the raw outputs for a picture.

    Args:
        path: The file, for messages.
        session: The model.
        image: Its input.
        pixels: uint8 (rows, columns, channels).
        divisor: What pixels are divided by for an input of real numbers.

    Raises:
        ModelLoadError: It does not run, or answers with something else than tensors of numbers.
    """
    picture = pixels[np.newaxis]
    if image.layout is TensorLayout.CHW:
        picture = np.ascontiguousarray(picture.transpose(0, 3, 1, 2))
    if image.spec.dtype == "int8":
        tensor: NDArray[Any] = (picture ^ np.uint8(0x80)).view(np.int8)
    elif image.spec.dtype == "uint8":
        tensor = picture
    else:
        tensor = (picture / divisor).astype(image.spec.dtype)
    try:
        answer = session.run(tensor)
    except InferenceError as error:
        raise ModelLoadError(f"{path.name} loads, and does not run: {error.message}") from error
    for spec, values in zip(session.outputs, answer, strict=True):
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "iufb":
            raise ModelLoadError(
                f"{path.name} answers with {one_line(spec.dtype)} ({one_line(spec.name)}), which "
                "is no tensor of numbers",
                hint="Export the model with tensors of numbers as its outputs.",
            )
    return answer


def _detection_order(path: Path) -> tuple[int, ...]:
    """Return where the outputs of TFLite_Detection_PostProcess stand among those of the file."""
    from edge.modelfile.tflite import TfliteFile

    with corruption(path, "model"):
        graph = TfliteFile(path.read_bytes()).graph()
        keys = [value.key for value in graph.output_values]
        for node in graph.nodes:
            if node.operator == "TFLite_Detection_PostProcess":
                written = [value.key for value in node.outputs]
                if sorted(written) == sorted(keys):
                    return tuple(keys.index(key) for key in written)
    return ()


def _onnx_properties(path: Path) -> tuple[dict[str, str], str]:
    from edge.modelfile import onnx

    try:
        model = onnx.loaded(path)
    except ImportError as error:
        raise (missing_package(error) or error) from None
    text = onnx.checked_text
    with corruption(path, "ONNX"):
        properties = {text(item.key): text(item.value) for item in model.metadata_props}
        return properties, one_line(text(model.producer_name))


def _exporter_note(
    path: Path, properties: Mapping[str, str], *, named: bool
) -> ExporterNote | None:
    """Read what Ultralytics' exporter wrote: ONNX properties, or a file behind a TFLite model.

    Args:
        path: The file.
        properties: The properties of an ONNX file.
        named: Whether the user names the classes, so that those in the file do not count.

    Raises:
        ModelLoadError: The names cannot be read, and nobody else names the classes.
    """
    values: Mapping[str, Any] = properties
    if not properties:
        values = _appended(path)
    if "task" not in values or "names" not in values:
        return None
    names = () if named else _names(path, values["names"])
    nms = str(values.get("nms", "")).lower() == "true"
    end2end = str(values.get("end2end", "")).lower() == "true"
    nested = values.get("args")
    if isinstance(nested, str) and "'nms': True" in nested:
        nms = True
    return ExporterNote(
        task=str(values["task"])[:40],
        names=names,
        end_to_end=nms or end2end,
        size=_exported_size(values.get("imgsz")),
    )


def _exported_size(value: Any) -> tuple[int, int] | None:
    """Return (height, width) of ``imgsz``, such as ``[640, 640]``; None for anything else."""
    read = _parsed(value) if isinstance(value, str) else value
    sides = read if isinstance(read, list) else [read, read]
    fits = len(sides) == 2 and all(type(each) is int and 1 <= each <= MAX_SIDE for each in sides)
    return (sides[0], sides[1]) if fits else None


def _appended(path: Path) -> Mapping[str, Any]:
    """Return the JSON object that the exporter puts into a zip archive behind a TFLite model."""
    content = path.read_bytes()
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            for info in archive.infolist():
                if info.filename in _ULTRALYTICS_FILES and info.file_size <= MOST_METADATA:
                    text = archive.read(info)
                    value = _parsed(text.decode(errors="replace"))
                    return value if isinstance(value, dict) else {}
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError):
        return {}  # most files have no archive; a damaged one is found by the reader of metadata
    return {}


def packed_labels(path: Path) -> tuple[tuple[str, ...], str] | None:
    """Return the lines of the one text file in a zip archive behind a model, and its name.

    Files without the metadata of the standard carry their labels so (TensorFlow's task library).
    """
    try:
        with zipfile.ZipFile(BytesIO(path.read_bytes())) as archive:
            texts = [
                info
                for info in archive.infolist()
                if info.filename.endswith(".txt") and "label" in info.filename.lower()
            ]
            if len(texts) != 1 or texts[0].file_size > MOST_METADATA:
                return None
            lines = archive.read(texts[0]).decode().removesuffix("\n").split("\n")
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError):
        return None
    names = tuple(one_line(line.removesuffix("\r")) for line in lines)
    return names, f"{one_line(texts[0].filename)} inside the file"


def _names(path: Path, value: Any) -> tuple[str, ...]:
    """Return class names, which the exporter writes as a mapping from index to name.

    Raises:
        ModelLoadError: They are something else.
    """
    read = _parsed(value) if isinstance(value, str) else value
    if isinstance(read, list):
        read = dict(enumerate(read))
    if isinstance(read, dict):
        indexed = {str(key): str(name) for key, name in read.items()}
        if set(indexed) == {str(number) for number in range(len(indexed))}:
            return tuple(indexed[str(number)] for number in range(len(indexed)))
    raise ModelLoadError(
        f"the class names in the metadata of {path.name} cannot be read",
        hint="Name the classes with --labels FILE, one on each line.",
    )


def _parsed(text: str) -> Any:
    """Read JSON, or the Python literal that the exporter writes; None for anything else."""
    if len(text) > MOST_LITERAL:
        return None
    try:
        return checked.parse_json(text)
    except ValueError:
        pass
    try:
        return ast.literal_eval(text)  # literals alone: nothing in the text is run
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def cells(height: int, width: int, strides: tuple[int, ...] = (8, 16, 32)) -> int:
    """Return how many cells the grids of those strides have together."""
    return sum(prod((-(-height // stride), -(-width // stride))) for stride in strides)
