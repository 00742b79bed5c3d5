"""How far two model files of one kind differ: their structure, and their weights."""

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge.errors import ModelLoadError
from edge.modelfile.contents import constants
from edge.modelfile.corruption import corruption
from edge.runtime import checked
from edge.training.keras_files import MOST_BYTES

Constants = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Of the constants of two model files.

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
    """What lies between two files; None where their kind cannot be looked into.

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
    return between(first, second)


def between(before: Constants, after: Constants) -> Difference:
    """The difference of constants by name."""
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

    found: dict[str, NDArray[Any]] = {}

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = np.asarray(item)

    if not zipfile.is_zipfile(path):
        raise ModelLoadError(f"{path} is no .keras file")
    with checked.opened_zip(path, "the Keras file") as archive:
        weights_file = checked.read_member(archive, "model.weights.h5", max_bytes=MOST_BYTES)
    content = io.BytesIO(weights_file)
    with h5py.File(content, "r") as weights:
        weights.visititems(add)
    return found


_READERS: Final[Mapping[str, Callable[[Path], Constants]]] = {
    ".tflite": _stored,
    ".onnx": _stored,
    ".keras": _keras,
}
