"""What a file of annotations states, before classes and pictures are matched."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.dataset.truth import AnnotatedBox
from edge.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedBox(AnnotatedBox):
    """An object as the file has it, in the frame and unit that the file means.

    Attributes:
        label: The name of the class.
        points: The names of its keypoints, in their order; none where the file does not state them.
    """

    label: str
    points: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedPicture:
    """The annotations of one picture.

    Attributes:
        boxes: Its objects.
        size: (width, height) that the file states of the picture, pixels; None where it does not.
        mask: A PNG file of the class of each pixel; None where there is none.
        shares: Whether the boxes are shares of the sides, 0..1, and not pixels.
        source: The file that says so.
    """

    source: Path
    boxes: tuple[StatedBox, ...] = ()
    size: tuple[int, int] | None = None
    mask: Path | None = None
    shares: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One line of the table.

    Attributes:
        name: Its key.
        meaning: Where the files lie and what they are, one clause.
        evidence: Gives the files of that format below a folder; none where there are none.
        read: Gives what they state of each of the pictures, from the folder, the files, the
            pictures and the labels of the model; a picture without annotation is left out.
    """

    name: str
    meaning: str
    evidence: Callable[[Path], Sequence[Path]]
    read: Callable[[Path, Sequence[Path], Sequence[Path], Sequence[str]], dict[Path, StatedPicture]]


def by_stem(pictures: Sequence[Path]) -> dict[str, Path]:
    """Return the pictures by their name without suffix.

    Raises:
        DataError: Two have the same.
    """
    found: dict[str, Path] = {}
    for path in pictures:
        if path.stem in found:
            raise DataError(
                f"{found[path.stem]} and {path} differ in the suffix or the folder alone, so that "
                "an annotation cannot be told apart",
                hint="Give them different names.",
            )
        found[path.stem] = path
    return found
