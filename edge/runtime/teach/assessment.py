"""What a taught bundle is worth: the figures, and what has to be known of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

PRESS: Final = "press"  # all pictures of the own series were left out
PICTURE: Final = "picture"  # the picture alone was
MOST_NAMED: Final = 3  # classes in a note


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPictures:
    """How many taught pictures get the right answer when they are left out.

    Attributes:
        pictures: All that were taught.
        judged: Those that could be judged.
        right: Those of them that got the right answer.
        accuracy: Their share, 0..1; None where none could be judged.
        low: Lower end of its 95 % interval (Wilson), where a series that was left out as a whole
            counts as one observation; likewise.
        high: Upper end; likewise.
        held_out: ``press`` if every picture was judged without its series, else ``picture``;
            empty where none could be judged.
    """

    pictures: int
    judged: int
    right: int
    accuracy: float | None
    low: float | None
    high: float | None
    held_out: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassAssessment(JudgedPictures):
    """The pictures of one class.

    Attributes:
        label: The class.
        bursts: Series in which they came.
    """

    label: str
    bursts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenFor:
    """How many pictures of a class got the answer of another one."""

    label: str
    answered: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A picture to look at, and perhaps to remove.

    Attributes:
        image: Its sha256, hex.
        label: The class that it was taught as.
        answered: The class that it is taken for; empty where the answer is right, and it only looks
            more like pictures of another class.
        why: A sentence.
    """

    image: str
    label: str
    answered: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment(JudgedPictures):
    """What a taught bundle is worth, by its own pictures.

    Attributes:
        classes: In the order in which they were taught.
        note: What one has to know of the figure; may be empty.
        confusion: The most frequent first.
        remove: The most doubtful first, at most 12.
    """

    classes: tuple[ClassAssessment, ...]
    note: str
    confusion: tuple[TakenFor, ...]
    remove: tuple[Doubt, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    @property
    def words(self) -> str:
        """One line for people: how many of the pictures are answered rightly, and its interval."""
        if self.accuracy is None or self.low is None or self.high is None:
            return self.note
        without = "their series" if self.held_out == PRESS else "themselves"
        line = (
            f"{self.right} of {self.judged} taught pictures are answered rightly without {without} "
            f"({100 * self.accuracy:.0f} %, 95 % interval {100 * self.low:.0f} to "
            f"{100 * self.high:.0f})"
        )
        return f"{line}; {self.note}" if self.note else line


def held_out(classes: Sequence[ClassAssessment]) -> str:
    """Return what was left out of all classes: the word for less, where they differ."""
    found = {item.held_out for item in classes if item.judged}
    return PICTURE if PICTURE in found else PRESS if found else ""


def note_of(classes: Sequence[ClassAssessment], known: int) -> str:
    """Return what has to be known of the figure; empty where it stands by itself."""
    if known == 1:
        return "every picture gets the answer of the only class: teach a second one"
    notes = []
    single = [item.label for item in classes if not item.judged]
    if single:
        notes.append(f"not judged, with a single picture: {_listed(single)}")
    flattered = [item.label for item in classes if item.held_out == PICTURE and item.right]
    if flattered:
        notes.append(
            f"pictures of one series are alike, which flatters {_listed(flattered)}: a second "
            "series of pictures, at another time or place, gives an honest figure"
        )
    return "; ".join(notes)


def _listed(labels: Sequence[str]) -> str:
    more = len(labels) - MOST_NAMED
    return ", ".join(labels[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
