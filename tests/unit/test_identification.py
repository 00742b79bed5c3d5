"""What a model file of somebody else's is, from which evidence, and what is refused."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge.errors import EdgeError, ModelLoadError, UsageError
from edge.identification.evidence import cells
from edge.identification.identify import identify
from edge.identification.model import IdentifiedModel, StatedModel
from edge.runtime.contract import ChannelOrder, PadPosition, Resize, TensorLayout
from edge.runtime.output import OutputActivation
from edge.runtime.session import open_session
from edge.runtime.tasks.model import TaskModel
from edge.runtime.tasks.results import Segmentation
from edge.runtime.tasks.table import Task
from tests.unit.foreign_models import boxes, foreign_onnx, noise, odd_output

GRID = cells(64, 64)  # 84 cells of the strides 8, 16 and 32
UNIT = StatedModel(input_range="0,1")
DATA = os.environ.get("EDGE_TEST_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="needs EDGE_TEST_DATA")


def fact(model: IdentifiedModel, what: str) -> str:
    return next(item.value for item in model.facts if item.what == what)


# ---- layouts


@pytest.mark.parametrize(
    ("output", "decoder"),
    [
        (boxes(3 * GRID, 7, 64), "yolov5"),
        (np.swapaxes(boxes(GRID, 6, 64), 1, 2), "yolov8"),
        (noise(1, GRID, 85), "yolox"),
        (boxes(300, 6, 64), "yolo-end-to-end"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_layouts_of_yolo(tmp_path: Path, output: np.ndarray, decoder: str) -> None:
    path = foreign_onnx(tmp_path / "m.onnx", [output])
    found = identify(path, StatedModel())
    assert (found.task, fact(found, "decoder")) == (Task.DETECTION, decoder)
    assert found.preprocessing.resize is Resize.LETTERBOX
    assert found.preprocessing.pad_value == 114
    assert found.preprocessing.layout is TensorLayout.CHW


def test_yolox_is_fed_as_its_own_demo_feeds_it(tmp_path: Path) -> None:
    found = identify(foreign_onnx(tmp_path / "m.onnx", [noise(1, GRID, 85)]), StatedModel())
    contract = found.preprocessing
    assert contract.encoding.is_pixels
    assert contract.channel_order is ChannelOrder.BGR
    assert contract.pad_position is PadPosition.TOP_LEFT
    assert contract.channels == "BGR"
    assert "RGB" not in " ".join(item.value for item in found.facts)


def test_what_the_exporter_wrote_counts(tmp_path: Path) -> None:
    """Names, and so the number of classes, stand in the file's metadata."""
    path = foreign_onnx(
        tmp_path / "m.onnx",
        [np.swapaxes(boxes(GRID, 6, 64), 1, 2)],
        properties={"task": "detect", "names": "{0: 'cat', 1: 'dog'}", "stride": "32"},
    )
    found = identify(path, StatedModel())
    assert found.labels == ("cat", "dog")
    task = next(item for item in found.facts if item.what == "task")
    assert "detect" in task.source


def test_a_softmax_end_is_a_classifier(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "m.onnx", [noise(1, 5)], end="Softmax")
    found = identify(path, UNIT)
    assert found.task is Task.CLASSIFICATION
    assert found.decoder is None
    assert found.labels == ("0", "1", "2", "3", "4")
    assert found.preprocessing.value_range == (0.0, 1.0)


def test_scores_over_the_picture_are_a_segmentation(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "m.onnx", [noise(1, 21, 64, 64)])
    assert identify(path, UNIT).task is Task.SEGMENTATION


@pytest.mark.parametrize("classes", [2, 3, 21, 64])
@pytest.mark.parametrize("channels_last", [False, True], ids=["NCHW", "NHWC"])
@pytest.mark.parametrize("kind", ["scores", "numbers", "numbers of float"])
def test_segmentation_is_read_in_the_order_of_its_axes(
    tmp_path: Path, classes: int, channels_last: bool, kind: str
) -> None:
    """Of 64 classes and 64 x 64 pixels, the input's order is followed, and that is said."""
    wanted = (np.add.outer(np.arange(64), 3 * np.arange(64)) % classes).astype(np.uint8)
    planes = (wanted == np.arange(classes)[:, np.newaxis, np.newaxis]).astype(np.float32)
    if kind != "scores":
        planes = wanted[np.newaxis].astype(np.float32)
    output = planes[np.newaxis]
    if channels_last:
        output = output.transpose(0, 2, 3, 1)
    integers = kind == "numbers"
    path = foreign_onnx(
        tmp_path / "m.onnx", [output], channels_last=channels_last, integers=integers
    )
    found = identify(path, UNIT)
    assert found.decoder is not None
    unsure = {item.what: item for item in found.facts if not item.sure}
    assert ("channels" in unsure) is (classes == 64 and kind == "scores")
    if "channels" in unsure:
        assert unsure["channels"].option == "--decoder-option channels="
    session = open_session(path)
    model = TaskModel(session, found.labels, found.preprocessing, found.decoder)
    answer = model.predict(np.zeros((64, 64, 3), np.uint8))
    assert isinstance(answer, Segmentation)
    if kind == "numbers of float" and classes == 2:  # a foreground of 0 and 1, which is the same
        assert found.labels == ("background", "foreground")
    np.testing.assert_array_equal(answer.mask, wanted)
    assert identify(path, replace(UNIT, decoder="segmentation")).decoder == found.decoder


def test_a_stated_order_of_axes_counts(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "m.onnx", [noise(1, 64, 64, 64)])
    stated = replace(UNIT, decoder_option=("channels=last",))
    found = identify(path, stated)
    assert found.decoder is not None
    assert found.decoder.parameters == {"channels": "last"}
    assert all(item.sure for item in found.facts if item.what == "channels")
    other = foreign_onnx(tmp_path / "o.onnx", [noise(1, 21, 64, 64)])
    assert "does not fit" in refused(other, stated)
    assert "NAME=VALUE" in refused(path, replace(UNIT, decoder_option=("channels",)))
    assert "twice" in refused(path, replace(UNIT, decoder_option=("a=1", "a=2")))
    assert "allowed: last, first" in refused(
        path, replace(UNIT, decoder_option=("channels=middle",))
    )
    assert "--score-threshold" in refused(
        path, replace(UNIT, decoder_option=("score_threshold=1",))
    )


def test_a_foreground_before_its_sigmoid_is_noticed(tmp_path: Path) -> None:
    found = identify(foreign_onnx(tmp_path / "m.onnx", [noise(1, 1, 64, 64)]), UNIT)
    assert found.decoder is not None
    assert found.decoder.parameters == {"channels": "first", "sigmoid": True}
    ended = foreign_onnx(tmp_path / "s.onnx", [noise(1, 1, 64, 64)], end="Sigmoid")
    assert "sigmoid" not in (identify(ended, UNIT).decoder or found.decoder).parameters


def test_a_background_is_told_by_the_labels_and_stated_otherwise(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "m.onnx", [noise(1, 2, 4), noise(1, 2, 3)])
    anchors = tmp_path / "anchors.txt"
    anchors.write_text("0.5 0.5 0.5 0.5\n" * 2)
    stated = replace(UNIT, anchors=anchors, decoder="ssd-anchors")
    said = refused(path, stated)
    assert "--decoder-option background=true" in said
    assert "--decoder-option background=false" in said
    found = identify(path, replace(stated, decoder_option=("background=false",)))
    assert len(found.labels) == 3
    assert [item.sure for item in found.facts if item.what == "activation"] == [False]
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\n")
    assert identify(path, replace(stated, labels=labels)).decoder == found.decoder


def test_the_unit_of_boxes_is_looked_for_where_something_is_found(tmp_path: Path) -> None:
    table = np.zeros((1, 300, 6), np.float32)
    table[0, 0] = (10, 20, 30, 40, 0.9, 1)
    for scale, unit in ((1, "pixels"), (1 / 64, "normalized")):
        given = table * np.array([scale] * 4 + [1, 1], np.float32)
        path = foreign_onnx(tmp_path / "m.onnx", [given], smooth=True)
        found = identify(path, StatedModel())
        assert fact(found, "coordinates") == unit
        assert all(item.sure for item in found.facts if item.what == "coordinates")


def test_the_unit_of_no_boxes_is_an_assumption(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "m.onnx", [np.zeros((1, 300, 6), np.float32)])
    (told,) = (item for item in identify(path, StatedModel()).facts if item.what == "coordinates")
    assert (told.value, told.sure) == ("pixels", False)
    assert told.option == "--decoder-option coordinates="
    found = identify(path, StatedModel(decoder_option=("coordinates=normalized",)))
    assert found.decoder is not None
    assert found.decoder.parameters == {"coordinates": "normalized"}


def test_the_unit_is_looked_for_when_the_decoder_is_stated(tmp_path: Path) -> None:
    """A vector of no known grid: only the user knows the decoder, and the file its unit."""
    path = foreign_onnx(tmp_path / "m.onnx", [boxes(85, 7, 1)])
    found = identify(path, StatedModel(decoder="yolov5"))
    assert found.decoder is not None
    assert found.decoder.parameters == {"coordinates": "normalized"}


@pytest.mark.parametrize("kind", ["sequence", "text"])
def test_an_answer_that_is_no_tensor_of_numbers_is_refused(tmp_path: Path, kind: str) -> None:
    path = odd_output(tmp_path / "m.onnx", kind)
    assert "no tensor of numbers" in refused(path)


# ---- what is refused, each with a way out


def refused(path: Path, stated: StatedModel = UNIT) -> str:
    with pytest.raises(EdgeError) as caught:
        identify(path, stated)
    assert caught.value.hint
    return f"{caught.value.message} {caught.value.hint}"


def test_two_readings_are_named_with_the_options_that_settle_them(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "m.onnx", [noise(1, 10)])
    said = refused(path)
    assert "--task classification" in said
    assert "--decoder embedding" in said
    assert identify(path, StatedModel(input_range="0,1", task=Task.EMBEDDING)).decoder


def test_labels_settle_what_a_vector_is(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"class {number}\n" for number in range(10)))
    path = foreign_onnx(tmp_path / "m.onnx", [noise(1, 10)])
    found = identify(path, StatedModel(input_range="0,1", labels=labels))
    assert found.task is Task.CLASSIFICATION


def test_an_unknown_range_is_refused(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "m.onnx", [noise(1, 5)], end="Softmax")
    assert "--input-range" in refused(path, StatedModel())


def test_a_wrong_task_is_refused(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "m.onnx", [noise(1, GRID, 85)])
    said = refused(path, StatedModel(task=Task.POSE))
    assert "--task says pose" in said
    assert "detection" in said


def test_a_decoder_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "m.onnx", [noise(1, GRID, 85)])
    assert "contradicts" in refused(path, StatedModel(decoder="tflite-detection"))
    assert "no decoder 'yolo99'" in refused(path, StatedModel(decoder="yolo99"))


def test_labels_of_another_number_are_refused(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\n")
    path = foreign_onnx(tmp_path / "m.onnx", [noise(1, 4)], end="Softmax")
    said = refused(path, StatedModel(input_range="0,1", labels=labels))
    assert "3 labels" in said
    assert "background" in said


def test_an_open_size_has_to_be_stated(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "m.onnx", [noise(1, 5)], size=("h", "w"), end="Softmax")
    assert "--size" in refused(path)
    found = identify(path, StatedModel(input_range="0,1", size=(48, 32)))
    assert (found.preprocessing.height, found.preprocessing.width) == (48, 32)


def test_the_exporter_settles_an_open_size(tmp_path: Path) -> None:
    path = foreign_onnx(
        tmp_path / "m.onnx",
        [np.swapaxes(boxes(GRID, 6, 64), 1, 2)],
        size=("h", "w"),
        properties={"task": "detect", "names": "{0: 'a', 1: 'b'}", "imgsz": "[64, 64]"},
    )
    assert identify(path, StatedModel()).preprocessing.height == 64


def test_a_thousand_values_are_the_classes_of_imagenet(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "m.onnx", [noise(1, 1000)])
    found = identify(path, UNIT)
    assert found.task is Task.CLASSIFICATION
    assert "ImageNet" in next(item.source for item in found.facts if item.what == "task")


def test_another_size_than_the_file_takes_is_refused(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "m.onnx", [noise(1, 5)], end="Softmax")
    assert "64x64" in refused(path, StatedModel(input_range="0,1", size=(48, 32)))


def test_two_inputs_are_refused(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "m.onnx", [noise(1, 5)], inputs=2)
    assert "2 inputs" in refused(path)


def test_outputs_that_no_decoder_knows_are_listed(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "m.onnx", [noise(1, 7, 5), noise(1, 3)])
    assert "[1, 7, 5]" in refused(path)


@pytest.mark.parametrize(
    "names", ["__import__('os').system('true')", "{0: 'a', 2: 'b'}", "[" * 100_000, "{0:"]
)
def test_class_names_are_read_as_literals_alone(tmp_path: Path, names: str) -> None:
    path = foreign_onnx(
        tmp_path / "m.onnx", [noise(1, 5)], properties={"task": "detect", "names": names}
    )
    with pytest.raises(ModelLoadError, match="class names") as caught:
        identify(path, UNIT)
    assert "--labels" in caught.value.hint


def test_stated_labels_count_where_those_of_the_exporter_cannot_be_read(tmp_path: Path) -> None:
    path = foreign_onnx(
        tmp_path / "m.onnx",
        [np.swapaxes(boxes(GRID, 6, 64), 1, 2)],
        properties={"task": "detect", "names": "{0: 'a', 2: 'b'}"},
    )
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n")
    assert identify(path, StatedModel(labels=labels)).labels == ("cat", "dog")


def test_the_size_of_the_tensor_counts_more_than_that_of_the_exporter(tmp_path: Path) -> None:
    path = foreign_onnx(
        tmp_path / "m.onnx",
        [np.swapaxes(boxes(GRID, 6, 64), 1, 2)],
        properties={"task": "detect", "names": "{0: 'a', 1: 'b'}", "imgsz": "[640, 640]"},
    )
    assert identify(path, StatedModel()).preprocessing.height == 64


def test_an_image_without_pixels_is_refused(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "m.onnx", [noise(1, 5)], size=(0, 64), end="Softmax")
    said = refused(path)
    assert "0 x 64" in said
    assert "--size" not in said


def test_bars_without_a_letterbox_are_refused(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "m.onnx", [noise(1, 5)], end="Softmax")
    with pytest.raises(UsageError, match="letterbox"):
        identify(path, StatedModel(input_range="0,1", pad_value=3))


# ---- files of the world


@needs_data
def test_the_ssd_of_coco() -> None:
    name = "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
    found = identify(Path(DATA or "", "models/tasks", name), StatedModel())
    assert fact(found, "decoder") == "tflite-detection"
    assert (len(found.labels), found.labels[16]) == (90, "cat")
    assert found.quantized


@needs_data
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("models/tasks/posenet_mobilenet_v1_075_353_481_16_quant_decoder.tflite", "PosenetDecoder"),
        ("models/keras_lstm_mnist_ptq.tflite", "no image"),
        ("models/model_invoking_error.tflite", "fake-op-double"),
        ("faults/customop.onnx", "MyOp"),
        ("faults/dynhw.tflite", "open"),
        ("faults/nchw_dynhw.onnx", "--size"),
        ("faults/flex.tflite", "FlexAdjustHue"),
        ("faults/external_lost.onnx", "external_lost.onnx.data"),
        ("faults/double.onnx", "float64"),
    ],
)
def test_files_that_cannot_be_used_say_why(name: str, said: str) -> None:
    assert said in refused(Path(DATA or "", name), StatedModel())


@pytest.mark.parametrize("task", ["pose", "obb", "segment", "speech"])
def test_another_task_of_the_exporter_is_no_detector(tmp_path: Path, task: str) -> None:
    """(1, 4 + 52, cells) are one class and 17 keypoints of three numbers, not 52 classes."""
    written = {"task": task, "names": "{0: 'person'}"}
    output = np.swapaxes(boxes(GRID, 56, 64), 1, 2)
    path = foreign_onnx(tmp_path / "m.onnx", [output], properties=written)
    assert f"its task is '{task}'" in refused(path, StatedModel())


def test_one_value_tells_two_classes_apart(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("no\nyes\n")
    path = foreign_onnx(tmp_path / "m.onnx", [noise(1, 1)], end="Sigmoid")
    found = identify(path, StatedModel(input_range="0,1", labels=labels, threshold=0.3))
    assert found.labels == ("no", "yes")
    assert found.output.thresholds == (0.3,)


def test_a_threshold_of_many_classes_is_refused(tmp_path: Path) -> None:
    path = foreign_onnx(tmp_path / "m.onnx", [noise(1, 5)], end="Softmax")
    assert "has 5 classes" in refused(path, StatedModel(input_range="0,1", threshold=0.3))


@pytest.mark.parametrize(
    "stated",
    [StatedModel(threshold=0.3), StatedModel(output_activation=OutputActivation.LOGITS)],
)
def test_options_of_classifiers_are_refused_for_a_detector(
    tmp_path: Path, stated: StatedModel
) -> None:
    path = foreign_onnx(tmp_path / "m.onnx", [noise(1, GRID, 85)])
    assert "is for classifiers" in refused(path, stated)


def test_a_published_list_may_name_a_label_twice(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("crane\nn/a\ncrane\n")
    path = foreign_onnx(tmp_path / "m.onnx", [noise(1, 3)], end="Softmax")
    found = identify(path, StatedModel(input_range="0,1", labels=labels))
    assert found.labels == ("crane", "n/a", "crane (2)")


def test_a_stated_decoder_brings_the_rule_of_its_family(tmp_path: Path) -> None:
    """The layout may be YOLOX, which is fed BGR; its user says that it is a YOLOv8."""
    path = foreign_onnx(tmp_path / "m.onnx", [np.abs(noise(1, GRID, 85))])
    assert "2 ways" in refused(path, StatedModel())
    found = identify(path, StatedModel(decoder="yolov8"))
    assert found.preprocessing.value_range == (0, 1)
    assert found.preprocessing.channel_order is ChannelOrder.RGB


@pytest.mark.parametrize(
    ("output", "written", "stated", "evidence"),
    [
        (noise(1, GRID, 85), None, "yolov8", "for the decoder yolox: its output is [1, 84, 85]"),
        (noise(1, GRID, 85), None, "yolov5", "boxes relative to their cell"),
        (boxes(300, 6, 64), None, "yolov8", "six numbers a box"),
        (noise(1, 21, 64, 64), None, "yolov8", "scores each of 21 classes"),
        (
            np.swapaxes(boxes(GRID, 60, 64), 1, 2),
            {"task": "pose", "names": "{0: 'person'}"},
            "yolov5",
            "its task is 'pose'",
        ),
    ],
)
def test_a_decoder_that_the_file_speaks_against_is_refused(
    tmp_path: Path,
    output: np.ndarray,
    written: dict[str, str] | None,
    stated: str,
    evidence: str,
) -> None:
    """Whoever reads boxes as another layout gets an answer, and a wrong one."""
    path = foreign_onnx(tmp_path / "m.onnx", [output], properties=written or {})
    said = refused(path, StatedModel(decoder=stated))
    assert evidence in said
    assert f"Leave out --decoder. {stated} reads" in said


def test_a_missing_background_class_is_told(tmp_path: Path) -> None:
    written = {"task": "classify", "names": "{0: 'cat', 1: 'dog'}"}
    path = foreign_onnx(tmp_path / "m.onnx", [noise(1, 3)], end="Softmax", properties=written)
    assert "background class, the first one" in refused(path)


@needs_data
@pytest.mark.parametrize(
    ("name", "task", "decoder", "labels"),
    [
        ("tasks/deeplabv3.tflite", Task.SEGMENTATION, "segmentation", 21),
        ("tasks/movenet_single_pose_lightning_ptq.tflite", Task.POSE, "movenet", 17),
        ("deeplab_mobilenet_edgetpu_slim_cityscapes_quant.tflite", Task.SEGMENTATION, None, 0),
        ("mobilenet_v1_0.25_128_quant.tflite", Task.CLASSIFICATION, None, 1001),
        ("legacy/vww_96_int8.tflite", Task.CLASSIFICATION, None, 2),
    ],
)
def test_published_files_need_no_option(
    name: str, task: Task, decoder: str | None, labels: int
) -> None:
    found = identify(Path(DATA or "") / "models" / name, StatedModel())
    assert (found.task, len(found.labels)) == (task, labels)
    if decoder is not None:
        assert fact(found, "decoder") == decoder
