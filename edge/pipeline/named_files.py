"""The files that the options of a lock name: found again, by content."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edge.errors import UsageError
from edge.pipeline.inputs import Inputs
from edge.pipeline.lock import SOURCE
from edge.pipeline.recipe import RECIPE_NAME
from edge.runtime.bundle import Bundle
from edge.runtime.files import sha256_file
from edge.training.keras_files import sha256_folder


def named_files(bundle: Bundle, inputs: Inputs, folder: Path | None) -> dict[str, Any]:
    """The options with the path of each file where it lies now.

    The bundle itself holds its labels, its recipe and an exported model. A search is not made
    again: it times what it tries; its recipe is replayed.

    Args:
        bundle: Where the lock stands.
        inputs: Of the lock.
        folder: Where else to look, by name; None for nowhere.

    Raises:
        UsageError: A file is missing, or has other bytes.
    """
    values: dict[str, Any] = _copied(inputs.options)
    for name, file in inputs.files.items():
        _set(values, name, str(_found(bundle, name, file, folder)))
    if RECIPE_NAME in bundle.manifest.files:
        _set(values, "output.recipe", str(bundle.checked(RECIPE_NAME)))
    return values


def _found(bundle: Bundle, name: str, file: Mapping[str, str], folder: Path | None) -> Path:
    if name == "labels":
        return bundle.checked("labels.txt")
    for path in _candidates(bundle, file, folder):
        read = sha256_folder if path.is_dir() else sha256_file
        if path.exists() and read(path) == file["sha256"]:
            return path
    raise UsageError(
        f"the file of the option {name}, {file['path']}, is not there with the bytes that it had "
        f"(sha256 {file['sha256'][:16]}...)",
        hint="Put it into a folder and name that with --files.",
    )


def _candidates(bundle: Bundle, file: Mapping[str, str], folder: Path | None) -> Iterator[Path]:
    given = Path(file["path"])
    if folder is not None:
        yield folder / given.name
    yield given
    if SOURCE in bundle.manifest.files and given.suffix == ".keras":
        yield bundle.path / SOURCE


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return value


def _set(values: dict[str, Any], name: str, value: str) -> None:
    *outer, last = name.split(".")
    for key in outer:
        values = values[key]
    values[last] = value
