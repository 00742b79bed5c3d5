"""The families of models that edge knows by what their files show: one function each, and a table.

A family says which decoder reads the outputs and how the published models of that family are fed.
What it says of the input is a convention: a file that states something else wins.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from edge.identification.evidence import ModelEvidence, cells
from edge.runtime.contract import ChannelOrder, Interpolation, PadPosition, Resize
from edge.runtime.postprocess import dequantize
from edge.runtime.tasks.landmarks import BODY, HAND
from edge.runtime.tasks.movenet import POINTS
from edge.runtime.tasks.table import Task

_IMAGENET: Final = (1000, 1001)  # classes of ILSVRC, without and with a background
UNIT: Final = "0,1"
SIGNED: Final = "-1,1"
PIXELS: Final = "pixels"
_NORMALIZED: Final = 4.0  # what is larger is no share of a side, even of a wild box


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeding:
    """How the published models of a family are fed.

    Attributes:
        input_range: As ``--input-range`` takes it; None where the family has no one rule.
        channel_order: Which colour comes first.
        resize: How an image is brought to the size of the input.
        interpolation: The resampling filter.
        pad_value: The value of letterbox bars.
        pad_position: Where a letterboxed image lies.
        source: Whose rule it is, a clause.
    """

    input_range: str | None = None
    channel_order: ChannelOrder = ChannelOrder.RGB
    resize: Resize = Resize.STRETCH
    interpolation: Interpolation = Interpolation.BILINEAR_PLAIN
    pad_value: int = 0
    pad_position: PadPosition = PadPosition.CENTER
    source: str = "a convention"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One reading of a file.

    Attributes:
        task: What it would answer.
        decoder: What would read its outputs; empty for a classifier.
        why: What in the file speaks for it, a clause.
        parameters: Those of the decoder that the file settles.
        classes: How many labels there are; None where the layout does not tell.
        labels: Names that the family fixes.
        feeding: How the family is fed.
        sure: Whether the layout is this family's alone.
    """

    task: Task
    decoder: str = ""
    why: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    classes: int | None = None
    labels: tuple[str, ...] = ()
    feeding: Feeding = field(default_factory=Feeding)
    sure: bool = True


Family = Callable[[ModelEvidence], list[Reading]]

ULTRALYTICS: Final = Feeding(
    input_range=UNIT,
    resize=Resize.LETTERBOX,
    pad_value=114,
    source="the rule of Ultralytics' exporter",
)
YOLOX: Final = Feeding(
    input_range=PIXELS,
    channel_order=ChannelOrder.BGR,
    resize=Resize.LETTERBOX,
    pad_value=114,
    pad_position=PadPosition.TOP_LEFT,
    source="the rule of YOLOX's own demo",
)
MEDIAPIPE_UNIT: Final = Feeding(
    input_range=UNIT,
    interpolation=Interpolation.BILINEAR_LEGACY,
    source="the rule of MediaPipe's graph",
)
BLAZEFACE: Final = Feeding(
    input_range=SIGNED,
    resize=Resize.LETTERBOX,
    interpolation=Interpolation.BILINEAR_LEGACY,
    source="the rule of MediaPipe's graph",
)
STRETCHED: Final = Feeding(source="the rule of TensorFlow's task library")
MOVENET: Final = Feeding(
    input_range=PIXELS, resize=Resize.LETTERBOX, source="the rule of MoveNet's own example"
)
YUNET: Final = Feeding(
    input_range=PIXELS, channel_order=ChannelOrder.BGR, source="the rule of OpenCV's FaceDetectorYN"
)
CLASSIFIED: Final = Feeding(
    resize=Resize.CENTER_CROP, interpolation=Interpolation.BILINEAR, source="edge's default"
)


def tflite_detection(found: ModelEvidence) -> list[Reading]:
    """Detectors that end in TFLite_Detection_PostProcess."""
    if not found.detection_order:
        return []
    names = ("boxes", "classes", "scores", "count")
    order = dict(zip(names, found.detection_order, strict=True))
    parameters = order if found.detection_order != (0, 1, 2, 3) else {}
    return [
        Reading(
            task=Task.DETECTION,
            decoder="tflite-detection",
            why="it ends in the operator TFLite_Detection_PostProcess",
            parameters=parameters,
            feeding=STRETCHED,
        )
    ]


def yolo(found: ModelEvidence) -> list[Reading]:
    """One tensor of boxes with their scores: the layouts of the YOLO families."""
    if len(found.shapes) != 1 or len(found.shapes[0]) != 3 or found.shapes[0][0] != 1:
        return []
    _, rows, columns = found.shapes[0]
    grid = cells(found.image.height, found.image.width)
    shape = f"its output is {list(found.shapes[0])}"
    trial = dequantize(found.trial[0], found.outputs[0])[0]
    if columns == 6 and rows <= 1000 and rows not in (grid, 3 * grid):
        return [_yolo("yolo-end-to-end", None, f"{shape}: six numbers a box", trial[:, :4])]
    if rows == 3 * grid and columns > 5:
        why = f"{shape}: three anchors in each of the {grid} cells of the strides 8, 16 and 32"
        return [_yolo("yolov5", columns - 5, why, trial[:, :4])]
    if columns == grid and rows > 4:
        return [_yolo("yolov8", rows - 4, f"{shape}: 4 + classes of {grid} cells", trial[:4])]
    if rows == grid and columns > 4:
        return _by_rows(found, trial, f"{shape}: the {grid} cells of the strides 8, 16 and 32")
    return []


def _by_rows(found: ModelEvidence, trial: Any, shape: str) -> list[Reading]:
    """A row for each cell: with objectness (YOLOX), or without (a turned YOLOv8)."""
    columns = trial.shape[1]
    turned = _yolo("yolov8", columns - 4, f"{shape}, each with 4 + classes", trial[:, :4])
    if columns < 6:
        return [turned]
    if _is_decoded(trial, found):
        decoded = _yolo("yolov5", columns - 5, f"{shape}, each with objectness", trial[:, :4])
        return [decoded, turned]
    raw = Reading(
        task=Task.DETECTION,
        decoder="yolox",
        why=f"{shape}, each with objectness, and boxes relative to their cell",
        classes=columns - 5,
        feeding=YOLOX,
    )
    if float(trial[:, 2:4].min()) < 0:
        return [raw]  # a decoded width is never below zero, its logarithm is
    return [raw, turned]


def _is_decoded(trial: Any, found: ModelEvidence) -> bool:
    """Whether the first column runs over the whole width, as centres in pixels do."""
    centres = trial[:, 0]
    return bool(centres.max() > 0.5 * found.image.width and trial[:, 2:4].min() >= 0)


def _yolo(decoder: str, classes: int | None, why: str, boxes: Any) -> Reading:
    """A layout of Ultralytics.

    Args:
        decoder: What reads it.
        classes: How many labels there are.
        why: What speaks for it.
        boxes: The four numbers of each box in the trial answer, whose size tells their unit.
    """
    normalized = float(np.abs(boxes).max(initial=0)) <= _NORMALIZED
    unit = "shares of the sides" if normalized else "pixels"
    return Reading(
        task=Task.DETECTION,
        decoder=decoder,
        why=f"{why}, boxes in {unit}",
        parameters={"coordinates": "normalized"} if normalized else {},
        classes=classes,
        feeding=ULTRALYTICS,
    )


def raw_ssd(found: ModelEvidence) -> list[Reading]:
    """Boxes and class scores of anchors, in two tensors."""
    shapes = [tuple(extent for extent in shape if extent != 1) for shape in found.shapes]
    if len(shapes) != 2 or any(len(shape) != 2 for shape in shapes):
        return []
    boxes = [position for position, shape in enumerate(shapes) if shape[1] == 4]
    if len(boxes) != 1 or shapes[0][0] != shapes[1][0]:
        return []
    anchors, columns = shapes[1 - boxes[0]]
    position = 1 - boxes[0]
    values = dequantize(found.trial[position], found.outputs[position])
    parameters: dict[str, Any] = {"boxes": boxes[0], "scores": position} if boxes[0] else {}
    if float(values.min()) >= 0 and float(values.max()) <= 1:
        parameters["activation"] = "none"
    why = f"its outputs are boxes and {columns} scores of {anchors} anchors"
    return [
        Reading(
            task=Task.DETECTION,
            decoder="ssd-anchors",
            why=f"{why}, the first {'of the background' if background else 'of a class'}",
            parameters=parameters | ({} if background else {"background": False}),
            classes=columns - background,
            feeding=STRETCHED,
        )
        for background in (True, False)
        if columns > background
    ]


def faces(found: ModelEvidence) -> list[Reading]:
    """BlazeFace of MediaPipe, and YuNet of OpenCV."""
    shapes = set(found.shapes)
    for anchors in (896, 2304):  # of the short and of the full range
        if shapes == {(1, anchors, 16), (1, anchors, 1)}:
            why = f"its outputs are 16 numbers and a score of each of {anchors} anchors"
            return [_face("blazeface", why, BLAZEFACE)]
    if len(found.shapes) == 12 and sorted({shape[-1] for shape in found.shapes}) == [1, 4, 10]:
        return [_face("yunet", "its twelve outputs are those of YuNet", YUNET)]
    return []


def _face(decoder: str, why: str, feeding: Feeding) -> Reading:
    return Reading(
        task=Task.DETECTION, decoder=decoder, why=why, classes=1, labels=("face",), feeding=feeding
    )


def poses(found: ModelEvidence) -> list[Reading]:
    """MoveNet, and the landmark models of MediaPipe."""
    if found.shapes in (((1, 1, 17, 3),), ((1, 6, 56),)):
        why = f"its output is {list(found.shapes[0])}: 17 keypoints of y, x and score"
        return [_pose("movenet", why, MOVENET, POINTS)]
    flat = {shape[-1] for shape in found.shapes if len(shape) in (2, 4)}
    known = {195: "33 points of a body", 63: "21 points of a hand", 1404: "468 points of a face"}
    hits = [count for count in known if count in flat]
    if len(hits) == 1 and len(found.shapes) > 1:
        why = f"one of its outputs has {hits[0]} numbers: {known[hits[0]]}"
        names = {195: BODY, 63: HAND}.get(hits[0], ())
        return [_pose("landmarks", why, MEDIAPIPE_UNIT, names)]
    return []


def _pose(decoder: str, why: str, feeding: Feeding, names: tuple[str, ...]) -> Reading:
    return Reading(
        task=Task.POSE,
        decoder=decoder,
        why=why,
        classes=len(names) or None,
        labels=names,
        feeding=feeding,
    )


def segmentation(found: ModelEvidence) -> list[Reading]:
    """A map of scores or of classes over the picture."""
    if len(found.shapes) != 1:
        return []
    shape, dtype = found.shapes[0], found.outputs[0].dtype
    integers = dtype.startswith(("int", "uint")) and found.outputs[0].quantization is None
    maps = len(shape) == 3 and shape[0] == 1 and integers and min(shape[1:]) > 6
    if maps or (len(shape) == 4 and shape[3] == 1 and integers):
        why = f"its output is a map of class numbers, {list(shape)} {dtype}"
        return [Reading(task=Task.SEGMENTATION, decoder="segmentation", why=why, feeding=STRETCHED)]
    if len(shape) != 4 or shape[0] != 1:
        return []
    last = _is_map(shape[1:3], found) and shape[3] <= 256
    first = _is_map(shape[2:4], found) and shape[1] <= 256
    readings = []
    for holds, classes, axis in ((last, shape[3], "last"), (first, shape[1], "second")):
        if holds:
            feeding = MEDIAPIPE_UNIT if classes == 1 else STRETCHED
            what = "the foreground" if classes == 1 else f"each of {classes} classes"
            readings.append(
                Reading(
                    task=Task.SEGMENTATION,
                    decoder="segmentation",
                    why=f"its output {list(shape)} scores {what} at each place ({axis} axis)",
                    classes=max(classes, 2),
                    labels=("background", "foreground") if classes == 1 else (),
                    feeding=feeding,
                )
            )
    return readings


def _is_map(extents: tuple[int, ...], found: ModelEvidence) -> bool:
    """Whether two extents are those of the picture, or the same part of both sides."""
    height, width = found.image.height, found.image.width
    rows, columns = extents
    return min(extents) > 6 and abs(rows * width - columns * height) <= max(height, width)


def vectors(found: ModelEvidence) -> list[Reading]:
    """One value for each class, or an embedding."""
    if len(found.shapes) != 1:
        return []
    extents = [extent for extent in found.shapes[0] if extent != 1] or [1]
    if len(extents) != 1:
        return []
    (values,) = extents
    why = f"its output is a vector of {values}, and {found.end.named}"
    classified = Reading(
        task=Task.CLASSIFICATION,
        why=why,
        classes=max(values, 2),  # one value tells two classes apart
        feeding=CLASSIFIED,
    )
    embedded = Reading(
        task=Task.EMBEDDING, decoder="embedding", why=why, feeding=CLASSIFIED, sure=False
    )
    if str(found.end.ending) in ("softmax", "sigmoid"):
        return [classified]
    if values in _IMAGENET:
        why += ": as many values as ImageNet has classes"
        return [replace(classified, why=why, sure=False)]
    return [classified, embedded] if values > 1 else [classified]


FAMILIES: Final[tuple[Family, ...]] = (
    tflite_detection,
    faces,
    poses,
    yolo,
    raw_ssd,
    segmentation,
    vectors,
)


# Whose rule feeds a model whose decoder is stated; a family above may say more.
FEEDINGS: Final[Mapping[str, Feeding]] = {
    "tflite-detection": STRETCHED,
    "ssd-anchors": STRETCHED,
    "segmentation": STRETCHED,
    **dict.fromkeys(("yolov5", "yolov8", "yolo-end-to-end"), ULTRALYTICS),
    "yolox": YOLOX,
    "movenet": MOVENET,
    "landmarks": MEDIAPIPE_UNIT,
    "blazeface": BLAZEFACE,
    "yunet": YUNET,
    "embedding": CLASSIFIED,
}


def readings_of(found: ModelEvidence) -> list[Reading]:
    """Return every reading of the file, by the first family that knows its outputs."""
    for family in FAMILIES:
        readings = family(found)
        if readings:
            return readings
    return []
