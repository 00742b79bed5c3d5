"""Tags: the classes that a picture shows with at least a certain probability, and CSV of them."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import InferenceError
from edge.runtime.files import readable
from edge.runtime.place import write_output
from edge.runtime.postprocess import top_k
from edge.runtime.printable import csv_cell


@dataclass(frozen=True, slots=True)
class Tag:
    """A word for what a picture shows, and its probability, 0..1."""

    label: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """A picture and its tags.

    Attributes:
        path: The path of the picture, relative to the folder that was tagged.
        tags: The tags, best first; empty if no class reached the threshold.
        problem: The reason why the picture could not be read; otherwise empty.
    """

    path: Path
    tags: tuple[Tag, ...] = ()
    problem: str = ""


def choose(
    scores: NDArray[np.float32], labels: Sequence[str], *, threshold: float, most: int
) -> tuple[Tag, ...]:
    """Choose the best classes that have at least a certain probability.

    Args:
        scores: (classes,), float32, 0..1.
        labels: One label per class.
        threshold: The least probability of a tag, 0..1.
        most: The maximum number of tags.

    Raises:
        InferenceError: The scores are not probabilities, or not as many as the labels.
    """
    best = top_k(scores, labels, most)
    if best and not -0.01 <= best[-1].score <= best[0].score <= 1.01:
        raise InferenceError(
            f"the model's best score is {best[0].score:.3g}, no probability of 0 to 1",
            hint="Tag with a classifier whose output is a softmax.",
        )
    return tuple(Tag(item.label, item.score) for item in best if item.score >= threshold)


COLUMNS: Final = ("image", "tag", "probability")


def write_csv(path: Path, pictures: Iterable[Tagged]) -> None:
    """Write the table: UTF-8, a header, and a row per picture and tag (RFC 4180).

    A picture without a tag has one row with two empty fields. What a spreadsheet would take as a
    formula has an apostrophe before it.

    Raises:
        OutputError: The file cannot be written.
    """
    stream = io.StringIO(newline="")
    table = csv.writer(stream)  # its defaults are RFC 4180: CRLF, quotes doubled
    table.writerow(COLUMNS)
    for picture in pictures:
        name = csv_cell(readable(picture.path))
        rows = [(name, csv_cell(tag.label), f"{tag.score:.4f}") for tag in picture.tags]
        table.writerows(rows or [(name, "", "")])
    write_output(path, stream.getvalue())
