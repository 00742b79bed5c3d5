"""The table of tasks and decoders, and which decoder a bundle names; it needs no numpy."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Self

from edge.errors import BundleError, UsageError
from edge.runtime.contract import check_names
from edge.runtime.typed import Mistyped, encoded, typed

if TYPE_CHECKING:
    from edge.runtime.tasks.decoder import Decoder, Tensors


class Task(StrEnum):
    """What a model answers."""

    CLASSIFICATION = "classification"  # what a picture shows
    DETECTION = "detection"  # what stands where: boxes; faces with keypoints too
    SEGMENTATION = "segmentation"  # the class of each pixel
    POSE = "pose"  # the joints of a body, or the points of a face or hand
    EMBEDDING = "embedding"  # a vector that is near those of similar pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderEntry:
    """One line of the table.

    Attributes:
        task: What it answers.
        place: ``module:Class`` of the decoder. Its attribute ``PARAMETERS`` is the frozen dataclass
            that it is called with: JSON values with defaults and bounds of their own (a UsageError
            names the one that does not fit).
        meaning: Which models have this layout, one sentence for people.
        ordered: Whether the rows of the outputs are in the order of their scores, so that they
            change places where a score is rounded otherwise; its method ``row_scores`` returns
            the score of each row of raw outputs.
    """

    task: Task
    place: str
    meaning: str
    ordered: bool = False


# A decoder is one module here and one line in this table; the choices of --decoder, the document
# docs/tasks.md and the contract tests follow it.
DECODERS: Final[Mapping[str, DecoderEntry]] = {
    "tflite-detection": DecoderEntry(
        task=Task.DETECTION,
        place="edge.runtime.tasks.detection_postprocess:DetectionPostprocess",
        meaning="detectors that end in the operator TFLite_Detection_PostProcess",
        ordered=True,
    ),
    "blazeface": DecoderEntry(
        task=Task.DETECTION,
        place="edge.runtime.tasks.blazeface:BlazeFace",
        meaning="BlazeFace of MediaPipe: faces with six keypoints",
    ),
    "yunet": DecoderEntry(
        task=Task.DETECTION,
        place="edge.runtime.tasks.yunet:YuNet",
        meaning="YuNet of OpenCV: faces with five keypoints",
    ),
    "segmentation": DecoderEntry(
        task=Task.SEGMENTATION,
        place="edge.runtime.tasks.segmentation:SegmentationDecoder",
        meaning="scores of each class over the picture, or a map of class numbers",
    ),
    "movenet": DecoderEntry(
        task=Task.POSE,
        place="edge.runtime.tasks.movenet:MoveNet",
        meaning="MoveNet: 17 keypoints of one body, or of up to six",
    ),
    "landmarks": DecoderEntry(
        task=Task.POSE,
        place="edge.runtime.tasks.landmarks:Landmarks",
        meaning="landmark models of MediaPipe: one body, hand or face that fills the picture",
    ),
    "embedding": DecoderEntry(
        task=Task.EMBEDDING,
        place="edge.runtime.tasks.embedding:EmbeddingDecoder",
        meaning="one vector for each picture",
    ),
    "ssd-anchors": DecoderEntry(
        task=Task.DETECTION,
        place="edge.runtime.tasks.ssd:Ssd",
        meaning="raw SSD: encoded boxes and class scores of anchors",
    ),
    "yolov5": DecoderEntry(
        task=Task.DETECTION,
        place="edge.runtime.tasks.yolo:YoloV5",
        meaning="YOLOv5, v6 and v7: rows of box, objectness and class scores",
    ),
    "yolov8": DecoderEntry(
        task=Task.DETECTION,
        place="edge.runtime.tasks.yolo:YoloV8",
        meaning="YOLOv8, v9 and v11: rows or columns of box and class scores",
    ),
    "yolox": DecoderEntry(
        task=Task.DETECTION,
        place="edge.runtime.tasks.yolo:Yolox",
        meaning="YOLOX as it is exported: boxes relative to their cell",
    ),
    "yolo-end-to-end": DecoderEntry(
        task=Task.DETECTION,
        place="edge.runtime.tasks.yolo_end_to_end:YoloEndToEnd",
        meaning="YOLOv10, YOLO26 and exports with NMS inside: six numbers for each box",
        ordered=True,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderSpec:
    """Which decoder reads the outputs, and how: the manifest's field ``decoder``.

    Attributes:
        name: A key of ``DECODERS``.
        parameters: What differs from the defaults of its ``PARAMETERS``, as JSON values.
        evidence: How this was found out, one sentence for people.
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)
    evidence: str = ""

    @property
    def task(self) -> Task:
        """What it answers."""
        return DECODERS[self.name].task

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {
            "name": self.name,
            "parameters": encoded(self.parameters),
            "evidence": self.evidence,
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what ``to_json`` wrote.

        ``open`` reads the parameters: what controls a device reads a manifest without numpy.

        Raises:
            BundleError: A field is missing, unknown, or of another type.
        """
        if not isinstance(value, Mapping):
            raise BundleError("decoder is no JSON object")
        check_names("decoder", value, ("name", "parameters", "evidence"), optional=())
        if value["name"] not in DECODERS:
            raise BundleError(
                f"decoder.name is {value['name']!r}; this runtime knows {', '.join(DECODERS)}",
                hint="Use the runtime that the bundle carries.",
            )
        if not isinstance(value["parameters"], dict) or not isinstance(value["evidence"], str):
            raise BundleError("decoder.parameters or decoder.evidence is of another type")
        return cls(name=value["name"], parameters=value["parameters"], evidence=value["evidence"])

    def read_parameters(self) -> Any:
        """Return the decoder's ``PARAMETERS``.

        Raises:
            UsageError: One is unknown, of another type or out of range.
        """
        try:
            return typed(
                _decoder(self.name).PARAMETERS, dict(self.parameters), f"{self.name}", exact=True
            )
        except Mistyped as error:
            raise UsageError(f"the decoder {error}") from error

    def check(self) -> None:
        """Refuse parameters of a manifest that the decoder does not know or allow.

        Raises:
            BundleError: There are such.
        """
        try:
            self.read_parameters()
        except UsageError as error:
            raise BundleError(
                f"manifest.json: {error.message}",
                hint="The file was changed, or is of another edge; export the bundle again.",
            ) from error

    def open(self, tensors: "Tensors") -> "Decoder":
        """Make the decoder for a model.

        Raises:
            InferenceError: The model's outputs are not of this layout.
            UsageError: A parameter does not fit.
        """
        made: Decoder = _decoder(self.name)(tensors, self.read_parameters())
        return made


def _decoder(name: str) -> Any:
    module, _, kind = DECODERS[name].place.partition(":")
    return getattr(importlib.import_module(module), kind)
