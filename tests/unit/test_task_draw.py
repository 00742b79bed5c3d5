"""Answers drawn on their pictures, and as lines and rows."""

import numpy as np
import pytest
from PIL import Image

from edge.runtime.commands.task_words import task_columns, task_rows, task_words
from edge.runtime.tasks.draw import PALETTE, draw, shown_label
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


def ground_of(color: tuple[int, int, int], drawn: Image.Image) -> int:
    """How many pixels have exactly this colour."""
    return int((np.array(drawn) == color).all(axis=-1).sum())


@pytest.mark.parametrize("place", [(0, 0), (150, 150), (299, 199)])
def test_labels_of_objects_do_not_hide_one_another(place: tuple[int, int]) -> None:
    """Each one alone leaves as much of its ground as all of them together."""
    left, top = (float(value) for value in place)
    ends = {"left": left, "top": top, "right": left + 1, "bottom": top + 1}
    items = tuple(
        Detection(index=index, label="cat", score=0.9 - index / 10, keypoints=(), **ends)
        for index in range(4)
    )
    blank = Image.new("RGB", (300, 200), (9, 9, 9))
    together = draw(blank, Detections(items=items))
    for item in items:
        color = PALETTE[item.index]
        alone = ground_of(color, draw(blank, Detections(items=(item,))))
        assert ground_of(color, together) >= 0.97 * alone  # less by a pixel of a box's line


def test_a_crowd_has_as_many_labels_as_fit() -> None:
    items = tuple(box(label=str(number), size=3.0) for number in range(2000))
    drawn = draw(Image.new("RGB", (60, 60), "white"), Detections(items=items))
    assert drawn.size == (60, 60)


def test_the_legend_of_a_mask_has_a_line_for_each_class() -> None:
    mask = np.zeros((200, 300), np.uint8)
    mask[100:, 100:] = 1
    mask[150:, 200:] = 2
    answer = Segmentation(mask=mask, labels=("und", "cat", "dog"))
    drawn = draw(Image.new("RGB", (300, 200), "black"), answer)
    written = [ground_of(color, drawn) for color in ((255, 255, 255), PALETTE[0], PALETTE[1])]
    assert min(written) > 0.5 * max(written)


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
            "shares of pixels: sky 75.0 %; =sea 25.0 %",
            [["sky", "3", "0.75"], ["'=sea", "1", "0.25"]],
        ),
        (
            Poses(items=(Pose(score=0.5, keypoints=(POINT,)),)),
            "50.0 %, 1 point",
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
