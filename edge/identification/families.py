"""The families of models that edge knows by what their files show: one function each, and a table.

A family says which decoder reads the outputs and how the published models of that family are fed.
What it says of the input is a convention: a file that states something else wins.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from edge.identification.evidence import ModelEvidence, cells
from edge.runtime.contract import (
    ChannelOrder,
    Interpolation,
    PadPosition,
    Resize,
    TensorLayout,
)
from edge.runtime.postprocess import dequantize
from edge.runtime.tasks.landmarks import BODY, HAND
from edge.runtime.tasks.movenet import POINTS
from edge.runtime.tasks.segmentation import MOST_CLASSES
from edge.runtime.tasks.table import DECODERS, Task
from edge.runtime.tasks.yolo import LARGEST_SHARE

_IMAGENET: Final = (1000, 1001)  # classes of ILSVRC, without and with a background
UNIT: Final = "0,1"
SIGNED: Final = "-1,1"
PIXELS: Final = "pixels"


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
        shown: What speaks for a parameter that changes the answers, by its name, a clause.
        assumed: Those of ``shown`` for which nothing in the file speaks.
        settles: Names of parameters that the file settles beside those, if only as the default.
        classes: How many labels there are; None where the layout does not tell.
        labels: Names that the family fixes.
        feeding: How the family is fed.
        sure: Whether the layout is this family's alone.
    """

    task: Task
    decoder: str = ""
    why: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    shown: Mapping[str, str] = field(default_factory=dict)
    assumed: frozenset[str] = frozenset()
    settles: frozenset[str] = frozenset()
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
            settles=frozenset(names),
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
    without_overlap = found.exporter is not None and found.exporter.end_to_end
    if columns == 6 and (without_overlap or (rows <= 1000 and rows not in (grid, 3 * grid))):
        return [_yolo(found, "yolo-end-to-end", None, f"{shape}: six numbers a box", trial[:, :4])]
    if rows == 3 * grid and columns > 5:
        why = f"{shape}: three anchors in each of the {grid} cells of the strides 8, 16 and 32"
        return [_yolo(found, "yolov5", columns - 5, why, trial[:, :4])]
    if columns == grid and rows > 4:
        return [
            _yolo(found, "yolov8", rows - 4, f"{shape}: 4 + classes of {grid} cells", trial[:4])
        ]
    if rows == grid and columns > 4:
        return _by_rows(found, trial, f"{shape}: the {grid} cells of the strides 8, 16 and 32")
    return []


def _by_rows(found: ModelEvidence, trial: Any, shape: str) -> list[Reading]:
    """A row for each cell: with objectness (YOLOX), or without (a turned YOLOv8)."""
    columns = trial.shape[1]
    turned = _yolo(found, "yolov8", columns - 4, f"{shape}, each with 4 + classes", trial[:, :4])
    if columns < 6:
        return [turned]
    if _is_decoded(trial, found):
        decoded = _yolo(
            found, "yolov5", columns - 5, f"{shape}, each with objectness", trial[:, :4]
        )
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


def _yolo(found: ModelEvidence, decoder: str, classes: int | None, why: str, boxes: Any) -> Reading:
    """A layout of Ultralytics.

    Args:
        found: The file.
        decoder: What reads it.
        classes: How many labels there are.
        why: What speaks for it.
        boxes: The four numbers of each box in the trial answer, whose size tells their unit.
    """
    largest = float(np.abs(boxes).max(initial=0))
    normalized = largest <= LARGEST_SHARE
    told = f"the largest number of a box is {largest:.3g}"
    if not largest:  # such a file pads with zeros: it has found nothing in the trial
        normalized = found.format == "tflite"
        told = "nothing is found in noise or in a drawn picture; so Ultralytics' exporter writes "
        told += f"{found.format.upper() if found.format == 'onnx' else 'TFLite'} files"
    return Reading(
        task=Task.DETECTION,
        decoder=decoder,
        why=why,
        parameters={"coordinates": "normalized"} if normalized else {},
        shown={"coordinates": told},
        assumed=frozenset() if largest else frozenset({"coordinates"}),
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
    least, most = float(values.min(initial=0)), float(values.max(initial=0))
    scored = least >= 0 and most <= 1
    if scored:
        parameters["activation"] = "none"
    told = f"noise is given {least:.3g} to {most:.3g}"
    told += "" if scored else ", and TensorFlow's detectors apply a sigmoid"
    why = f"its outputs are boxes and {columns} scores of {anchors} anchors"
    return [
        Reading(
            task=Task.DETECTION,
            decoder="ssd-anchors",
            why=f"{why}, the first {'of the background' if background else 'of a class'}",
            parameters=parameters | ({} if background else {"background": False}),
            shown={"activation": told},
            assumed=frozenset() if scored else frozenset({"activation"}),
            settles=frozenset({"boxes", "scores", "background"}),
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
    if len(shape) not in (3, 4) or shape[0] != 1:
        return []
    integers = dtype.startswith(("int", "uint")) and found.outputs[0].quantization is None
    if _holds_numbers(found, integers=integers):
        return [
            Reading(
                task=Task.SEGMENTATION,
                decoder="segmentation",
                why=f"its output is a map of class numbers, {list(shape)} {dtype}",
                parameters={} if integers else {"numbers": True},
                settles=frozenset({"numbers"}),
                feeding=STRETCHED,
            )
        ]
    return _scored_maps(found) if len(shape) == 4 else []


def _scored_maps(found: ModelEvidence) -> list[Reading]:
    """Return the reading of scores of each class, whichever axis the classes are."""
    shape = found.shapes[0]
    last = _is_map(shape[1:3], found) and shape[3] <= MOST_CLASSES
    first = _is_map(shape[2:4], found) and shape[1] <= MOST_CLASSES
    if last and first:  # as many classes as a side has places
        leading = found.image.layout is TensorLayout.CHW
        told = f"both fit; the input has its channels {'first' if leading else 'last'}"
        reading = _scores(found, "first" if leading else "last", told)
        return [replace(reading, assumed=reading.assumed | {"channels"})]
    if last:
        return [_scores(found, "last", "the other two are those of the picture")]
    if first:
        return [_scores(found, "first", "the other two are those of the picture")]
    return []


def _holds_numbers(found: ModelEvidence, *, integers: bool) -> bool:
    """Whether the output is one class number at each place.

    Args:
        found: The file.
        integers: Whether it is of integers without a scale.
    """
    shape = found.shapes[0]
    places = shape[1:]
    if len(shape) == 4:  # the axis of one channel leads, or is the last
        places = shape[1:3] if shape[3] == 1 else shape[2:] if shape[1] == 1 else ()
    return bool(places) and min(places) > 6 and (integers or _are_numbers(found, places))


def _are_numbers(found: ModelEvidence, places: tuple[int, ...]) -> bool:
    """Whether real values are class numbers, as an argmax with a cast behind it gives them."""
    spec, values = found.outputs[0], found.trial[0]
    if spec.quantization is not None or values.dtype.kind != "f" or not _is_map(places, found):
        return False
    whole = bool(np.isfinite(values).all()) and not (values % 1).any()
    return whole and float(values.min()) >= 0 and 2 <= float(values.max()) < MOST_CLASSES


def _scores(found: ModelEvidence, channels: str, told: str) -> Reading:
    """Return the reading of an output that scores each class at each place.

    Args:
        found: The file.
        channels: Where the classes stand, as the decoder takes it.
        told: What says so, a clause.
    """
    shape = found.shapes[0]
    axis, classes = ("last", shape[3]) if channels == "last" else ("second", shape[1])
    what = "the foreground" if classes == 1 else f"each of {classes} classes"
    parameters: Mapping[str, Any] = {"channels": "first"} if channels == "first" else {}
    shown = {"channels": f"the {axis} axis of {list(shape)}: {told}"}
    assumed: frozenset[str] = frozenset()
    if classes == 1:
        values = dequantize(found.trial[0], found.outputs[0])
        least, most = float(values.min()), float(values.max())
        ends = str(found.end.ending) in ("softmax", "sigmoid")
        raw = not ends and (least < 0 or most > 1)
        parameters = {**parameters, "sigmoid": True} if raw else parameters
        shown["sigmoid"] = found.end.named if ends else f"noise is given {least:.3g} to {most:.3g}"
        assumed = frozenset() if ends or raw else frozenset({"sigmoid"})
    return Reading(
        task=Task.SEGMENTATION,
        decoder="segmentation",
        why=f"its output {list(shape)} scores {what} at each place ({axis} axis)",
        parameters=parameters,
        shown=shown,
        assumed=assumed,
        settles=frozenset({"numbers"}),
        classes=max(classes, 2),
        labels=("background", "foreground") if classes == 1 else (),
        feeding=MEDIAPIPE_UNIT if classes == 1 else STRETCHED,
    )


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


def stated_reading(found: ModelEvidence, name: str) -> Reading:
    """Return the reading by a decoder that a user states and that no family knows here.

    What changes the answers is looked for all the same, and is an assumption where the file does
    not tell.
    """
    feeding = FEEDINGS.get(name, Feeding())
    task = DECODERS[name].task
    plain = Reading(task=task, decoder=name, why="as stated", feeding=feeding, sure=False)
    if len(found.shapes) != 1:
        return plain
    shape = found.shapes[0]
    if name == "segmentation" and len(shape) == 4:
        leading = found.image.layout is TensorLayout.CHW
        told = f"the input has its channels {'first' if leading else 'last'}"
        scored = _scores(found, "first" if leading else "last", told)
        assumed = scored.assumed | {"channels"}
        return replace(scored, why="as stated", assumed=assumed, feeding=feeding, sure=False)
    if name in ("yolov5", "yolov8", "yolo-end-to-end") and len(shape) == 3:
        table = dequantize(found.trial[0], found.outputs[0])[0]
        turned = name == "yolov8" and table.shape[0] < table.shape[1]
        boxes = table[:4] if turned else table[:, :4]
        return replace(_yolo(found, name, None, "as stated", boxes), sure=False)
    return plain


def readings_of(found: ModelEvidence) -> list[Reading]:
    """Return every reading of the file, by the first family that knows its outputs."""
    for family in FAMILIES:
        readings = family(found)
        if readings:
            return readings
    return []
