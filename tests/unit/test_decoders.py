"""Every decoder: tensors that were made by hand, and the answer that they stand for."""

import importlib
import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge.errors import InferenceError, UsageError
from edge.runtime.contract import Interpolation, Preprocessing, Resize
from edge.runtime.placement import placement_of
from edge.runtime.spec import QuantizationParams, TensorSpec
from edge.runtime.tasks.decoder import Decoder, Tensors
from edge.runtime.tasks.results import UNSEEN, Detections, Poses, Segmentation
from edge.runtime.tasks.ssd import mobilenet_anchors
from edge.runtime.tasks.table import DECODERS, DecoderSpec

DATA = os.environ.get("EDGE_TEST_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="needs EDGE_TEST_DATA")
SIDE = 64
CONTRACT = Preprocessing(height=SIDE, width=SIDE)
PICTURE = placement_of((128, 192), CONTRACT)  # twice and three times the tensor's size
CELLS = 84  # of the strides 8, 16 and 32: 64 + 16 + 4


def made(
    name: str, *outputs: NDArray[Any], labels: Sequence[str] = ("cat", "dog"), **parameters: Any
) -> Decoder:
    specs = tuple(
        TensorSpec(name=f"o{number}", shape=item.shape, dtype=item.dtype.name)
        for number, item in enumerate(outputs)
    )
    tensors = Tensors(outputs=specs, preprocessing=CONTRACT, labels=tuple(labels))
    return DecoderSpec(name=name, parameters=parameters).open(tensors)


def decoded(name: str, *outputs: NDArray[Any], **more: Any) -> Any:
    return made(name, *outputs, **more).decode(outputs, PICTURE)


def zeros(*shape: int) -> NDArray[np.float32]:
    return np.zeros(shape, np.float32)


# ---- the layouts of boxes: each holds a dog at 10..30 x 20..40 of the tensor, with 0.9


def yolov5() -> NDArray[np.float32]:
    table = zeros(1, 3 * CELLS, 7)
    table[0, 5] = (20, 30, 20, 20, 1.0, 0.2, 0.9)
    table[0, 6] = (21, 30, 20, 20, 1.0, 0.2, 0.8)  # on the same object
    return table


def yolov8() -> NDArray[np.float32]:
    table = zeros(1, CELLS, 6)
    table[0, 5] = (20, 30, 20, 20, 0.2, 0.9)
    table[0, 6] = (21, 30, 20, 20, 0.2, 0.8)
    return table


def yolox() -> NDArray[np.float32]:
    """Cell (row 3, column 2) of stride 8 has its corner at 16, 24."""
    table = zeros(1, CELLS, 7)
    width = np.log(20 / 8)
    table[0, 3 * 8 + 2] = ((20 - 16) / 8, (30 - 24) / 8, width, width, 1.0, 0.2, 0.9)
    return table


def end_to_end() -> NDArray[np.float32]:
    table = zeros(1, 300, 6)
    table[0, 0] = (10, 20, 30, 40, 0.9, 1)
    return table


def postprocess() -> tuple[NDArray[np.float32], ...]:
    boxes, classes, scores = zeros(1, 10, 4), zeros(1, 10), zeros(1, 10)
    boxes[0, 0] = np.array((20, 10, 40, 30)) / SIDE
    classes[0, 0], scores[0, 0] = 1, 0.9
    return boxes, classes, scores, np.array([1], np.float32)


def ssd() -> tuple[NDArray[np.float32], ...]:
    """The one anchor of the test has its centre in the middle, and half of the sides."""
    boxes, scores = zeros(1, 1, 4), np.full((1, 1, 3), -9, np.float32)
    centre_y, centre_x, side = (30 - 32) / 32 * 10, (20 - 32) / 32 * 10, np.log(20 / 32) * 5
    boxes[0, 0] = (centre_y, centre_x, side, side)
    scores[0, 0, 2] = np.log(0.9 / 0.1)
    return boxes, scores


ANCHORS = {"anchors": [[0.5, 0.5, 0.5, 0.5]]}
LAYOUTS: dict[str, tuple[str, tuple[NDArray[np.float32], ...], dict[str, Any]]] = {
    "yolov5": ("yolov5", (yolov5(),), {}),
    "yolov5 in shares": (
        "yolov5",
        (yolov5() / np.array([SIDE] * 4 + [1] * 3, np.float32),),
        {"coordinates": "normalized"},
    ),
    "yolov8": ("yolov8", (yolov8(),), {}),
    "yolov8 in columns": ("yolov8", (np.swapaxes(yolov8(), 1, 2),), {}),
    "yolox": ("yolox", (yolox(),), {}),
    "yolo-end-to-end": ("yolo-end-to-end", (end_to_end(),), {}),
    "tflite-detection": ("tflite-detection", postprocess(), {}),
    "ssd-anchors": ("ssd-anchors", ssd(), ANCHORS),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_box_is_found_where_it_is(layout: str) -> None:
    name, outputs, parameters = LAYOUTS[layout]
    answer: Detections = decoded(name, *outputs, **parameters)
    (item,) = answer.items
    assert (item.index, item.label) == (1, "dog")
    assert item.score == pytest.approx(0.9, abs=1e-6)
    found = (item.left, item.top, item.right, item.bottom)
    assert found == pytest.approx((20, 60, 60, 120), abs=1e-3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_is_found_in_nothing(layout: str) -> None:
    name, outputs, parameters = LAYOUTS[layout]
    nothing = -9 if layout == "ssd-anchors" else 0  # a score before its sigmoid
    assert decoded(name, *(item * 0 + nothing for item in outputs), **parameters).items == ()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_value_that_is_no_number_is_refused(layout: str) -> None:
    name, outputs, parameters = LAYOUTS[layout]
    broken = [item.copy() for item in outputs]
    broken[0][0, 0, 0] = np.nan
    with pytest.raises(InferenceError, match="finite"):
        decoded(name, *broken, **parameters)


@pytest.mark.parametrize("layout", ["yolov5", "yolov8", "yolov8 in columns"])
def test_integers_are_read_by_their_scale(layout: str) -> None:
    name, (output,), _ = LAYOUTS[layout]
    scale, zero = 0.25, -100  # boxes and scores to a quarter
    output = output.copy()
    columns = output if layout != "yolov8 in columns" else np.swapaxes(output, 1, 2)
    columns[0, 5, 4:] = np.round(columns[0, 5, 4:])
    columns[0, 6] = 0
    stored = np.clip(np.rint(output / scale) + zero, -128, 127).astype(np.int8)
    parameters = QuantizationParams(scales=(scale,), zero_points=(zero,))
    spec = TensorSpec(name="o", shape=stored.shape, dtype="int8", quantization=parameters)
    tensors = Tensors(outputs=(spec,), preprocessing=CONTRACT, labels=("cat", "dog"))
    answer: Any = DecoderSpec(name=name).open(tensors).decode([stored], PICTURE)
    (item,) = answer.items
    assert (item.left, item.top, item.right, item.bottom) == (20, 60, 60, 120)
    assert item.score == 1.0


@pytest.mark.parametrize("count", [np.nan, np.inf, -1.0])
def test_a_count_that_is_none_is_refused(count: float) -> None:
    outputs = (*postprocess()[:3], np.array([count], np.float32))
    with pytest.raises(InferenceError):
        decoded("tflite-detection", *outputs)


def test_outputs_that_do_not_belong_together_are_refused() -> None:
    boxes, classes, _, count = postprocess()
    with pytest.raises(InferenceError, match="belong together"):
        decoded("tflite-detection", boxes, classes, np.full((1, 20), 0.9, np.float32), count)


@pytest.mark.parametrize("number", [1e30, -1.0])
def test_class_numbers_that_are_none_are_refused(number: float) -> None:
    table = end_to_end()
    table[0, 0, 5] = number
    with pytest.raises(InferenceError, match="class number"):
        decoded("yolo-end-to-end", table)
    boxes, classes, scores, count = postprocess()
    with pytest.raises(InferenceError, match="class number"):
        decoded("tflite-detection", boxes, classes * 0 + number, scores, count)


def test_rows_without_classes_are_refused() -> None:
    decoder = made("yolov5", yolov5())
    with pytest.raises(InferenceError, match="expected"):
        decoder.decode([yolov5()[:, :, :5]], PICTURE)


def test_the_anchors_of_a_mobilenet_ssd() -> None:
    """Of 300 x 300: 1917, as TensorFlow's object detection API makes them."""
    anchors = mobilenet_anchors(Preprocessing(height=300, width=300))
    assert anchors.shape == (1917, 4)
    np.testing.assert_allclose(anchors[0], (0.5 / 19, 0.5 / 19, 0.1, 0.1), atol=1e-6)
    last = (0.5, 0.5, np.sqrt(0.95), np.sqrt(0.95))
    np.testing.assert_allclose(anchors[-1], last, atol=1e-6)


def test_softmax_scores_without_a_background() -> None:
    boxes, _ = ssd()
    scores = np.log(np.array([[[0.1, 0.9]]], np.float32))
    more = ANCHORS | {"activation": "softmax", "background": False}
    (item,) = decoded("ssd-anchors", boxes, scores, **more).items
    assert (item.label, item.score) == ("dog", pytest.approx(0.9))


@needs_data
def test_a_published_ssd_without_its_last_operator_gives_the_same_boxes(tmp_path: Path) -> None:
    """The operator's inputs are tensors of the file; its anchors are those of the recipe."""
    from edge.modelfile.tflite import packed, unpacked
    from edge.runtime.session import open_session
    from edge.runtime.tasks.model import TaskModel

    data = Path(DATA or "")
    whole = data / "models/tasks/coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
    model = unpacked(whole.read_bytes())
    graph = model.subgraphs[0]
    boxes, scores, anchors = (int(index) for index in graph.operators[-1].inputs)
    tensor = graph.tensors[anchors]
    stored = np.asarray(model.buffers[tensor.buffer].data, np.uint8).reshape(-1, 4)
    scale, zero = float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0])
    contract = Preprocessing(height=300, width=300, interpolation=Interpolation.BILINEAR_PLAIN)
    given = (stored.astype(np.float32) - zero) * scale
    np.testing.assert_allclose(mobilenet_anchors(contract), given, atol=scale)
    graph.operators = graph.operators[:-1]
    graph.outputs = [boxes, scores]
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(packed(model))
    labels = tuple(map(str, range(90)))
    parameters = {"activation": "none", "anchors": given.tolist(), "score_threshold": 0.3}
    answers = [
        TaskModel(open_session(path), labels, contract, spec).predict(
            data / "images/tasks/cats_and_dogs.jpg"
        )
        for path, spec in (
            (whole, DecoderSpec(name="tflite-detection", parameters={"score_threshold": 0.3})),
            (cut, DecoderSpec(name="ssd-anchors", parameters=parameters)),
        )
    ]
    before, after = (
        [(i.index, i.score, i.left, i.top, i.right, i.bottom) for i in answer.items]  # type: ignore[union-attr]
        for answer in answers
    )
    assert len(before) >= 5
    # The operator suppresses overlaps across classes, and so finds some objects less.
    for item in before:
        nearest = min(after, key=lambda other: float(np.abs(np.subtract(other, item)).max()))
        np.testing.assert_allclose(nearest, item, atol=0.5)  # half a pixel of 1200


def test_ten_thousand_candidates_end_in_a_hundred() -> None:
    table = zeros(1, 10_000, 6)
    random = np.random.default_rng(0)
    table[0, :, :2] = random.uniform(0, SIDE, (10_000, 2))
    table[0, :, 2:4] = random.uniform(1, 3, (10_000, 2))
    table[0, :, 4:] = random.uniform(0.5, 1, (10_000, 2))
    assert len(decoded("yolov8", table).items) == 100


def test_boxes_are_clipped_to_the_picture_and_those_outside_go() -> None:
    table = end_to_end()
    table[0, 0, :4] = (-10, -10, 80, 80)
    table[0, 1] = (-30, 0, -5, 10, 0.8, 0)
    (item,) = decoded("yolo-end-to-end", table).items
    assert (item.left, item.top, item.right, item.bottom) == (0, 0, 128, 192)


def test_a_class_without_a_label_is_its_number() -> None:
    (item,) = decoded("yolov8", yolov8(), labels=()).items
    assert item.label == "1"


BEYOND = {
    "boxes": ("yolov8", (yolov8(),), ("cat",)),
    "boxes without overlap": ("yolo-end-to-end", (end_to_end(),), ("cat",)),
    "decoded boxes": ("tflite-detection", postprocess(), ("cat",)),
    "a map": ("segmentation", (np.full((1, SIDE, SIDE), 2),), ("cat", "dog")),
    "scores over the picture": ("segmentation", (zeros(1, SIDE, SIDE, 3),), ("cat", "dog")),
    "channels mixed up": ("segmentation", (zeros(1, 3, SIDE, SIDE),), ("cat", "dog", "cow")),
}


@pytest.mark.parametrize("case", BEYOND)
def test_a_class_beyond_the_labels_is_refused(case: str) -> None:
    name, outputs, labels = BEYOND[case]
    with pytest.raises(InferenceError, match="labels"):
        decoded(name, *outputs, labels=labels)


def raw_scores(name: str) -> tuple[str, tuple[NDArray[np.float32], ...], dict[str, Any]]:
    """Return a layout whose scores were not brought to 0..1."""
    name, outputs, parameters = LAYOUTS[name]
    changed = [item.copy() for item in outputs]
    if name == "ssd-anchors":
        return name, tuple(changed), parameters | {"activation": "none", "score_threshold": 0.1}
    if name == "tflite-detection":
        changed[2] *= 2
    elif name == "yolo-end-to-end":
        changed[0][0, 0, 4:] = (3, 0.9)  # the class before the score
    elif changed[0].shape[1] < changed[0].shape[2]:
        changed[0][0, 4:] = changed[0][0, 4:] * 9 - 6
    else:
        changed[0][0, :, 4:] = changed[0][0, :, 4:] * 9 - 6
    return name, tuple(changed), parameters


@pytest.mark.parametrize("layout", LAYOUTS)
def test_scores_that_are_no_probabilities_are_refused(layout: str) -> None:
    name, outputs, parameters = raw_scores(layout)
    with pytest.raises(InferenceError, match=r"probabilities|class number") as caught:
        decoded(name, *outputs, **parameters)
    assert caught.value.hint


def test_scores_of_other_tasks_are_probabilities_too() -> None:
    for name, outputs in (
        ("movenet", (np.full((1, 1, 17, 3), -4, np.float32),)),
        ("landmarks", (zeros(1, 195), np.full((1, 1), 7, np.float32))),
        ("segmentation", (np.full((1, SIDE, SIDE, 1), 7, np.float32),)),
    ):
        with pytest.raises(InferenceError, match="probabilities"):
            decoded(name, *outputs)


def test_a_class_between_two_numbers_is_refused_and_a_rounded_one_is_not() -> None:
    table = end_to_end()
    table[0, 0, 5] = 0.99  # a class that went through 16 bits
    assert decoded("yolo-end-to-end", table).items[0].label == "dog"
    table[0, 0, 5] = 0.5
    with pytest.raises(InferenceError, match="class number"):
        decoded("yolo-end-to-end", table)


def test_a_rounded_score_is_a_probability() -> None:
    table = end_to_end()
    table[0, 0, 4] = 1.004  # an integer of 8 bits with a scale of 1 / 127 ... 1 / 255
    assert decoded("yolo-end-to-end", table).items[0].score == 1.0


@pytest.mark.parametrize(
    ("layout", "unit", "said"),
    [
        ("yolov8", "normalized", "shares"),
        ("yolov5 in shares", "pixels", "pixels"),
        ("yolo-end-to-end", "normalized", "shares"),
    ],
)
def test_boxes_of_another_unit_are_refused(layout: str, unit: str, said: str) -> None:
    name, outputs, _ = LAYOUTS[layout]
    with pytest.raises(InferenceError, match=f"read as {said}") as caught:
        decoded(name, *outputs, coordinates=unit)
    assert "--decoder-option coordinates=" in (caught.value.hint or "")


def test_boxes_of_two_classes_may_overlap() -> None:
    table = yolov8()
    table[0, 6, 4:] = (0.8, 0.1)
    assert [item.label for item in decoded("yolov8", table).items] == ["dog", "cat"]


# ---- segmentation


def test_the_best_class_of_each_place() -> None:
    scores = zeros(1, SIDE, SIDE, 3)
    scores[0, :, :32, 1] = 1
    scores[0, :, 32:, 2] = 1
    answer: Segmentation = decoded("segmentation", scores, labels=("ground", "left", "right"))
    assert answer.mask.shape == (192, 128)
    assert (answer.mask[:, :63] == 1).all()
    assert (answer.mask[:, 65:] == 2).all()
    first = decoded("segmentation", scores.transpose(0, 3, 1, 2), labels="gLr", channels="first")
    np.testing.assert_array_equal(first.mask, answer.mask)


def test_a_map_of_class_numbers() -> None:
    numbers = np.zeros((1, SIDE, SIDE), np.int64)
    numbers[0, 32:] = 7
    for shaped in (numbers, numbers[..., np.newaxis], numbers[:, np.newaxis]):
        for given, more in ((shaped, {}), (shaped.astype(np.float32), {"numbers": True})):
            mask = decoded("segmentation", given, labels=(), **more).mask
            assert (mask[:96] == 0).all()
            assert (mask[96:] == 7).all()


def test_a_class_between_two_others_is_not_lost() -> None:
    """The third class is the second best on both sides of the border, and the best between."""
    scores = zeros(1, 2, 2, 3)
    scores[0, :, 0], scores[0, :, 1] = (1.0, 0.0, 0.9), (0.0, 1.0, 0.9)
    mask = decoded("segmentation", scores, labels=()).mask
    assert set(np.unique(mask).tolist()) == {0, 1, 2}


def test_a_map_of_shares_is_no_map_of_classes() -> None:
    with pytest.raises(InferenceError, match="no class numbers"):
        decoded("segmentation", np.full((1, 8, 8), 0.4, np.float32))


def test_a_foreground_has_a_threshold() -> None:
    scores = np.full((1, SIDE, SIDE, 1), 0.4, np.float32)
    assert not decoded("segmentation", scores).mask.any()
    assert decoded("segmentation", scores, threshold=0.3).mask.all()
    assert decoded("segmentation", scores, sigmoid=True).mask.all()  # sigmoid(0.4) is 0.6


def test_what_a_crop_leaves_out_is_not_seen() -> None:
    contract = Preprocessing(height=SIDE, width=SIDE, resize=Resize.CENTER_CROP, crop_fraction=1.0)
    numbers = np.ones((1, SIDE, SIDE), np.int64)
    spec = TensorSpec(name="o", shape=numbers.shape, dtype="int64")
    tensors = Tensors(outputs=(spec,), preprocessing=contract, labels=("a", "b"))
    decoder = DecoderSpec(name="segmentation").open(tensors)
    answer = decoder.decode([numbers], placement_of((128, 64), contract))
    assert isinstance(answer, Segmentation)
    assert (answer.mask[:, :32] == UNSEEN).all()
    assert (answer.mask[:, 32:96] == 1).all()
    assert [item["label"] for item in answer.to_json()["segments"]] == ["b", "not seen"]


@pytest.mark.parametrize("values", [np.full((1, 8, 8), 300), np.full((1, 8, 8), -1)])
def test_numbers_that_are_no_classes_are_refused(values: NDArray[Any]) -> None:
    with pytest.raises(InferenceError, match="map of classes"):
        decoded("segmentation", values)


# ---- poses, faces, embeddings


def test_movenet_gives_places_in_the_picture() -> None:
    table = np.full((1, 1, 17, 3), 0.5, np.float32)
    table[0, 0, 0] = (0.25, 0.5, 0.9)  # y, x, score of the nose
    answer: Poses = decoded("movenet", table)
    nose = answer.items[0].keypoints[0]
    assert (nose.label, nose.x, nose.y) == ("nose", 64, 48)
    assert decoded("movenet", table, score_threshold=0.9).items == ()


def test_several_bodies_are_told_apart_by_their_score() -> None:
    table = zeros(1, 6, 56)
    table[0, 1, 55], table[0, 4, 55] = 0.5, 0.8
    assert [item.score for item in decoded("movenet", table).items] == pytest.approx([0.8, 0.5])


def test_landmarks_of_a_body() -> None:
    points = zeros(1, 195)
    points[0, :5] = (32, 16, 0, 100, 0)
    score = np.array([[0.9]], np.float32)
    (pose,) = decoded("landmarks", points, score).items
    assert len(pose.keypoints) == 33
    nose = pose.keypoints[0]
    assert (nose.x, nose.y) == (64, 48)
    assert nose.score == pytest.approx(1.0)
    assert decoded("landmarks", points, score * 0).items == ()


def test_one_face_of_two_anchors_that_overlap() -> None:
    """Both anchors of cell (0, 0) of stride 8 have their centre at 4, 4."""
    contract = Preprocessing(height=128, width=128)
    boxes, scores = zeros(1, 896, 16), np.full((1, 896, 1), -50, np.float32)
    boxes[0, :2, :4] = ((60, 60, 40, 40), (64, 60, 40, 40))
    boxes[0, :2, 4:6] = (50, 50)
    scores[0, :2] = 50
    specs = tuple(
        TensorSpec(name="o", shape=item.shape, dtype="float32") for item in (boxes, scores)
    )
    tensors = Tensors(outputs=specs, preprocessing=contract, labels=("face",))
    decoder = DecoderSpec(name="blazeface").open(tensors)
    answer = decoder.decode([boxes, scores], placement_of((128, 128), contract))
    assert isinstance(answer, Detections)
    (face,) = answer.items
    assert (face.left, face.top, face.right, face.bottom) == (46, 44, 86, 84)  # the mean of both
    eye = face.keypoints[0]
    assert (eye.label, eye.x, eye.y) == ("right eye", 54, 54)


def test_yunet_joins_class_and_objectness() -> None:
    counts = (64, 16, 4)
    outputs = [zeros(1, count, columns) for columns in (1, 1, 4, 10) for count in counts]
    row = 3 * 8 + 2  # the corner of the cell is at 16, 24
    outputs[0][0, row], outputs[3][0, row] = 0.81, 1.0
    outputs[6][0, row] = (0.5, 0.75, np.log(20 / 8), np.log(20 / 8))
    outputs[9][0, row, :2] = (1, 1)
    (face,) = decoded("yunet", *outputs, labels=("face",)).items
    assert face.score == pytest.approx(0.9)
    found = (face.left, face.top, face.right, face.bottom)
    assert found == pytest.approx((20, 60, 60, 120), abs=1e-3)
    assert (face.keypoints[0].x, face.keypoints[0].y) == (48, 96)


def test_an_embedding_is_the_vector() -> None:
    values = np.array([[3, 4]], np.float32)
    np.testing.assert_array_equal(decoded("embedding", values).values, [3, 4])
    normal = decoded("embedding", values, normalize=True).values
    np.testing.assert_allclose(normal, [0.6, 0.8], atol=1e-6)


# ---- the table


@pytest.mark.parametrize("name", DECODERS)
def test_every_decoder_keeps_the_contract_of_the_table(name: str) -> None:
    module_name, _, class_name = DECODERS[name].place.partition(":")
    module = importlib.import_module(module_name)
    assert getattr(module, class_name).decode.__doc__
    parameters = DecoderSpec(name=name).read_parameters()
    described = " ".join(kind.__doc__ or "" for kind in type(parameters).__mro__)
    assert all(f"{item.name}:" in described for item in fields(parameters))
    with pytest.raises(InferenceError, match="does not fit"):
        made(name, zeros(3, 5, 7, 9, 2), zeros(3))
    with pytest.raises(UsageError, match="should not"):
        DecoderSpec(name=name, parameters={"colour": 1}).read_parameters()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("yolov8", {"score_threshold": 2.0}),
        ("yolov8", {"iou_threshold": -0.1}),
        ("yolov8", {"max_results": 0}),
        ("yolov8", {"max_results": "many"}),
        ("yolov8", {"coordinates": "inches"}),
        ("yolox", {"coordinates": "normalized"}),
        ("segmentation", {"channels": "middle"}),
        ("tflite-detection", {"boxes": 1}),
    ],
)
def test_parameters_have_bounds(name: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        made(name, yolox() if name == "yolox" else yolov8(), **parameters)
