"""Answers drawn on their pictures, and as lines and rows."""

import numpy as np
import pytest
from PIL import Image

from edge.runtime.commands.task_words import task_columns, task_rows, task_words
from edge.runtime.tasks.draw import draw, shown_label
from edge.runtime.tasks.results import (
    Detection,
    Detections,
    Embedding,
    Keypoint,
    Pose,
    Poses,
    Segmentation,
)

POINT = Keypoint(label="nose", x=4.0, y=5.0, score=0.9)


def box(label: str = "cat", size: float = 20.0) -> Detection:
    return Detection(
        index=3, label=label, score=0.75, left=1.0, top=2.0, right=size, bottom=size, keypoints=()
    )


@pytest.mark.parametrize("ground", ["white", "black"])
@pytest.mark.parametrize("size", [(32, 32), (400, 300), (1, 1), (3000, 40)])
def test_an_object_is_seen_on_any_ground(ground: str, size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, ground)
    before = picture.tobytes()
    drawn = draw(picture, Detections(items=(box("x\n" * 300 + "\U0001f600"),)))
    assert drawn.size == size
    assert drawn.tobytes() != before
    assert picture.tobytes() == before


def test_a_box_keeps_the_pixels_inside_it() -> None:
    picture = Image.new("RGB", (200, 200), (9, 9, 9))
    drawn = draw(picture, Detections(items=(box(size=180.0),)))
    assert drawn.getpixel((90, 90)) == (9, 9, 9)
    assert drawn.getpixel((1, 100)) == (0, 0, 0)  # the dark rim


def test_a_mask_colours_its_class_alone() -> None:
    mask = np.zeros((100, 200), np.uint8)
    mask[:, 150:] = 1
    answer = Segmentation(mask=mask, labels=("background", "cat"))
    drawn = draw(Image.new("RGB", (200, 100), (100, 100, 100)), answer)
    assert drawn.getpixel((140, 90)) == (100, 100, 100)
    assert drawn.getpixel((190, 90)) == (165, 130, 50)  # half of (230, 159, 0), rounded to even


def test_a_point_that_is_not_sure_is_not_drawn() -> None:
    picture = Image.new("RGB", (64, 64))
    faint = Keypoint(label="ear", x=40.0, y=40.0, score=0.1)
    drawn = draw(picture, Poses(items=(Pose(score=0.5, keypoints=(POINT, faint)),)))
    assert drawn.getpixel((4, 5)) != (0, 0, 0)
    assert drawn.getpixel((40, 40)) == (0, 0, 0)


def test_labels_stay_on_one_line() -> None:
    assert shown_label("a\nb") == "a b"
    assert len(shown_label("a" * 100)) == 40


@pytest.mark.parametrize(
    ("answer", "words", "rows"),
    [
        (
            Detections(items=(box(),)),
            "cat 75.0 % at 1,2 to 20,20",
            [["cat", "0.75", "1", "2", "20", "20"]],
        ),
        (Detections(items=()), "no object", [[""] * 6]),
        (
            Segmentation(mask=np.array([[0, 0, 0, 1]], np.uint8), labels=("sky", "=sea")),
            "sky 75.0 %; =sea 25.0 %",
            [["sky", "3", "0.75"], ["'=sea", "1", "0.25"]],
        ),
        (
            Poses(items=(Pose(score=0.5, keypoints=(POINT,)),)),
            "50.0 %, 1 points",
            [["1", "nose", "4", "5", "0.9"]],
        ),
        (
            Embedding(values=np.array([1.0, -0.5], np.float32)),
            "a vector of 2 values",
            [["1", "-0.5"]],
        ),
    ],
)
def test_an_answer_is_one_line_and_rows(
    answer: Detections | Segmentation | Poses | Embedding, words: str, rows: list[list[str]]
) -> None:
    stated = answer.to_json()
    assert task_words(stated) == words
    columns = task_columns([{"error": "unread"}, stated])
    assert list(task_rows(stated, columns)) == rows
