"""The embedding file: vectors with the image that each came from, as plain arrays in one .npz."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import BundleError, DataError
from edge.runtime import checked
from edge.runtime.files import atomic_writer
from edge.runtime.place import writing
from edge.runtime.spec import Preprocessing, canonical_json

FORMAT: Final = "edge-embeddings"
SCHEMA_VERSION: Final = 1
MEMBERS: Final = ("header", "vectors", "paths", "sha256", "classes")
MAX_GROWTH: Final = 8  # times the size of the file, which numbers never come near
MAX_SMALL: Final = 256 << 20  # bytes of arrays that any file may hold
_FIELDS: Final = ("extractor", "name", "source", "preprocessing", "root")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """How the vectors of a file were made.

    Attributes:
        extractor: ``Extractor.id``: vectors of another one do not compare with these.
        name: Of the network, for people.
        source: How to make the extractor again: ``{"kind": "backbone", **options}`` or
            ``{"kind": "bundle", "path": PATH}``.
        preprocessing: The contract of its input.
        root: The folder that the paths are relative to, absolute.
    """

    extractor: str
    name: str
    source: Mapping[str, Any]
    preprocessing: Preprocessing
    root: str

    def to_json(self) -> dict[str, Any]:
        """The header as JSON values."""
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
class Embeddings:
    """Vectors of images.

    Attributes:
        header: How they were made.
        vectors: (n, d) float32, n and d at least 1, finite.
        paths: Of each image, relative to ``header.root``, with forward slashes.
        sha256: Of each image file, hex.
        classes: Name of the folder that is the image's class; "" where there is none.
    """

    header: Header
    vectors: NDArray[np.float32]
    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    classes: tuple[str, ...]

    def file(self, row: int) -> Path:
        """Where the image of a row lay when the file was written."""
        return Path(self.header.root) / self.paths[row]


def write_embeddings(table: Embeddings, path: Path) -> None:
    """Write the file; equal tables give equal bytes.

    Raises:
        OutputError: The place cannot be written.
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
                entry = zipfile.ZipInfo(f"{name}.npy")  # of the year 1980: no clock in the bytes
                with archive.open(entry, "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)


def read_embeddings(path: Path) -> Embeddings:
    """Read what ``write_embeddings`` wrote, every part checked.

    Raises:
        DataError: Missing, truncated, altered, not of edge, or of another schema.
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
            f"no embedding file at {path}", hint="Make one with: edge embed PHOTOS -o FILE.npz"
        )
    try:
        most = max(MAX_SMALL, MAX_GROWTH * path.stat().st_size)
        return checked.read_npz(path, "it", names=MEMBERS, max_bytes=most, finite=True)
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error
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
    if value.get("schema_version") != SCHEMA_VERSION:
        raise DataError(
            f"{path} has schema_version {value.get('schema_version')!r}; this edge reads "
            f"{SCHEMA_VERSION}",
            hint="Make the file again with edge embed.",
        )
    missing = [name for name in _FIELDS if name not in value]
    texts = ("extractor", "name", "root")
    if not missing and not all(isinstance(value[name], str) for name in texts):
        raise _damaged(path, f"its header has no texts in {', '.join(texts)}")
    if missing or not isinstance(value["source"], dict):
        raise _damaged(path, f"its header lacks {', '.join(missing) or 'a source'}")
    try:
        preprocessing = Preprocessing.from_json(value["preprocessing"])
    except BundleError as error:
        raise _damaged(path, f"its preprocessing cannot be read: {error}") from error
    return Header(
        extractor=str(value["extractor"]),
        name=str(value["name"]),
        source=value["source"],
        preprocessing=preprocessing,
        root=str(value["root"]),
    )


def _foreign(path: Path, found: str) -> DataError:
    return DataError(
        f"{path} is no embedding file of edge: {found}",
        hint="Make one with: edge embed PHOTOS -o FILE.npz",
    )


def _damaged(path: Path, found: str) -> DataError:
    return DataError(
        f"{path} cannot be read as an embedding file: {found}",
        hint="Make it again with edge embed; what an earlier run computed is kept.",
    )


def _text(values: tuple[str, ...]) -> NDArray[Any]:
    """Fixed-width Unicode: an array of Python strings would need pickle."""
    return np.array(values, np.str_)
