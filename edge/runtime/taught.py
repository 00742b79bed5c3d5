"""What a device was taught: classes learnt from a few pictures, beside a release's own files.

One file, ``taught.npz``, in the folder of the bundle. The manifest does not list it, so that
neither hashes nor signature change; it is replaced as a whole, so that a power cut leaves the old
one or the new one. It names the model file that made its vectors: those of another file, though
it be of the same network, do not fit.
"""

import fcntl
import json
import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from edge.errors import BundleError, OutputError, UsageError, cause_of
from edge.runtime import checked
from edge.runtime.bundle import Bundle
from edge.runtime.files import abandoned, fsync_directory, write_bytes
from edge.runtime.head import MAX_HEAD, Head, npz, read_head
from edge.runtime.output import TAUGHT_NAME
from edge.runtime.printable import one_line
from edge.runtime.spec import Variant

SCHEMA_VERSION: Final = 1
MOST_LABEL_CHARACTERS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A picture that was taught: its class, and the sha256 (hex) of its bytes."""

    label: str
    image: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """Everything that a bundle was taught.

    Attributes:
        variant: Name of the model file that made the vectors.
        model: Its sha256, hex.
        examples: One per picture, in the order in which they came.
        vectors: (examples, features) float32, embeddings as the model gave them.
    """

    variant: str
    model: str
    examples: tuple[Example, ...]
    vectors: NDArray[np.float32]

    @property
    def labels(self) -> dict[str, int]:
        """Pictures by class, in the order in which the classes came."""
        counts: dict[str, int] = {}
        for example in self.examples:
            counts[example.label] = counts.get(example.label, 0) + 1
        return counts

    def added(
        self, label: str, images: Sequence[str], vectors: NDArray[np.float32]
    ) -> tuple[Self, int]:
        """Add pictures of a class; return the whole, and how many of them are new to it.

        Args:
            label: The class.
            images: sha256 (hex) of each picture; one that the class has already does not count.
            vectors: (pictures, features) float32.
        """
        known = {item.image for item in self.examples if item.label == label}
        fresh = []
        for position, image in enumerate(images):
            if image not in known:
                known.add(image)
                fresh.append(position)
        taught = type(self)(
            variant=self.variant,
            model=self.model,
            examples=(*self.examples, *(Example(label=label, image=images[i]) for i in fresh)),
            vectors=np.concatenate([self.vectors, vectors[fresh]]) if fresh else self.vectors,
        )
        return taught, len(fresh)

    def without(self, label: str) -> Self:
        """Return it without everything that was taught of a class."""
        kept = [number for number, item in enumerate(self.examples) if item.label != label]
        return type(self)(
            variant=self.variant,
            model=self.model,
            examples=tuple(self.examples[number] for number in kept),
            vectors=self.vectors[kept],
        )

    def applied(self, head: Head) -> Head:
        """Return the release's head and what was taught on top."""
        for label in self.labels:
            rows = [number for number, item in enumerate(self.examples) if item.label == label]
            head = head.with_examples(label, self.vectors[rows])
        return head

    def check_model(self, variant: Variant, model: str) -> None:
        """Refuse to be used with another model file than the one that made the vectors.

        Raises:
            UsageError: It is another variant.
            BundleError: It is another file of that name.
        """
        if self.model == model:
            return
        if self.variant != variant.name:
            raise UsageError(
                f"the bundle was taught with {self.variant}, whose vectors do not fit "
                f"{variant.name}",
                hint=f"Add --variant {self.variant}; or forget BUNDLE --all, then teach again.",
            )
        raise BundleError(
            f"the bundle was taught with another {self.variant} than the one that lies here",
            hint="Forget it, with forget BUNDLE --all, then teach again.",
        )


def nothing_taught(variant: Variant, model: str, features: int) -> Taught:
    """Return what a bundle knows before anything is taught."""
    return Taught(
        variant=variant.name, model=model, examples=(), vectors=np.empty((0, features), np.float32)
    )


def read_taught(bundle: Bundle) -> Taught | None:
    """Return what the bundle was taught; None for nothing.

    Raises:
        BundleError: The file cannot be used.
    """
    path = bundle.path / TAUGHT_NAME
    try:
        arrays = checked.read_npz(
            path, "what was taught", names=("record", "vectors"), max_bytes=MAX_HEAD, finite=True
        )
        text = arrays["record"].tobytes()
        record = checked.parse_json(text, "its record", max_bytes=MAX_HEAD)
        return _from_record(record, arrays["vectors"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{path} cannot be read: {cause_of(error)}",
            hint="Forget it, with forget BUNDLE --all, then teach again.",
        ) from error


def _from_record(record: Mapping[str, Any], vectors: NDArray[np.float32]) -> Taught:
    if record["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"schema_version is {record['schema_version']!r}")
    examples = tuple(Example(label=label, image=image) for label, image in record["examples"])
    texts = [record["variant"], record["model"]]
    texts += [text for item in examples for text in (item.label, item.image)]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("its record has something else where a text is expected")
    if vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != len(examples):
        raise ValueError(f"{vectors.shape} vectors of {len(examples)} pictures")
    return Taught(
        variant=record["variant"],
        model=record["model"],
        examples=examples,
        vectors=vectors,
    )


def write_taught(bundle: Bundle, taught: Taught) -> None:
    """Replace what the bundle was taught, as a whole.

    Raises:
        OutputError: The folder cannot be written.
    """
    record = {
        "schema_version": SCHEMA_VERSION,
        "variant": taught.variant,
        "model": taught.model,
        "examples": [[item.label, item.image] for item in taught.examples],
    }
    text = json.dumps(record, ensure_ascii=False).encode()
    if not taught.examples:
        remove_taught(bundle)
        return
    path = bundle.path / TAUGHT_NAME
    try:
        write_bytes(path, npz(record=np.frombuffer(text, np.uint8), vectors=taught.vectors))
        # No more open than its folder, which on a device is for its user alone.
        path.chmod(path.stat().st_mode & bundle.path.stat().st_mode & 0o666)
    except OSError as error:
        raise _unwritable(path, error) from error


def remove_taught(bundle: Bundle) -> None:
    """Forget everything.

    Raises:
        OutputError: The folder cannot be written.
    """
    path = bundle.path / TAUGHT_NAME
    try:
        path.unlink(missing_ok=True)
        fsync_directory(bundle.path)
    except OSError as error:
        raise _unwritable(path, error) from error


@contextmanager
def alone(bundle: Bundle) -> Iterator[None]:
    """Let nobody else teach this bundle meanwhile, and take away what a killed process left.

    Raises:
        OutputError: The folder cannot be opened.
    """
    try:
        descriptor = os.open(bundle.path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _unwritable(bundle.path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        for left in abandoned(bundle.path, TAUGHT_NAME):
            left.unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)


def stamp(bundle: Bundle) -> tuple[int, int, int] | None:
    """Return what changes when the bundle is taught or forgets; None while nothing is taught."""
    try:
        status = (bundle.path / TAUGHT_NAME).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def checked_label(text: str) -> str:
    """Return a class name as a user typed it, in Unicode's composed form (NFC).

    Raises:
        UsageError: Empty, too long, or with characters that cannot be shown.
    """
    label = unicodedata.normalize("NFC", text)
    if not label.strip() or label != label.strip():
        raise UsageError(
            f"the label {text!r} is empty, or begins or ends with a space", hint="Name a class."
        )
    if len(label) > MOST_LABEL_CHARACTERS:
        raise UsageError(
            f"the label has {len(label)} characters; at most {MOST_LABEL_CHARACTERS} are allowed"
        )
    if any(unicodedata.category(item) in _NOT_SHOWN or item in _TURNING for item in label):
        raise UsageError(
            f"the label '{one_line(text)}' has a character that cannot be shown",
            hint="Letters, digits, signs and spaces are allowed, in any script.",
        )
    return label


# Control, surrogate (a byte that is not UTF-8), not assigned, private; line and paragraph breaks.
_NOT_SHOWN: Final = frozenset({"Cc", "Cs", "Cn", "Co", "Zl", "Zp"})
_TURNING: Final = frozenset(
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)  # the direction


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path} cannot be written: {error.strerror or error}",
        hint="Free some space, or see who may write to the bundle's folder.",
    )


class LearningHead:
    """A release's head with what was taught on top, read anew when that has changed.

    Args:
        bundle: One with a head.
        variant: The model file that runs.

    Raises:
        BundleError: The head, or what was taught, cannot be used.
        UsageError: It was taught with another variant.
    """

    def __init__(self, bundle: Bundle, variant: Variant) -> None:
        release = read_head(bundle)
        if release is None:
            raise BundleError("the manifest names no head")
        self._bundle = bundle
        self._variant = variant
        self._model = bundle.manifest.files[variant.path]
        self._release = release
        self._seen: tuple[int, int, int] | None = None
        self._head = release
        self.current()

    def current(self) -> Head:
        """Return the head with everything that is taught now; one stat where nothing has changed.

        Raises:
            BundleError, UsageError: As at the start.
        """
        seen = stamp(self._bundle)
        if seen != self._seen:
            taught = read_taught(self._bundle)
            if taught is None:
                self._head = self._release
            else:
                taught.check_model(self._variant, self._model)
                self._head = taught.applied(self._release)
            self._seen = seen
        return self._head
