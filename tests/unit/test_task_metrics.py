"""Scores of detection, segmentation, pose and embedding: against pycocotools, and by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.dataset.pictures import Picture
from edge.dataset.truth import IGNORED, PictureTruth, TrueBox
from edge.errors import DataError
from edge.evaluation.tasks.detection import DetectionMetric, coco_evaluation
from edge.evaluation.tasks.metric import bootstrap_interval, metric_of, resamples
from edge.evaluation.tasks.pose import SIGMAS, oks
from edge.runtime.tasks.results import (
    Detection,
    Detections,
    Embedding,
    Keypoint,
    Pose,
    Poses,
    Segmentation,
)
from edge.runtime.tasks.table import Task

LABELS = ("a", "b", "c")


def picture(number: int = 0) -> Picture:
    return Picture(Path(f"{number}.jpg"), f"{number:064x}")


def box(index: int, left: float, top: float, side: float, **more: Any) -> TrueBox:
    return TrueBox(index=index, left=left, top=top, right=left + side, bottom=top + side, **more)


def found(index: int, score: float, left: float, top: float, side: float) -> Detection:
    return Detection(
        index=index,
        label=LABELS[index],
        score=score,
        left=left,
        top=top,
        right=left + side,
        bottom=top + side,
    )


def random_set(seed: int, images: int = 30) -> tuple[list[PictureTruth], list[Detections]]:
    """Return annotated pictures and answers that find some of the objects, some beside them."""
    random = np.random.default_rng(seed)
    truth, answers = [], []
    for number in range(images):
        boxes = tuple(
            box(
                int(random.integers(3)),
                *random.uniform(0, 200, 2),
                random.uniform(20, 60),
                ignored=bool(random.random() < 0.1),
            )
            for _ in range(random.integers(0, 5))
        )
        items = [
            found(
                item.index if random.random() < 0.9 else int(random.integers(3)),
                float(np.round(random.random(), 2)),  # with ties
                item.left + random.normal(0, 4),
                item.top + random.normal(0, 4),
                item.right - item.left,
            )
            for item in boxes
            if random.random() < 0.8
        ]
        items += [
            found(int(random.integers(3)), float(random.random()), *random.uniform(0, 200, 2), 30)
            for _ in range(random.integers(0, 3))
        ]
        truth.append(PictureTruth(picture=picture(number), width=300, height=300, boxes=boxes))
        answers.append(Detections(items=tuple(sorted(items, key=lambda item: -item.score))))
    return truth, answers


@pytest.mark.parametrize("seed", range(5))
def test_map_is_that_of_pycocotools(seed: int) -> None:
    truth, answers = random_set(seed)
    metric = metric_of(Task.DETECTION, LABELS, threshold=0.25)
    records = metric.records(truth, answers)
    for images in (None, np.sort(np.random.default_rng(seed).integers(0, 30, 30))):
        chosen = np.arange(30) if images is None else images
        reference = coco_evaluation(
            [truth[i] for i in chosen], [answers[i].items for i in chosen], (0, 1, 2)
        )
        reference.accumulate()
        precision = reference.eval["precision"][:, :, :, 0, 0]  # (thresholds, recalls, classes)
        score = metric.score(records, images)
        assert score.primary == pytest.approx(precision[precision > -1].mean(), abs=1e-6)
        fifty = precision[0]
        assert score.values["map50"] == pytest.approx(fifty[fifty > -1].mean(), abs=1e-6)
        recall = reference.eval["recall"][:, :, 0, 0]
        assert score.values["recall"] == pytest.approx(recall[recall > -1].mean(), abs=1e-6)
        for item in score.classes:
            assert item.value == pytest.approx(precision[:, :, item.index].mean(), abs=1e-6)


def test_the_fast_value_is_that_of_the_score() -> None:
    truth, answers = random_set(7)
    metric = metric_of(Task.DETECTION, LABELS, threshold=0.25)
    records = metric.records(truth, answers)
    for weights in resamples(30, draws=5):
        images = np.repeat(np.arange(30), weights)
        assert metric.primary(records, weights) == metric.score(records, images).primary


def test_one_object_found_and_one_missed() -> None:
    """Half of the objects at precision 1: 51 of the 101 recalls, from 0 to 0.5, are reached."""
    truth = [
        PictureTruth(
            picture=picture(), width=99, height=99, boxes=(box(0, 10, 10, 20), box(0, 60, 60, 20))
        )
    ]
    answers = [Detections(items=(found(0, 0.9, 10, 10, 20),))]
    metric = DetectionMetric(LABELS, 0.5)
    score = metric.score(metric.records(truth, answers))
    assert score.primary == pytest.approx(51 / 101)
    assert score.values["count_error"] == 1


def test_a_difficult_object_is_no_crowd() -> None:
    """A small result inside it is wrong: only one that matches it as a whole is forgiven."""
    metric = metric_of(Task.DETECTION, LABELS, threshold=0.25)
    answers = [Detections(items=(found(0, 0.9, 12, 12, 5), found(0, 0.8, 60, 60, 20)))]
    values = {}
    for crowd in (False, True):
        boxes = (box(0, 10, 10, 40, ignored=True, crowd=crowd), box(0, 60, 60, 20))
        truth = [PictureTruth(picture=picture(), width=99, height=99, boxes=boxes)]
        values[crowd] = metric.score(metric.records(truth, answers)).primary
    assert values == {False: pytest.approx(0.5), True: pytest.approx(1.0)}


def test_one_too_many_does_not_hide_one_too_few() -> None:
    truth = [PictureTruth(picture=picture(), width=99, height=99, boxes=(box(1, 5, 5, 20),))]
    answers = [Detections(items=(found(0, 0.9, 60, 60, 20),))]
    metric = DetectionMetric(LABELS, 0.5)
    assert metric.score(metric.records(truth, answers)).values["count_error"] == 2


def test_nothing_annotated_is_no_score() -> None:
    truth = [PictureTruth(picture=picture(), width=9, height=9)]
    metric = metric_of(Task.DETECTION, LABELS, threshold=0.25)
    assert metric.score(metric.records(truth, [Detections(items=())])).primary is None
    records = metric.records(truth, [Detections(items=(found(0, 0.9, 1, 1, 5),))])
    assert metric.score(records).primary is None
    assert bootstrap_interval(metric, records, 1) is None


def test_counts_are_of_what_a_user_sees() -> None:
    truth = [PictureTruth(picture=picture(), width=99, height=99, boxes=(box(1, 5, 5, 20),))]
    answers = [Detections(items=(found(1, 0.9, 5, 5, 20), found(1, 0.1, 50, 50, 20)))]
    metric = DetectionMetric(LABELS, 0.5)
    assert metric.score(metric.records(truth, answers)).values["count_error"] == 0


def test_miou_by_hand() -> None:
    """Class 0: 2 of 3 pixels; class 1: 1 of 3, since one of the annotated is ignored."""
    wanted = np.array([[0, 0, 1], [1, 1, IGNORED]], np.uint8)
    given = np.array([[0, 0, 1], [0, 2, 2]], np.uint8)
    truth = [PictureTruth(picture=picture(), width=3, height=2, mask=wanted)]
    metric = metric_of(Task.SEGMENTATION, LABELS, threshold=0.25)
    score = metric.score(metric.records(truth, [Segmentation(mask=given, labels=LABELS)]))
    assert [item.value for item in score.classes] == [2 / 3, 1 / 3, 0.0]
    assert score.primary == pytest.approx(1 / 3)
    assert score.values["accuracy"] == pytest.approx(3 / 5)


def test_oks_by_hand() -> None:
    """A distance of sqrt(area) * 2 sigma gives exp(-1/2) by the formula."""
    area = 400.0
    distances = np.sqrt(area) * 2 * SIGMAS
    assert oks(distances, area, SIGMAS) == pytest.approx(np.exp(-0.5))
    assert oks(np.zeros(17), area, SIGMAS) == 1.0


def test_other_keypoints_than_the_models_are_refused() -> None:
    boxes = (box(0, 0, 0, 40, keypoints=((0.0, 0.0, 2),)),)
    truth = [PictureTruth(picture=picture(), width=99, height=99, boxes=boxes)]
    metric = metric_of(Task.POSE, tuple(map(str, range(17))), threshold=0.25)
    with pytest.raises(DataError, match="1 keypoints"):
        metric.records(truth, [Poses(items=(body(0),))])


def body(x: float, score: float = 0.9) -> Pose:
    points = tuple(Keypoint(label=str(n), x=x + n, y=float(n), score=1.0) for n in range(17))
    return Pose(score=score, keypoints=points)


def test_a_pose_that_is_not_found_counts_as_nothing() -> None:
    points = tuple((float(n), float(n), 2) for n in range(17))
    boxes = (box(0, 0, 0, 40, keypoints=points),)
    truth = [PictureTruth(picture=picture(n), width=99, height=99, boxes=boxes) for n in (0, 1)]
    metric = metric_of(Task.POSE, tuple(map(str, range(17))), threshold=0.25)
    answers = [Poses(items=(body(0), body(50))), Poses(items=())]
    assert metric.name == "oks"
    assert metric.score(metric.records(truth, answers)).primary == pytest.approx(0.5)


def test_points_of_another_set_are_counted_within_a_tenth_of_the_box() -> None:
    boxes = (box(0, 0, 0, 40, keypoints=((0.0, 0.0, 2), (10.0, 0.0, 2), (0.0, 0.0, 0))),)
    truth = [PictureTruth(picture=picture(), width=99, height=99, boxes=boxes)]
    near, far = Keypoint(label="p", x=3.9, y=0.0), Keypoint(label="q", x=14.1, y=0.0)
    pose = Pose(score=1.0, keypoints=(near, far, far))
    metric = metric_of(Task.POSE, ("p", "q", "r"), threshold=0.25)
    assert metric.name == "pck"
    assert metric.score(metric.records(truth, [Poses(items=(pose,))])).primary == 0.5


def test_an_embedding_is_held_against_its_own_direction() -> None:
    vector = np.array([1, 2], np.float32)
    truth = [PictureTruth(picture=picture(), width=0, height=0, vector=vector)]
    cosine = metric_of(Task.EMBEDDING, (), threshold=0.25)
    for other, share in ((2 * vector, 1.0), (np.array([2, -1], np.float32), 0.0)):
        records = cosine.records(truth, [Embedding(values=other)])
        assert cosine.score(records).primary == pytest.approx(share)


def test_the_interval_holds_the_value_and_narrows() -> None:
    metric = metric_of(Task.DETECTION, LABELS, threshold=0.25)
    widths = []
    for images in (10, 160):
        truth, answers = random_set(11, images)
        records = metric.records(truth, answers)
        value, interval = metric.score(records).primary, bootstrap_interval(metric, records, images)
        assert value is not None and interval is not None
        assert interval.low <= value <= interval.high
        widths.append(interval.high - interval.low)
    assert widths[1] < widths[0] / 2  # sixteen times the images: a quarter of the width
