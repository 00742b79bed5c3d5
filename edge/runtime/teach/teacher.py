"""Teaching a bundle: pictures come and go, every step can be taken back, and what it is worth.

Several teachers of one bundle lose nothing: each change locks the bundle, and begins with what the
file holds by then. A file that cannot be written is as it was.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import BundleError, InferenceError, UsageError
from edge.runtime.bundle import Bundle
from edge.runtime.head import Head, read_head
from edge.runtime.spec import Variant
from edge.runtime.teach.assessment import Assessment as Assessment
from edge.runtime.teach.history import History, counted
from edge.runtime.teach.labels import checked_label, found_label, known_label
from edge.runtime.teach.leave_one_out import assessment as assessment
from edge.runtime.teach.lesson import Learnt as Learnt
from edge.runtime.teach.lesson import LessonPicture as LessonPicture
from edge.runtime.teach.lesson import near_duplicate as near_duplicate
from edge.runtime.teach.lesson import sorted_out
from edge.runtime.teach.taught import (
    FORGET,
    Taught,
    alone,
    nothing_taught,
    read_taught,
    remove_taught,
    stamp,
    write_taught,
)

MOST_PICTURES: Final = 2000  # 10 MB of 1280 features, written anew with each picture
MOST_CLASSES: Final = 200
MOST_BURST_CHARACTERS: Final = 64


def check_learns(bundle: Bundle) -> None:
    """Refuse a bundle that cannot learn.

    Raises:
        UsageError: Its head was trained by gradient steps, or it is no classifier.
    """
    if bundle.manifest.decoder is not None:
        raise UsageError(
            f"a model of {bundle.manifest.task} cannot learn classes",
            hint="Classifiers that edge builds with --head imprinted or --head knn can.",
        )
    if bundle.manifest.head is None:
        raise UsageError(
            f"{bundle.path} has a trained head, which cannot learn classes on a device",
            hint="Build it with: edge build PHOTOS --head imprinted --output BUNDLE",
        )


class Teacher:
    """Teaches a bundle with one of its model files; several threads may use it.

    Args:
        bundle: One with a head.
        variant: The model file that makes the vectors.

    Raises:
        UsageError: The bundle cannot learn.
    """

    def __init__(self, bundle: Bundle, variant: Variant) -> None:
        check_learns(bundle)
        self.bundle = bundle
        self.variant = variant
        self._model = bundle.manifest.files.get(variant.path, "")
        self._lock = threading.RLock()
        self._release: Head | None = None
        # What the file held when it had that stamp; None until it is read.
        self._held: tuple[tuple[int, int, int] | None, Taught | None] | None = None
        self._history = History()
        self._overtaken = False
        self._assessed: tuple[Taught, Assessment] | None = None

    @property
    def release(self) -> Head:
        """The release's head, without what was taught.

        Raises:
            BundleError: It cannot be used.
        """
        with self._lock:
            if self._release is None:
                self._release = read_head(self.bundle)
            assert self._release is not None  # the bundle learns
            return self._release

    @property
    def features(self) -> int:
        """Length of a vector."""
        return self.release.features

    @property
    def taught(self) -> Taught:
        """Everything that was taught, by whomever; without examples where that is nothing.

        Raises:
            BundleError: It cannot be read, or was taught with another file of the variant's name.
            UsageError: It was taught with another variant.
        """
        with self._lock:
            taught = self._current()
            if taught is None:
                return nothing_taught(self.variant, self._model, self.features)
            taught.check_model(self.variant, self._model)
            if taught.vectors.shape[1] != self.features:
                raise BundleError(
                    f"the bundle was taught vectors of {taught.vectors.shape[1]} features; its "
                    f"head takes {self.features}",
                    hint=FORGET,
                )
            return taught

    @property
    def undoable(self) -> str:
        """What ``undo`` would take back, a clause; empty where there is nothing."""
        with self._lock:
            current = self._held is not None and self._held[0] == stamp(self.bundle)
            step = self._history.last
            return step.words if current and step is not None else ""

    def add(
        self,
        label: str,
        content: bytes,
        vector: NDArray[np.float32],
        burst: str = "",
        *,
        step: str = "",
    ) -> Learnt:
        """Teach a picture of a camera: one that is nearly there already is not learnt.

        Args:
            label: The class, as a user typed it.
            content: The bytes of an image file.
            vector: (features,) float32, its embedding.
            burst: What the pictures of one press of the button share; empty where that is not
                known. At most 64 characters.
            step: What pictures share that one undo takes back together; the burst where empty.

        Raises:
            UsageError: The label or the burst cannot be one, or a bound is reached.
            InferenceError: The vector is not finite, or of another length.
            BundleError: What was taught cannot be read.
            OutputError: It cannot be written; it is as it was.
        """
        picture = LessonPicture.of(content, vector)
        return self.add_all(label, [picture], burst, near=False, step=step)[0]

    def add_all(
        self,
        label: str,
        pictures: Sequence[LessonPicture],
        burst: str = "",
        *,
        near: bool,
        step: str = "",
    ) -> tuple[Learnt, ...]:
        """Teach all pictures with one writing of the file, or none; see ``add``.

        Args:
            label: As of ``add``.
            pictures: What to learn; one whose bytes the class has already does not count again,
                and one that another class has is left there.
            burst: As of ``add``.
            near: Whether a picture that is nearly one of the class is learnt as well: somebody
                who names files has chosen them.
            step: As of ``add``.
        """
        wanted = checked_label(label)
        _check_burst(burst)
        _check_burst(step)
        for picture in pictures:
            self._check_vector(picture)
        with self._changing():
            before = self.taught
            name = known_label(wanted, (*self.bundle.manifest.labels, *before.labels))
            results, fresh = sorted_out(before, name, pictures, near=near)
            if not fresh:
                return results
            after, _ = before.added(
                name,
                [item.image for item in fresh],
                np.stack([item.vector for item in fresh]).astype(np.float32),
                burst=burst,
                thumbnails=[item.thumbnail for item in fresh],
            )
            _check_bounds(after)
            self._write(after)
            self._history.added(before, after, name, step or burst)
            return results

    def forget(self, label: str) -> dict[str, int]:
        """Forget what was taught of a class; return its name and how many pictures it had.

        Raises:
            UsageError: No such class was taught.
            BundleError: What was taught cannot be read.
            OutputError: It cannot be written; it is as it was.
        """
        with self._changing():
            before = self._current()
            name, counts = self._found(before, label)
            assert before is not None  # the class was found in it
            count = counts[name]
            self._change(before.without(name), f"forgetting {name} ({counted(count)})")
            return {name: count}

    def forget_all(self) -> dict[str, int]:
        """Forget everything, also a file that cannot be read, which nothing else would take away.

        Returns:
            Pictures by class; nothing of a file that cannot be read.

        Raises:
            UsageError: Nothing was taught.
            OutputError: The folder cannot be written.
        """
        with self._changing():
            try:
                before = self._current()
            except BundleError:
                remove_taught(self.bundle)
                return {}
            if before is None or not before.examples:
                raise UsageError(f"{self.bundle.path} was taught nothing")
            images = {item.image for item in before.examples}
            self._change(before.removed(images), f"forgetting all {counted(len(before.examples))}")
            return before.labels

    def rename(self, label: str, to: str) -> int:
        """Give a class that was taught another name, or its pictures to another class.

        Returns:
            How many pictures have another class now.

        Raises:
            UsageError: No such class was taught, or the name cannot be one.
            BundleError, OutputError: As of ``forget``.
        """
        wanted = checked_label(to)
        with self._changing():
            before = self._current()
            name, counts = self._found(before, label)
            assert before is not None  # the class was found in it
            others = [item for item in (*self.bundle.manifest.labels, *counts) if item != name]
            target = known_label(wanted, others)
            if target == name:
                return 0
            self._change(before.renamed(name, target), f"renaming {name} to {target}")
            return counts[name]

    def remove(self, images: Sequence[str], label: str | None = None) -> int:
        """Remove pictures; return how many went.

        Args:
            images: sha256 (hex) of each.
            label: The class that they are taken from, as it was taught; None for every class.

        Raises:
            UsageError: None of them was taught.
            BundleError, OutputError: As of ``forget``.
        """
        with self._changing():
            before = self._current()
            after = None if before is None else before.removed(images, label)
            if before is None or after is None or after is before:
                raise UsageError("none of these pictures was taught", hint="Look at them again.")
            count = len(before.examples) - len(after.examples)
            self._change(after, f"removing {counted(count)}")
            return count

    def undo(self) -> str:
        """Take the last change back that this teacher made; return what it was, a clause.

        Pictures that were added one by one with one press of the button are one change.

        Raises:
            UsageError: There is none, or somebody else has changed what was taught since.
            BundleError, OutputError: As of ``forget``.
        """
        with self._changing():
            current, step = self._current(), self._history.last
            if step is None or current is None:
                if self._overtaken:
                    raise UsageError(
                        "somebody else has taught the bundle since; nothing is taken back",
                        hint="Remove pictures, or forget a class.",
                    )
                raise UsageError("there is nothing to take back")
            before = step.before(current)
            write_taught(self.bundle, before)
            self._history.pop()
            self._held = stamp(self.bundle), before
            return step.words

    def assessment(self) -> Assessment:
        """Return what was taught is worth; computed anew when that has changed.

        Raises:
            BundleError, UsageError: As of ``taught``.
        """
        with self._lock:
            taught, release = self.taught, self.release
            if self._assessed is None or self._assessed[0] is not taught:
                self._assessed = taught, assessment(release, taught)
            return self._assessed[1]

    def state(self) -> dict[str, Any] | None:
        """Return ``assessment`` as JSON values, with what ``undo`` would take back.

        None while nothing is taught and nothing can be taken back.
        """
        with self._lock:
            undo = self.undoable
            if not self.taught.examples and not undo:
                return None
            return self.assessment().to_json() | {"undo": undo or None}

    def thumbnail(self, image: str) -> bytes:
        """Return the small JPEG file of a picture.

        Args:
            image: Its sha256, hex.

        Raises:
            UsageError: There is none.
            BundleError: What was taught cannot be read.
        """
        with self._lock:
            taught = self._current()
        for item in () if taught is None else taught.examples:
            if item.image == image and item.thumbnail:
                return item.thumbnail
        raise UsageError("there is no small picture of that one")

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Let nobody else, in this process or another one, change what was taught meanwhile."""
        with self._lock, alone(self.bundle):
            yield

    def _current(self) -> Taught | None:
        """Return what the file holds now; None while nothing is taught.

        Raises:
            BundleError: It cannot be read.
        """
        seen = stamp(self.bundle)
        if self._held is None or self._held[0] != seen:
            # Somebody else taught: what this one could take back is not what is there.
            self._overtaken = len(self._history) > 0 or self._overtaken
            self._history.clear()
            self._held = None
            self._held = seen, read_taught(self.bundle)
        return self._held[1]

    def _write(self, after: Taught) -> None:
        """Write what is taught from now on; only within ``_changing``."""
        write_taught(self.bundle, after)
        self._held = stamp(self.bundle), after
        self._overtaken = False

    def _change(self, after: Taught, words: str) -> None:
        """Do as ``_write``, and remember how to take it back."""
        before = self._current()
        self._write(after)
        self._history.changed(before, after, words)

    def _found(self, taught: Taught | None, text: str) -> tuple[str, dict[str, int]]:
        """Return a class as it was taught, and the pictures of all classes that were."""
        counts = {} if taught is None else taught.labels
        return found_label(text, counts, self.bundle.manifest.labels), counts

    def _check_vector(self, picture: LessonPicture) -> None:
        if picture.vector.shape != (self.features,):
            raise InferenceError(
                f"the model gave {picture.vector.shape} features, the head takes {self.features}",
                hint="Files of different builds; build or copy the bundle again.",
            )
        if not np.isfinite(picture.vector).all():
            raise InferenceError("the model's answer is not finite (NaN or infinity)")


def _check_bounds(taught: Taught) -> None:
    if len(taught.examples) > MOST_PICTURES:
        raise UsageError(
            f"the bundle would be taught {len(taught.examples)} pictures; at most {MOST_PICTURES} "
            "are allowed",
            hint="Remove or forget some; or build a bundle of all of them, with edge build.",
        )
    if len(taught.labels) > MOST_CLASSES:
        raise UsageError(
            f"the bundle would be taught {len(taught.labels)} classes; at most {MOST_CLASSES} are "
            "allowed",
            hint="Forget some; or build a bundle of all of them, with edge build.",
        )


def _check_burst(burst: str) -> None:
    if len(burst) > MOST_BURST_CHARACTERS or not burst.isprintable():
        raise UsageError(
            f"the name of a series has {len(burst)} characters; at most {MOST_BURST_CHARACTERS} "
            "are allowed, all of which can be shown"
        )
