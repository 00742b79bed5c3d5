"""What differs between two bundles and their data: each file then and now, and why."""

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelLoadError
from edge.modelfile.contents import constants
from edge.modelfile.corruption import corruption
from edge.pipeline.reproduce.lock import CONFIG, SOURCE, BundleLock, Images, flat, folder_hashes
from edge.runtime import checked
from edge.runtime.bundle import Bundle
from edge.training.keras_files import MOST_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class DataDifference:
    """What differs between two folders of images, by sorted paths below them.

    Attributes:
        images: How many the lock names.
        missing: The paths that are named by the lock, and not there.
        altered: The paths that are there with other bytes.
        extra: The paths that are there, and not named by the lock.
        moved: (path then, path now) of bytes that lie elsewhere; such a path is neither missing
            nor extra.
    """

    images: int
    missing: tuple[str, ...]
    altered: tuple[str, ...]
    extra: tuple[str, ...]
    moved: tuple[tuple[str, str], ...]

    @property
    def is_same(self) -> bool:
        """Whether every image is as it was."""
        return not (self.missing or self.altered or self.extra or self.moved)

    @property
    def is_foreign(self) -> bool:
        """Whether not one image is there, in whatever place."""
        return self.images == len(self.missing) + len(self.altered)

    @property
    def other_class(self) -> tuple[tuple[str, str], ...]:
        """The pairs of ``moved`` that lie in another folder now."""
        return tuple(
            (then, now)
            for then, now in self.moved
            if PurePosixPath(then).parent != PurePosixPath(now).parent
        )


def data_difference(images: Images, root: Path) -> DataDifference:
    """Compare a folder with what a lock says of it.

    Raises:
        DataError: No such folder, or no image in it.
    """
    return folder_difference(flat(images), folder_hashes(root))


def folder_difference(then: Mapping[str, str], now: Mapping[str, str]) -> DataDifference:
    """Return the difference of two folders: path -> sha256."""
    missing = sorted(then.keys() - now.keys())
    extra = sorted(now.keys() - then.keys())
    by_content: dict[str, list[str]] = {}
    for path in extra:
        by_content.setdefault(now[path], []).append(path)
    moved = []
    for path in missing:
        elsewhere = by_content.get(then[path])
        if elsewhere:
            moved.append((path, elsewhere.pop(0)))
    gone, come = {path for path, _ in moved}, {path for _, path in moved}
    return DataDifference(
        images=len(then),
        missing=tuple(path for path in missing if path not in gone),
        altered=tuple(sorted(path for path in then if now.get(path, then[path]) != then[path])),
        extra=tuple(path for path in extra if path not in come),
        moved=tuple(moved),
    )


Constants = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What differs between the constants of two model files.

    Attributes:
        same_structure: The same constants in the same shapes and types.
        tensors: How many constants there are.
        changed: How many of them differ.
        largest: Largest difference of a weight; None if the structure differs or no weight does.
            Integers of 32 bits do not count: a bias has its own scale, and steps of thousands.
        unit: ``absolute`` of floats, ``steps`` of integers.
        where: The constant with it.
    """

    same_structure: bool
    tensors: int
    changed: int
    largest: float | None
    unit: str
    where: str


def difference(before: Path, after: Path) -> Difference | None:
    """Return what lies between two files; None where their kind cannot be looked into.

    Raises:
        ModelLoadError: A file is damaged.
    """
    read = _READERS.get(before.suffix)
    if read is None:
        return None
    with corruption(before, "model"):
        first = read(before)
    with corruption(after, "model"):
        second = read(after)
    return constants_difference(first, second)


def constants_difference(before: Constants, after: Constants) -> Difference:
    """Return the difference of constants by name."""
    same = [(name, value.shape, value.dtype.str) for name, value in before.items()] == [
        (name, value.shape, value.dtype.str) for name, value in after.items()
    ]
    changed = [
        name
        for name, value in before.items()
        if name in after and value.tobytes() != after[name].tobytes()
    ]
    largest, where = None, ""
    if same:
        for name in (name for name in changed if before[name].dtype.str[1:] not in ("i4", "i8")):
            gap = _gap(before[name], after[name])
            if largest is None or gap > largest:
                largest, where = gap, name
    kind = before[where].dtype.kind if where else "f"
    return Difference(
        same_structure=same,
        tensors=len(before),
        changed=len(changed),
        largest=largest,
        unit="steps" if kind in "iu" else "absolute",
        where=where,
    )


def _gap(before: NDArray[Any], after: NDArray[Any]) -> float:
    gap = np.abs(before.astype(np.float64) - after.astype(np.float64))
    return float(np.nanmax(gap, initial=0.0))


def _stored(path: Path) -> Constants:
    return {item.name: item.read() for item in constants(path) if not item.opaque}


def _keras(path: Path) -> Constants:
    import h5py

    constants_by_name: dict[str, NDArray[Any]] = {}

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            constants_by_name[name] = np.asarray(item)

    if not zipfile.is_zipfile(path):
        raise ModelLoadError(f"{path} is not a .keras file")
    with checked.opened_zip(path, "the Keras file") as archive:
        weights_file = checked.read_member(archive, "model.weights.h5", max_bytes=MOST_BYTES)
    content = io.BytesIO(weights_file)
    with h5py.File(content, "r") as weights:
        weights.visititems(add)
    return constants_by_name


_READERS: Final[Mapping[str, Callable[[Path], Constants]]] = {
    ".tflite": _stored,
    ".onnx": _stored,
    ".keras": _keras,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileComparison:
    """One file, then and now.

    Attributes:
        path: The path in the bundle; parts of the Keras model lie below the path of its archive.
        then: sha256 of the lock; None if there was none.
        now: sha256 of the file made again; None if there is none.
        difference: What differs, in a model file that is not equal.
    """

    path: str
    then: str | None
    now: str | None
    difference: Difference | None = None

    @property
    def is_equal(self) -> bool:
        """Whether both are there with the same bytes."""
        return self.then == self.now


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Top-1 (or without labels, agreement) of one variant, then and now, 0..1."""

    variant: str
    then: float | None
    now: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """What came of it.

    Attributes:
        bundle: The path of the bundle.
        equal: Whether every file is; None if nothing was built, since the data differ.
        data: What differs in each folder, by the option that names it.
        versions: (then, now) by package, where they differ.
        processor: (then, now) by property, where they differ.
        weights: sha256 of the pretrained weights (then, now), if they differ.
        files: All files that prove it.
        scores: The scores of the variants of which both bundles have a file.
        cause: What most likely made files differ; empty if none does.
    """

    bundle: str
    equal: bool | None
    data: Mapping[str, DataDifference]
    versions: Mapping[str, tuple[str | None, str | None]]
    processor: Mapping[str, tuple[Any, Any]]
    weights: tuple[str, str] | None = None
    files: tuple[FileComparison, ...] = ()
    scores: tuple[Scores, ...] = ()
    cause: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        files = [asdict(item) | {"equal": item.is_equal} for item in self.files]
        return {"schema_version": 1, **asdict(self), "files": files}


def compared(known: Reproduction, bundle: Bundle, lock: BundleLock, again: Bundle) -> Reproduction:
    """Return what came of it, with the files of two bundles.

    Args:
        known: What is known so far.
        bundle: The first one.
        lock: The lock of the first one.
        again: The second one.

    Raises:
        BundleError, ModelLoadError: A file is altered or damaged.
    """
    new = BundleLock.read(again)
    files = tuple(
        FileComparison(
            path=path,
            then=lock.outputs.get(path),
            now=new.outputs.get(path),
            difference=_difference(path, lock, new, bundle, again),
        )
        for path in sorted({*lock.outputs, *new.outputs})
    )
    weights = (lock.weights_sha256, new.weights_sha256)
    result = replace(
        known,
        equal=all(item.is_equal for item in files),
        files=files,
        weights=weights if weights[0] != weights[1] else None,
        scores=_scores(bundle, again),
    )
    return result if result.equal else replace(result, cause=likely_cause(result))


def _difference(
    path: str, lock: BundleLock, new: BundleLock, bundle: Bundle, again: Bundle
) -> Difference | None:
    if lock.outputs.get(path) == new.outputs.get(path):
        return None
    file = SOURCE if path.startswith(SOURCE) else path
    in_both = file in bundle.manifest.files and file in again.manifest.files
    if path == CONFIG or not in_both:
        return None
    return difference(bundle.checked(file), again.checked(file))


def _scores(bundle: Bundle, again: Bundle) -> tuple[Scores, ...]:
    now = {item.name: item for item in again.manifest.variants}
    return tuple(
        Scores(
            variant=item.name,
            then=item.agreement if item.top1 is None else item.top1,
            now=now[item.name].agreement if item.top1 is None else now[item.name].top1,
        )
        for item in bundle.manifest.variants
        if item.name in now
    )


def likely_cause(result: Reproduction) -> str:
    """Return one sentence on why files differ, the strongest reason first."""
    if not all(item.is_same for item in result.data.values()):
        return "The data differ."
    if result.weights is not None:
        return "The pretrained weights are others."
    if result.versions:
        changed = [f"{name} {then} -> {now}" for name, (then, now) in result.versions.items()]
        return f"Other versions: {', '.join(changed)}."
    if result.processor:
        changed = [f"{name}" for name in result.processor]
        return f"Another machine ({', '.join(changed)}): its kernels round otherwise."
    return NOT_REPEATABLE


NOT_REPEATABLE: Final = (
    "Data, weights, versions and processor are the same: a computation that does not repeat "
    "itself. Please report it with both bundles."
)
