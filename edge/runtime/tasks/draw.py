"""Draws an answer on its picture: boxes, masks and points, readable on any picture."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edge.runtime.printable import one_line
from edge.runtime.tasks.results import (
    Answer,
    Detections,
    Embedding,
    Keypoint,
    Poses,
    Segmentation,
)

# Okabe and Ito, "Color Universal Design" (2008): told apart with any kind of colour vision.
PALETTE: Final = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
BLACK: Final = (0, 0, 0)
WHITE: Final = (255, 255, 255)
LONGEST: Final = 40  # characters of a label
SHARE: Final = 0.5  # how much of the colour a mask lays over the picture
LEAST_SCORE: Final = 0.3  # points that are less sure are not drawn
LEAST_FONT: Final = 10  # pixels


def draw(picture: Image.Image, answer: Answer) -> Image.Image:
    """Return a copy of a picture with what a model says of it.

    Args:
        picture: Upright, RGB, of the size that the answer speaks of.
        answer: What is drawn; a vector cannot be, and leaves the picture as it is.
    """
    if isinstance(answer, Segmentation):
        return _masked(picture, answer)
    drawn = picture.convert("RGB")
    pen = _Pen(drawn)
    if isinstance(answer, Detections):
        for item in reversed(answer.items):  # the surest lies on top
            color = color_of(item.index)
            pen.box((item.left, item.top, item.right, item.bottom), color)
            pen.points(item.keypoints, color)
        for item in answer.items:  # the surest one has the first choice of a place
            text = f"{item.label} {100 * item.score:.0f} %"
            pen.label(item.left, item.top, text, color_of(item.index))
    elif isinstance(answer, Poses):
        for number, pose in enumerate(answer.items):
            pen.points(pose.keypoints, color_of(number))
    else:
        assert isinstance(answer, Embedding)
    return drawn


def color_of(index: int) -> tuple[int, int, int]:
    """Return the colour of a class, the same in every picture."""
    return PALETTE[index % len(PALETTE)]


def mask_color(index: int) -> tuple[int, int, int]:
    """Return the colour of a class in a mask, whose class 0 is the background and has none."""
    return color_of(index - 1)


def shown_label(text: str) -> str:
    """Return a text on one line, with an ellipsis where it is too long to be drawn."""
    return one_line(" ".join(text.split()), LONGEST)


class _Pen:
    """Draws on one picture with lines and letters that fit its size."""

    def __init__(self, picture: Image.Image) -> None:
        self._size = picture.size
        self._draw = ImageDraw.Draw(picture)
        side = min(picture.size)
        self.line = max(1, round(side / 250))
        self._font = ImageFont.load_default(max(LEAST_FONT, round(side / 32)))
        self._taken = np.empty((0, 4), np.intp)  # left, top, right and bottom of each label

    def box(self, box: tuple[float, float, float, float], color: tuple[int, int, int]) -> None:
        """Draw a box whose coloured line has a dark one on both sides."""
        left, top, right, bottom = (round(value) for value in box)
        width, height = self._size
        left, right = min(left, width - 1), min(max(right - 1, left), width - 1)
        top, bottom = min(top, height - 1), min(max(bottom - 1, top), height - 1)
        edge = max(1, self.line // 2)
        self._draw.rectangle((left, top, right, bottom), outline=BLACK, width=self.line + 2 * edge)
        if right - left > 2 * edge and bottom - top > 2 * edge:
            inner = (left + edge, top + edge, right - edge, bottom - edge)
            self._draw.rectangle(inner, outline=color, width=self.line)

    def points(self, points: Sequence[Keypoint], color: tuple[int, int, int]) -> None:
        """Draw points as dots with a dark rim."""
        radius = 2 * self.line
        for point in points:
            if point.score is not None and point.score < LEAST_SCORE:
                continue
            around = (point.x - radius, point.y - radius, point.x + radius, point.y + radius)
            self._draw.ellipse(around, fill=color, outline=BLACK, width=max(1, self.line // 2))

    def label(self, left: float, top: float, text: str, color: tuple[int, int, int]) -> bool:
        """Write a text on a coloured ground above a place, or as near to it as there is room.

        No label lies on another one; where none fits beside the others, it is left out.

        Returns:
            Whether there was room.
        """
        shown = shown_label(text)
        margin = self.line + 1
        start, over, end, under = self._draw.textbbox((0, 0), shown, font=self._font)
        wide, high = round(end - start) + 2 * margin, round(under - over) + 2 * margin
        above = round(top) - high
        wanted = (round(left), round(top) if above < 0 else above)
        place = self._place(wanted, (wide, high))
        if place is None:
            return False
        x, y = place
        self._taken = np.vstack((self._taken, (x, y, x + wide, y + high)))
        self._draw.rectangle((x, y, x + wide - 1, y + high - 1), fill=color)
        at = (x + margin - start, y + margin - over)
        self._draw.text(at, shown, fill=_ink(color), font=self._font)
        return True

    def _place(self, wanted: tuple[int, int], size: tuple[int, int]) -> tuple[int, int] | None:
        """Return the free place inside the picture that is nearest to the wanted one.

        Tried are places that touch a label, and then a grid of places over the whole picture.
        """
        width, height = size
        most = np.maximum(np.array(self._size) - size, 0)
        x, y = np.clip(wanted, 0, most)
        left, top, right, bottom = self._taken.T
        beside = [
            np.stack(np.broadcast_arrays(*at), axis=-1).reshape(-1, 2)
            for at in (
                (x, y),
                (x, top - height),
                (x, bottom),
                (left - width, y),
                (right, y),
            )
        ]
        columns = np.arange(0, most[0] + 1, width)
        rows = np.arange(0, most[1] + 1, height)
        grid = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
        for places in (np.concatenate(beside), grid):
            inside = places[((places >= 0) & (places <= most)).all(axis=1)]
            apart = (
                (inside[:, :1] >= right)
                | (inside[:, :1] + width <= left)
                | (inside[:, 1:] >= bottom)
                | (inside[:, 1:] + height <= top)
            )
            free = inside[apart.all(axis=1)]
            if len(free):
                nearest = free[np.square(free - (x, y)).sum(axis=1).argmin()]
                return int(nearest[0]), int(nearest[1])
        return None


def _ink(ground: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return black or white, whichever is read better on a colour (weights of ITU-R BT.601)."""
    red, green, blue = ground
    return BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 120 else WHITE


def _masked(picture: Image.Image, answer: Segmentation) -> Image.Image:
    """Return the picture under the colours of its classes, but for the first, and a legend.

    Class 0 is the background of PASCAL VOC and of most models with one; where it is the only
    class that has pixels, the legend says so.
    """
    colors = np.array([mask_color(index) for index in range(256)], np.float32)
    pixels = np.array(picture.convert("RGB"))
    shown = answer.mask != 0
    mixed = (1 - SHARE) * pixels[shown] + SHARE * colors[answer.mask[shown]]
    pixels[shown] = np.rint(mixed).astype(np.uint8)
    drawn = Image.fromarray(pixels)
    pen = _Pen(drawn)
    for item in answer.to_json()[Segmentation.KEY]:
        color = WHITE if item["index"] == 0 else mask_color(item["index"])
        if not pen.label(0, 0, f"{item['label']} {100 * item['share']:.1f} % of pixels", color):
            break
    return drawn
