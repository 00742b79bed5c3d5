"""The embedding file: vectors and the image that each comes from, as plain arrays in one .npz."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge import schema
from edge.errors import BundleError, DataError, cause_of
from edge.runtime import checked
from edge.runtime.contract import Preprocessing, canonical_json
from edge.runtime.files import atomic_writer
from edge.runtime.place import writing

FORMAT: Final = "edge-embeddings"
SCHEMA_VERSION: Final = 1
MEMBERS: Final = ("header", "vectors", "paths", "sha256", "classes")
MAX_GROWTH: Final = 8  # times the size of the file; arrays of numbers never come near it
MAX_SMALL: Final = 256 << 20  # bytes of arrays that any file may hold
AGAIN: Final = "Make it again with edge embed; what an earlier run computed is kept."


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """How the vectors of a file were made.

    Attributes:
        extractor: ``Extractor.id``; vectors of another extractor do not compare with these.
        name: The name of the network, for people.
        source: How to make the extractor again: ``{"kind": "backbone", **options}`` or
            ``{"kind": "bundle", "path": PATH}``.
        preprocessing: The contract of the input of the extractor.
        root: The absolute path of the folder that the paths are relative to.
    """

    extractor: str
    name: str
    source: Mapping[str, Any]
    preprocessing: Preprocessing
    root: str

    def to_json(self) -> dict[str, Any]:
        """Return the header as JSON values."""
        return {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "extractor": self.extractor,
            "name": self.name,
            "source": dict(self.source),
            "preprocessing": self.preprocessing.to_json(),
            "root": self.root,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredHeader:
    """The header as it stands in the file."""

    extractor: str
    name: str
    source: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    root: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """The vectors of images.

    Attributes:
        header: How they were made.
        vectors: (n, d) float32, n and d at least 1, finite.
        paths: The path of each image, relative to ``header.root``, with forward slashes.
        sha256: The digest of each image file, hex.
        classes: The name of the folder that is the class of each image; "" if there is none.
    """

    header: Header
    vectors: NDArray[np.float32]
    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    classes: tuple[str, ...]

    def file(self, row: int) -> Path:
        """Return where the image of a row lay when the file was written."""
        return Path(self.header.root) / self.paths[row]


def write_embeddings(table: Embeddings, path: Path) -> None:
    """Write the file; equal tables give equal bytes.

    Raises:
        OutputError: The path cannot be written.
    """
    arrays: dict[str, NDArray[Any]] = {
        "header": np.array(canonical_json(table.header.to_json())),
        "vectors": np.ascontiguousarray(table.vectors, np.float32),
        "paths": _text(table.paths),
        "sha256": _text(table.sha256),
        "classes": _text(table.classes),
    }
    with writing(path, "Name a place with space that you may write to."):
        with atomic_writer(path) as stream, zipfile.ZipFile(stream, "w") as archive:
            for name, array in arrays.items():
                entry = zipfile.ZipInfo(f"{name}.npy")  # dated 1980: no clock gets into the bytes
                with archive.open(entry, "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)


def read_embeddings(path: Path) -> Embeddings:
    """Read what ``write_embeddings`` wrote, and check every part.

    Raises:
        DataError: The file is missing, truncated, altered, not of edge, or of another schema.
    """
    arrays = _arrays(path)
    header = _header(path, str(arrays["header"]))
    vectors = arrays["vectors"]
    lists = {name: arrays[name] for name in ("paths", "sha256", "classes")}
    if vectors.dtype != np.float32 or vectors.ndim != 2 or 0 in vectors.shape:
        raise _damaged(path, f"its vectors are {vectors.dtype} of shape {vectors.shape}")
    for name, array in lists.items():
        if array.shape != (len(vectors),) or array.dtype.kind != "U":
            raise _damaged(path, f"it has {len(vectors)} vectors and {name} of {array.shape}")
    paths, digests, classes = (tuple(map(str, array)) for array in lists.values())
    if any("\0" in name for name in paths):
        raise _damaged(path, "a path in it holds a zero character")
    return Embeddings(header=header, vectors=vectors, paths=paths, sha256=digests, classes=classes)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise DataError(
            f"there is no embedding file at {path}",
            hint="Make one with: edge embed PHOTOS -o FILE.npz",
        )
    try:
        most = max(MAX_SMALL, MAX_GROWTH * path.stat().st_size)
        return checked.read_npz(path, "it", names=MEMBERS, max_bytes=most, finite=True)
    except OSError as error:
        raise _damaged(path, cause_of(error)) from error
    except checked.Missing as error:
        raise _foreign(path, str(error)) from error
    except checked.Malformed as error:
        raise _damaged(path, str(error)) from error


def _header(path: Path, text: str) -> Header:
    try:
        value = checked.parse_json(text, "its header")
    except checked.Malformed as error:
        raise _foreign(path, str(error)) from error
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise _foreign(path, "its header does not say that edge wrote it")
    stored = schema.from_json(
        _StoredHeader,
        value,
        f"the header of {path}",
        version=SCHEMA_VERSION,
        extra="ignore",
        hint=AGAIN,
        error=DataError,
    )
    try:
        preprocessing = Preprocessing.from_json(stored.preprocessing)
    except BundleError as error:
        raise _damaged(path, f"its preprocessing cannot be read: {error}") from error
    return Header(
        extractor=stored.extractor,
        name=stored.name,
        source=stored.source,
        preprocessing=preprocessing,
        root=stored.root,
    )


def _foreign(path: Path, problem: str) -> DataError:
    return DataError(
        f"{path} is not an embedding file of edge: {problem}",
        hint="Make one with: edge embed PHOTOS -o FILE.npz",
    )


def _damaged(path: Path, problem: str) -> DataError:
    return DataError(
        f"{path} cannot be read as an embedding file: {problem}",
        hint=AGAIN,
    )


def _text(values: tuple[str, ...]) -> NDArray[Any]:
    """Return fixed-width Unicode: an array of Python strings would need pickle."""
    return np.array(values, np.str_)
