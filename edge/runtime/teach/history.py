"""The last changes of what a bundle was taught, so that each can be taken back; in memory alone."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge.runtime.teach.taught import Example, Taught

MOST_STEPS: Final = 20


@dataclass(frozen=True, slots=True)
class UndoStep:
    """What it takes to take a change back.

    Attributes:
        words: What was done, a clause.
        examples: Everything that was taught before.
        gone: The vectors (features,) of pictures that were not there any more, by image.
        press: Class and burst of the pictures that were added; None for another change.
    """

    words: str
    examples: tuple[Example, ...]
    gone: Mapping[str, NDArray[np.float32]]
    press: tuple[str, str] | None = None

    def before(self, after: Taught) -> Taught:
        """Return what was taught before, of what was taught after."""
        rows = dict(self.gone)
        for item, vector in zip(after.examples, after.vectors, strict=True):
            rows[item.image] = vector
        vectors = [rows[item.image] for item in self.examples]
        return replace(
            after,
            examples=self.examples,
            vectors=np.stack(vectors) if vectors else after.vectors[:0],
        )


class History:
    """The last changes; the oldest one goes when there are too many.

    A step keeps no vectors but those that went: what was taught is up to 10 MB.
    """

    def __init__(self) -> None:
        self._steps: list[UndoStep] = []

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def last(self) -> UndoStep | None:
        """The change that would be taken back first; None for none."""
        return self._steps[-1] if self._steps else None

    def clear(self) -> None:
        """Forget all changes."""
        self._steps.clear()

    def pop(self) -> None:
        """Forget the last change, which was taken back."""
        self._steps.pop()

    def changed(self, before: Taught | None, after: Taught, words: str) -> None:
        """Remember a change.

        Args:
            before: What was taught; None for nothing.
            after: What is taught now.
            words: What was done, a clause.
        """
        there = {item.image for item in after.examples}
        gone = {}
        if before is not None:
            for item, vector in zip(before.examples, before.vectors, strict=True):
                if item.image not in there:
                    gone[item.image] = vector.copy()  # a view would keep all of them
        self._append(UndoStep(words, () if before is None else before.examples, gone))

    def added(self, before: Taught, after: Taught, label: str, together: str) -> None:
        """Remember that pictures were added; those that came together are one change."""
        press = (label, together) if together else None
        last = self.last
        same = last is not None and press is not None and last.press == press
        examples = last.examples if last is not None and same else before.examples
        if same:
            self.pop()
        words = f"teaching {counted(len(after.examples) - len(examples))} of {label}"
        self._append(UndoStep(words, examples, {}, press))

    def _append(self, step: UndoStep) -> None:
        self._steps.append(step)
        del self._steps[:-MOST_STEPS]


def counted(pictures: int) -> str:
    """Return a number of pictures in words."""
    return "a picture" if pictures == 1 else f"{pictures} pictures"
