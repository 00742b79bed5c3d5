"""What a task model says of a picture, as words and as rows of a table."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from edge.runtime.printable import csv_cell

LISTED: Final = 5  # objects in a line
DETECTION_COLUMNS: Final = ("label", "score", "left", "top", "right", "bottom")
SEGMENT_COLUMNS: Final = ("label", "pixels", "share")
POSE_COLUMNS: Final = ("pose", "label", "x", "y", "score")


def task_words(answer: Mapping[str, Any]) -> str:
    """Return the JSON object of a task model's answer as one line; boxes are x, y to x, y."""
    if "detections" in answer:
        items = answer["detections"]
        parts = [
            f"{item['label']} {100 * item['score']:.1f} % at {item['left']:.0f},{item['top']:.0f} "
            f"to {item['right']:.0f},{item['bottom']:.0f}"
            for item in items
        ]
        return _listed(parts, "no object")
    if "segments" in answer:
        parts = [f"{item['label']} {100 * item['share']:.1f} %" for item in answer["segments"]]
        return f"shares of pixels: {_listed(parts, 'none')}"
    if "poses" in answer:
        parts = [
            f"{100 * item['score']:.1f} %, {len(item['keypoints'])} "
            f"point{'s' * (len(item['keypoints']) != 1)}"
            for item in answer["poses"]
        ]
        return _listed(parts, "no pose")
    return f"a vector of {len(answer['embedding'])} values"


def task_columns(answers: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the columns of a table of these answers, between ``image`` and ``error``."""
    for answer in answers:
        if "detections" in answer:
            return DETECTION_COLUMNS
        if "segments" in answer:
            return SEGMENT_COLUMNS
        if "poses" in answer:
            return POSE_COLUMNS
        if "embedding" in answer:
            return tuple(f"value_{number}" for number in range(1, len(answer["embedding"]) + 1))
    return ()


def task_rows(answer: Mapping[str, Any], columns: Sequence[str]) -> Iterator[list[str]]:
    """Yield a row for each object, class or point; one empty row where there is none."""
    if "embedding" in answer:
        yield [f"{value:.6g}" for value in answer["embedding"]]
        return
    items = list(answer.get("detections", ())) + list(answer.get("segments", ()))
    for number, pose in enumerate(answer.get("poses", ()), 1):
        items += [{"pose": number} | point for point in pose["keypoints"]]
    for item in items:
        yield [_cell(item[column]) for column in columns]
    if not items:
        yield [""] * len(columns)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return csv_cell(value)
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _listed(parts: Sequence[str], nothing: str) -> str:
    if not parts:
        return nothing
    left_out = len(parts) - LISTED
    more = [f"and {left_out} more, which --json and --csv list"] if left_out > 0 else []
    return "; ".join([*parts[:LISTED], *more])
