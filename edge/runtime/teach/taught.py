"""What a device was taught: classes learnt from a few pictures, beside a release's own files.

One file, ``taught.npz``, in the folder of the bundle. The manifest does not list it, so that
neither hashes nor signature change; it is replaced as a whole, so that a power cut leaves the old
one or the new one. It names the model file that made its vectors: those of another file, though
it be of the same network, do not fit.
"""

import fcntl
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
from edge.runtime.spec import Variant

SCHEMA_VERSION: Final = 2
_FIRST_VERSION: Final = 1  # knows neither series nor thumbnails; it is still read
FORGET: Final = "Forget it, with python3 -m edge.runtime forget BUNDLE --all, then teach again."
MOST_THUMBNAIL_BYTES: Final = 8000  # a JPEG file of 96 pixels has 2 to 5 kB


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A picture that was taught.

    Attributes:
        label: Its class.
        image: The sha256 (hex) of its bytes.
        burst: What the pictures of one press of the button share, so that nobody takes nearly the
            same picture for a proof; empty where that is not known.
        thumbnail: A small JPEG file of it, for people; may be empty.
    """

    label: str
    image: str
    burst: str = ""
    thumbnail: bytes = b""


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

    @property
    def by_image(self) -> dict[str, str]:
        """The class of every picture, by the sha256 (hex) of its bytes."""
        return {item.image: item.label for item in self.examples}

    @property
    def bursts(self) -> dict[str, str]:
        """The series of every picture, by the sha256 (hex) of its bytes; empty if not known."""
        return {item.image: item.burst for item in self.examples}

    def added(
        self,
        label: str,
        images: Sequence[str],
        vectors: NDArray[np.float32],
        *,
        burst: str = "",
        thumbnails: Sequence[bytes] = (),
    ) -> tuple[Self, int]:
        """Add pictures of a class; return the whole, and how many of them are new to it.

        Args:
            label: The class.
            images: sha256 (hex) of each picture; one that the class has already does not count.
            vectors: (pictures, features) float32.
            burst: What the pictures share; see ``Example``.
            thumbnails: One for each picture, or nothing.
        """
        small = thumbnails or [b""] * len(images)
        known = {item.image for item in self.examples if item.label == label}
        fresh, more = [], []
        for position, image in enumerate(images):
            if image not in known:
                known.add(image)
                fresh.append(position)
                more.append(
                    Example(label=label, image=image, burst=burst, thumbnail=small[position])
                )
        if not fresh:
            return self, 0
        taught = replace(
            self,
            examples=(*self.examples, *more),
            vectors=np.concatenate([self.vectors, vectors[fresh]]),
        )
        return taught, len(fresh)

    def without(self, label: str) -> Self:
        """Return it without everything that was taught of a class."""
        return self._kept([item.label != label for item in self.examples])

    def removed(self, images: Collection[str], label: str | None = None) -> Self:
        """Return it without some pictures.

        Args:
            images: sha256 (hex) of each; those that are not there do not matter.
            label: The class that they are taken from; None for every class.
        """
        gone = frozenset(images)
        return self._kept(
            [item.image not in gone or label not in (None, item.label) for item in self.examples]
        )

    def renamed(self, label: str, to: str) -> Self:
        """Return it with another name for a class.

        If that is a class already, it gets the pictures; one that it has already counts once.
        """
        if label == to:
            return self
        there = {item.image for item in self.examples if item.label == to}
        kept = self._kept(
            [item.label != label or item.image not in there for item in self.examples]
        )
        return replace(
            kept,
            examples=tuple(
                replace(item, label=to) if item.label == label else item for item in kept.examples
            ),
        )

    def applied(self, head: Head) -> Head:
        """Return the release's head and what was taught on top."""
        return head.with_all([item.label for item in self.examples], self.vectors)

    def _kept(self, chosen: Sequence[bool]) -> Self:
        if all(chosen):
            return self
        return replace(
            self,
            examples=tuple(item for item, kept in zip(self.examples, chosen, strict=True) if kept),
            vectors=self.vectors[np.asarray(chosen, bool)],
        )

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
                hint=f"Add --variant {self.variant}; or {FORGET[0].lower()}{FORGET[1:]}",
            )
        raise BundleError(
            f"the bundle was taught with another {self.variant} than the one that lies here",
            hint=FORGET,
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
        arrays = checked.read_npz(path, "what was taught", max_bytes=MAX_HEAD, finite=True)
        text = arrays["record"].tobytes()
        record = checked.parse_json(text, "its record", max_bytes=MAX_HEAD)
        return _from_record(record, arrays)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{path} cannot be read: {cause_of(error)}",
            hint=FORGET,
        ) from error


def _from_record(record: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Taught:
    version = record["schema_version"]
    if type(version) is not int or not _FIRST_VERSION <= version <= SCHEMA_VERSION:
        raise ValueError(f"schema_version is {version!r}; this runtime reads 1 and 2")
    if version == _FIRST_VERSION:
        examples = tuple(Example(label=label, image=image) for label, image in record["examples"])
    else:
        rows = [_row(*row) for row in record["examples"]]
        small = _cut(arrays["thumbnails"], [length for *_, length in rows])
        examples = tuple(
            Example(label=label, image=image, burst=burst, thumbnail=thumbnail)
            for (label, image, burst, _), thumbnail in zip(rows, small, strict=True)
        )
    texts = [record["variant"], record["model"]]
    texts += [text for item in examples for text in (item.label, item.image, item.burst)]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("its record has something else where a text is expected")
    vectors = arrays["vectors"]
    if vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != len(examples):
        raise ValueError(f"{vectors.shape} vectors of {len(examples)} pictures")
    return Taught(
        variant=record["variant"],
        model=record["model"],
        examples=examples,
        vectors=vectors,
    )


def _row(label: Any, image: Any, burst: Any, length: Any) -> tuple[Any, Any, Any, int]:
    """Return a picture of the record, whose thumbnail has a length that is allowed."""
    if type(length) is not int or not 0 <= length <= MOST_THUMBNAIL_BYTES:
        raise ValueError(
            f"its record says that a thumbnail has {length!r} bytes; up to "
            f"{MOST_THUMBNAIL_BYTES} are allowed"
        )
    return label, image, burst, length


def _cut(content: NDArray[Any], lengths: Sequence[int]) -> list[bytes]:
    """Return the thumbnails that lie one behind the other."""
    if content.dtype != np.uint8 or content.shape != (sum(lengths),):
        raise ValueError(
            f"its thumbnails are {content.dtype} of shape {content.shape}; the record says "
            f"{sum(lengths)} bytes"
        )
    ends = np.cumsum(lengths).tolist()
    together = content.tobytes()
    return [together[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def write_taught(bundle: Bundle, taught: Taught) -> None:
    """Replace what the bundle was taught, as a whole.

    Raises:
        OutputError: The folder cannot be written; what was taught before is as it was.
    """
    if not taught.examples:
        remove_taught(bundle)
        return
    record = {
        "schema_version": SCHEMA_VERSION,
        "variant": taught.variant,
        "model": taught.model,
        "examples": [
            [item.label, item.image, item.burst, len(item.thumbnail)] for item in taught.examples
        ],
    }
    text = json.dumps(record, ensure_ascii=False).encode()
    thumbnails = b"".join(item.thumbnail for item in taught.examples)
    content = npz(
        record=np.frombuffer(text, np.uint8),
        vectors=taught.vectors,
        thumbnails=np.frombuffer(thumbnails, np.uint8),
    )
    path = bundle.path / TAUGHT_NAME
    try:
        write_bytes(path, content)
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
