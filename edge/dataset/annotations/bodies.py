"""The keypoints of annotated bodies, brought into the order of the model's.

A pose model's labels are keypoints. The category of an annotation is the body, whatever it is
called: its keypoints are matched by name where both sides name them, else by count and order.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from edge.dataset.annotations.stated import StatedBox
from edge.errors import DataError
from edge.wording import counted, listed

Points = tuple[tuple[float, float, int], ...]
_MISSING: Final = (0.0, 0.0, 0)  # a keypoint that is not annotated, as COCO has it
_LEAST: Final = 0.5  # share of the shorter list of names that has to be in the other one


class BodyMatching:
    """Finds the model's keypoints in annotated objects, and counts what it does.

    Args:
        labels: The names of the model's keypoints, in its order.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)
        self._places: dict[tuple[str, ...], tuple[int | None, ...] | None] = {}
        self._named: Counter[str] = Counter()
        self._ordered: Counter[str] = Counter()
        self._missing: set[str] = set()
        self._others: dict[str, str] = {}

    def ordered(self, item: StatedBox) -> Points | None:
        """Return the keypoints in the order of the model's; None of an object that is no body.

        Raises:
            DataError: The object has another number of keypoints than its category names.
        """
        if item.points and item.keypoints and len(item.points) != len(item.keypoints):
            raise DataError(
                f"an object of {item.label!r} has {len(item.keypoints)} keypoints, and its "
                f"category names {len(item.points)}",
                hint="Export the annotations again.",
            )
        if not item.keypoints:
            self._others[item.label] = "no keypoints"
            return None
        places = self._found(item.points)
        if places is not None:
            self._named[item.label] += 1
            return tuple(_MISSING if place is None else item.keypoints[place] for place in places)
        if len(item.keypoints) == len(self._labels):
            self._ordered[item.label] += 1
            return item.keypoints
        kinds = f": {listed(list(map(repr, item.points)), 3)}" if item.points else ""
        self._others[item.label] = f"{len(item.keypoints)} keypoints{kinds}"
        return None

    def _found(self, names: tuple[str, ...]) -> tuple[int | None, ...] | None:
        """Return where each keypoint of the model stands among names; None if they are others."""
        if names not in self._places:
            given: dict[str, int] = {}
            for number, name in enumerate(names):
                given.setdefault(_bare(name), number)
            places = tuple(given.get(_bare(label)) for label in self._labels)
            found = sum(place is not None for place in places)
            known = found > 0 and found >= _LEAST * min(len(names), len(places))
            self._places[names] = places if known else None
            if known:
                pairs = zip(self._labels, places, strict=True)
                self._missing |= {label for label, place in pairs if place is None}
        return self._places[names]

    def refusal(self) -> DataError:
        """Return the error of annotations without any body."""
        found = "; ".join(f"{name!r} has {what}" for name, what in list(self._others.items())[:5])
        return DataError(
            f"no annotated object has the {len(self._labels)} keypoints of the model: {found}",
            hint=f"The model's are {listed(list(map(repr, self._labels)), 5)}. Annotate these, "
            "with x, y and visibility of each, in this order or with their names in the category.",
        )

    def notes(self) -> list[str]:
        """Return how the keypoints were matched, and which ones are not annotated."""
        notes = [
            f"{_bodies(counts)}: the keypoints are matched {how}"
            for counts, how in (
                (self._named, "by name"),
                (self._ordered, f"by their order: no names say which the {len(self._labels)} are"),
            )
            if counts
        ]
        if self._missing:
            names = [repr(label) for label in self._labels if label in self._missing]
            notes.append(
                f"{counted(len(names), 'keypoint')} of the model that the annotations do not name "
                f"{'counts' if len(names) == 1 else 'count'} nowhere: {listed(names, 5)}"
            )
        return notes


def _bodies(counts: Counter[str]) -> str:
    """Return what is taken for bodies: the name of a category and how many objects it has."""
    named = listed([f"{name!r} ({count})" for name, count in counts.most_common()], 5)
    return f"{named} {'is the body' if len(counts) == 1 else 'are the bodies'} of the pose"


def _bare(name: str) -> str:
    """Return the letters and digits of a name, so that ``left_eye`` is ``Left eye``."""
    return re.sub(r"[\W_]+", "", name.casefold())
