"""What Teachable Machine's "Export Model" downloads: its three kinds, zipped or unpacked.

All three take the square in the middle of a picture, 224 pixels wide, as values of -1 to 1; that
is Teachable Machine's own rule, which its files do not state. An archive is never unpacked to
disk: its files are found by their last name, and read up to a bound.
"""

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from edge.cache import StageCache, content_key
from edge.dataset.labels import parse_labels
from edge.errors import ModelLoadError, UsageError, cause_of
from edge.runtime import checked
from edge.runtime.files import readable, write_bytes
from edge.training.input_range import named_range, takes_pixels
from edge.training.keras2.weights import MODEL_FILE, load_tfjs
from edge.training.keras_files import check_archive, read_keras
from edge.versions import versions

METADATA: Final = "metadata.json"
LABELS: Final = "labels.txt"
KERAS: Final = "keras_model.h5"
TFLITE: Final = ("model_unquant.tflite", "model.tflite")
EDGETPU: Final = "model_edgetpu.tflite"
RANGE: Final = (-1.0, 1.0)
MOST_BYTES: Final = 1 << 30  # of one file
KERAS_FILE: Final = "model.keras"
LABELS_FILE: Final = "labels.json"


@dataclass(frozen=True, slots=True)
class Download:
    """A download, ready to be used.

    Attributes:
        path: A .keras file that takes RGB 0..255, or the TFLite file as it was.
        labels: A file with the names of the classes; None where the download has none.
        kind: Which kind of download it is, for people.
        is_tflite: Whether ``path`` is a TFLite file.
    """

    path: Path
    labels: Path | None
    kind: str
    is_tflite: bool


class _Files:
    """The files of a folder or an archive by their last name; litter is left out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._readers: dict[str, Callable[[], bytes]] = {}
        if path.is_dir():
            for entry in sorted(path.iterdir()):
                if entry.is_file() and not entry.name.startswith("."):
                    self._readers[entry.name] = partial(_bounded, entry)
            return
        with zipfile.ZipFile(path) as archive:
            check_archive(archive)
            # Where two files have the same name, the one that lies less deep counts.
            for info in sorted(archive.infolist(), key=lambda item: -item.filename.count("/")):
                parts = info.filename.split("/")
                litter = parts[0] == "__MACOSX" or parts[-1].startswith(".") or not parts[-1]
                if not litter:
                    self._readers[parts[-1]] = partial(self._unzipped, info)

    def _unzipped(self, info: zipfile.ZipInfo) -> bytes:
        with zipfile.ZipFile(self.path) as archive, archive.open(info) as stream:
            content = stream.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ModelLoadError(f"{info.filename} in {readable(self.path)} is larger than 1 GiB")
        return content

    def __contains__(self, name: str) -> bool:
        return name in self._readers

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, sorted."""
        return tuple(sorted(self._readers))

    def read(self, name: str) -> bytes:
        """Return the content of a file; only its last name counts, so that none lies outside.

        Raises:
            ModelLoadError: There is none, it is too large or damaged.
        """
        last = name.replace("\\", "/").rpartition("/")[2]
        if last not in self._readers:
            raise ModelLoadError(
                f"{readable(self.path)} lacks {last}", hint="Download the model again."
            )
        try:
            return self._readers[last]()
        except (OSError, zipfile.BadZipFile, EOFError, RuntimeError, ValueError) as error:
            raise ModelLoadError(
                f"{last} in {readable(self.path)} cannot be read: {cause_of(error)}",
                hint="Download the model again.",
            ) from error


def _bounded(path: Path) -> bytes:
    if path.stat().st_size > MOST_BYTES:
        raise ModelLoadError(f"{readable(path)} is larger than 1 GiB")
    return path.read_bytes()


def is_download(path: Path) -> bool:
    """Return whether a path may be a download: an archive, a folder of its files, or model.json.

    Raises:
        ModelLoadError: An archive that is damaged or too large.
    """
    if path.name == MODEL_FILE and path.is_file():
        return True
    if path.suffix.lower() == ".zip" and path.is_file():
        return True
    return path.is_dir() and any(
        (path / name).is_file() for name in (MODEL_FILE, KERAS, *TFLITE, EDGETPU)
    )


def open_download(path: Path, cache: StageCache) -> Download:
    """Make a download readable, and keep the result by its content.

    Raises:
        UsageError: It is no download, or one that no CPU runs.
        ModelLoadError: It is damaged.
    """
    try:
        files = _Files(path.parent if path.name == MODEL_FILE else path)
    except (OSError, zipfile.BadZipFile, EOFError, ValueError) as error:
        raise ModelLoadError(
            f"{readable(path)} is not a whole zip archive: {cause_of(error)}",
            hint="Download it again.",
        ) from error
    contents = {name: files.read(name) for name in files.names if _matters(name)}
    digests = {name: sha256(content).hexdigest() for name, content in contents.items()}
    key = content_key("teachable-machine", {"files": digests, "versions": versions()})
    kind, write = _kind(path, files)
    is_tflite = kind.endswith(".tflite")
    if cache.find(key) is None:
        with cache.store(key) as folder:
            write(folder)
            labels = _labels(files)
            if labels is not None:
                text = json.dumps(labels, ensure_ascii=False)
                (folder / LABELS_FILE).write_text(text, encoding="utf-8")
    entry = cache.entry(key)
    labels_file = entry / LABELS_FILE
    return Download(
        path=entry / ("model.tflite" if is_tflite else KERAS_FILE),
        labels=labels_file if labels_file.is_file() else None,
        kind=kind,
        is_tflite=is_tflite,
    )


def _matters(name: str) -> bool:
    return name.endswith((".json", ".bin", ".h5", ".tflite")) or name == LABELS


def _kind(path: Path, files: _Files) -> tuple[str, Callable[[Path], Any]]:
    """Return the kind of download, for people, and what writes its model into a folder."""
    if MODEL_FILE in files:

        def tfjs(folder: Path) -> None:
            _save(load_tfjs(files.read), folder)

        return "the TensorFlow.js download", tfjs
    if KERAS in files:

        def keras(folder: Path) -> None:
            given = folder / KERAS
            write_bytes(given, files.read(KERAS))
            _save(read_keras(given).model, folder)
            given.unlink()

        return "the Keras download", keras
    for name in TFLITE:
        if name in files:

            def tflite(folder: Path, name: str = name) -> None:
                write_bytes(folder / "model.tflite", files.read(name))

            return name, tflite
    if EDGETPU in files:
        raise UsageError(
            f"{readable(path)} is compiled for a Coral Edge TPU: no CPU runs it",
            hint="Download the quantized or the floating point kind of TensorFlow Lite instead.",
        )
    raise UsageError(
        f"{readable(path)} holds no model that edge knows: {', '.join(files.names[:8]) or 'empty'}",
        hint=f"Of Teachable Machine's downloads edge takes those with {MODEL_FILE}, {KERAS} or "
        f"{' or '.join(TFLITE)}.",
    )


def _save(model: Any, folder: Path) -> None:
    takes_pixels(model, named_range("tf")).save(folder / KERAS_FILE)


def _labels(files: _Files) -> list[str] | None:
    if METADATA in files:
        try:
            metadata: Mapping[str, Any] = checked.parse_json(files.read(METADATA), METADATA)
            if isinstance(metadata["labels"], list):
                return [str(label) for label in metadata["labels"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ModelLoadError(f"{METADATA} cannot be read: {error!r}") from error
    if LABELS in files:
        return list(parse_labels(files.read(LABELS), LABELS).names)
    return None
