"""Files that people have of Keras networks -> models that Keras 3 runs in float32.

A file of Keras 2 is built again from what it states, a network of half or double precision is
built again in float32. Nothing that a file holds is run.
"""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge.cache import StageCache, content_key
from edge.errors import ModelLoadError
from edge.frozen_graph import SAVED_MODEL, read_saved_model, register
from edge.runtime import checked
from edge.runtime.files import readable, sha256_file
from edge.runtime.supervisor import TENSORFLOW_SECONDS, NativeCall
from edge.training.backbones import backbone
from edge.training.keras2.network import network
from edge.training.keras2.weights import load_groups, load_tree, stored_config
from edge.training.own_code import OPTION, check_code, export_with
from edge.versions import versions

KERAS_SUFFIXES: Final = (".keras", ".h5", ".hdf5")
EXPECTED: Final = (
    "Expected a .keras or .h5 file written by model.save() of a functional model, or of a "
    "Sequential one that starts with keras.Input."
)
MOST_BYTES: Final = 4 << 30  # of all that an archive holds, unpacked
# Weights are numbers that hardly pack, and Keras stores them as they are. What unpacks to more
# than this many times its size was made to fill the memory, unless it is small anyway.
MOST_TIMES: Final = 20
SMALL_BYTES: Final = 256 << 20
MOST_JSON: Final = 256 << 20
MOST_FILES: Final = 1000
# Names of Keras's policies whose arrays or sums are not float32.
_POLICIES: Final = ("mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64")


@dataclass(frozen=True, slots=True)
class ReadModel:
    """A network as Keras 3 runs it.

    Attributes:
        model: The functional or Sequential model, float32.
        changes: Sentences on what differs from the file; none where Keras 3 reads it as it is.
    """

    model: Any
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KerasFile:
    """A file that every command and converter can load.

    Attributes:
        path: A .keras file; the given one where it needed no change.
        changes: What differs from the given file; see ``ReadModel``.
    """

    path: Path
    changes: tuple[str, ...]


def check_model_path(text: str, *, folders: bool = False) -> Path:
    """Return the Keras file that the user names, who names no network of Keras Applications.

    Args:
        text: The words of the user.
        folders: Whether the folder of a SavedModel will do; it has no layers to cut or to train.

    Raises:
        UsageError: There is none, or it is of another kind.
    """
    path = Path(text)
    if folders and (path / SAVED_MODEL).is_file():
        return path
    if not (path.is_file() and path.suffix.lower() in KERAS_SUFFIXES):
        backbone(text)  # says what is wrong with it, as for a name
    return path


def keras_file(path: Path, cache: StageCache, code: Path | None = None) -> KerasFile:
    """Return the file as every command can load it; written once where it has to be changed.

    Args:
        path: The path that the user gave.
        cache: Where what is written lies.
        code: A Python file that defines its own layers, and is run; None for none.

    Raises:
        UsageError: ``code`` is no Python file, or the model has its computation already.
        ModelLoadError: It is no Keras model, or one that cannot be read without its code.
    """
    content = sha256_folder(path) if path.is_dir() else sha256_file(path)
    made_of = {"file": content, "versions": versions()}
    if code is not None:
        check_code(code)
        made_of["code"] = sha256_file(code)
    key = content_key("keras-file", made_of)
    record = cache.entry(key) / "changes.json"
    if cache.find(key) is None:
        read = read_keras(path) if code is None else _with_code(path, code, cache)
        if not read.changes and path.is_file() and zipfile.is_zipfile(path):
            return KerasFile(path, ())
        with cache.store(key) as folder:
            read.model.save(folder / "model.keras")
            (folder / record.name).write_text(json.dumps(read.changes), encoding="utf-8")
    changes = tuple(json.loads(record.read_text(encoding="utf-8")))
    return KerasFile(cache.entry(key) / "model.keras", changes)


def _with_code(path: Path, code: Path, cache: StageCache) -> ReadModel:
    """Return a network whose own layers the code defines; nothing else in the file is run."""
    config = file_config(path)
    if not zipfile.is_zipfile(path) and "Lambda" in set(_own_classes(config)):
        raise _needs_code(["Lambda"])  # Keras's safe mode is of the .keras format
    with cache.scratch("own-code") as scratch:
        export_with(code, path, scratch / "model")
        model = read_saved_model(scratch / "model", f"{readable(path)} with {readable(code)}")
    change = f"the code of {code.name} was run, and the graph that it makes is taken as one layer"
    return ReadModel(model, (change,))


def file_config(path: Path) -> Mapping[str, Any]:
    """Return the stored config of a Keras file.

    Raises:
        ModelLoadError: It holds none.
    """
    import h5py

    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                check_archive(archive)
                return stored_config(_read(archive, "config.json", MOST_JSON))
        if not h5py.is_hdf5(path):
            raise ModelLoadError(_no_container(path), hint=EXPECTED)
        with h5py.File(path, "r") as file:
            return stored_config(file.attrs["model_config"])
    except (OSError, zipfile.BadZipFile, EOFError, RuntimeError, KeyError) as error:
        raise ModelLoadError(
            f"{readable(path)} does not load as a Keras model: it states no network", hint=EXPECTED
        ) from error


def sha256_folder(folder: Path) -> str:
    """Return hash of the names and contents of every file below a folder."""
    digests = {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return content_key("folder", digests)


def read_keras(path: Path) -> ReadModel:
    """Read a Keras file of any version, or the folder of a SavedModel.

    Raises:
        ModelLoadError: It is no Keras model, or one that cannot be read without its code.
    """
    with NativeCall(path, opens=True, seconds=TENSORFLOW_SECONDS):
        return _read_any(path)


def _read_any(path: Path) -> ReadModel:
    import h5py

    register()  # files that edge wrote of a SavedModel have that layer
    if path.is_dir():
        change = "the SavedModel's graph is taken as one layer, which has no parts to train"
        model = read_saved_model(path)
        shape = model.inputs[0].shape[1:]
        if None not in shape:
            # No other graph can loop; one that never ends shows now.
            with NativeCall(path, opens=False):
                model(np.zeros((1, *shape), np.float32), training=False)
        return ReadModel(model, (change,))
    try:
        if zipfile.is_zipfile(path):
            read = _from_zip(path)
        elif h5py.is_hdf5(path):
            read = _from_hdf5(path)
        else:
            raise ModelLoadError(_no_container(path))
        return _in_float32(read)
    except ModelLoadError as error:
        raise ModelLoadError(
            f"{readable(path)} does not load as a Keras model: {error.message}",
            hint=error.hint or EXPECTED,
        ) from error
    except (OSError, zipfile.BadZipFile, EOFError, RuntimeError, KeyError) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0][:200]
        raise ModelLoadError(
            f"{readable(path)} does not load as a Keras model: {reason}",
            hint=f"The file may be cut off: copy or download it again. {EXPECTED}",
        ) from error


def _no_container(path: Path) -> str:
    size = path.stat().st_size
    if not size:
        return "the file is empty"
    with path.open("rb") as stream:
        start = stream.read(64)
    if start.startswith(b"version https://git-lfs"):
        return "it is only a pointer of Git LFS; fetch the file itself with git lfs pull"
    if start.startswith((b"PK\3\4", b"\x89HDF")):
        return f"it is cut off after {size} bytes"
    return "it is neither a zip archive nor HDF5, which Keras files are"


def _from_zip(path: Path) -> ReadModel:
    import h5py

    with zipfile.ZipFile(path) as archive:
        check_archive(archive)
        names = archive.namelist()
        if "config.json" not in names:
            raise ModelLoadError("the archive holds no config.json")
        config = stored_config(_read(archive, "config.json", MOST_JSON))
        version = _keras_version(_read(archive, "metadata.json", checked.MAX_BYTES))
        if not version.startswith(("1.", "2.")):
            return ReadModel(_loaded(path, config))
        built = network(config)
        with h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as file:
            load_tree(built.root, file)
    return ReadModel(built.model, (_built_again(version),))


def _keras_version(metadata: str) -> str:
    try:
        stated = checked.parse_json(metadata or "{}")
    except ValueError as error:
        raise ModelLoadError(f"its metadata.json cannot be read: {error}") from error
    return str(stated.get("keras_version", "")) if isinstance(stated, dict) else ""


def _from_hdf5(path: Path) -> ReadModel:
    import h5py

    with h5py.File(path, "r") as file:
        if "model_config" not in file.attrs:
            raise ModelLoadError(
                "it holds weights without the network that they belong to"
                if {"layer_names", "layer_names0"} & set(file.attrs) or "layers" in file
                else "it holds no model_config, so it is HDF5 of another kind",
                hint="Save the whole network with model.save(FILE), or name the network and give "
                "the file as --weights, as in: edge export mobilenet --weights FILE.",
            )
        config = stored_config(file.attrs["model_config"])
        version = file.attrs.get("keras_version", b"2")
        version = version.decode() if isinstance(version, bytes) else str(version)
        if version.startswith("3"):
            return ReadModel(_loaded(path, config))
        built = network(config)
        load_groups(built.root, file)
    return ReadModel(built.model, (_built_again(version),))


def _built_again(version: str) -> str:
    return f"the network was stored by Keras {version} and is built again with Keras 3"


def check_archive(archive: zipfile.ZipFile) -> None:
    """Refuse an archive that would fill memory or disk.

    Raises:
        ModelLoadError: It holds too much.
    """
    entries = archive.infolist()
    total = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if total > max(SMALL_BYTES, MOST_TIMES * packed):
        raise ModelLoadError(
            f"the archive of {packed / 1e6:.1f} MB unpacks to {total / 1e9:.1f} GB; edge unpacks "
            f"at most {MOST_TIMES} times its size",
            hint="Keras packs no weights: save the model again with model.save(FILE).",
        )
    if len(entries) > MOST_FILES or total > MOST_BYTES:
        raise ModelLoadError(
            f"the archive holds {len(entries)} files of {total / 1e9:.1f} GB; edge unpacks at most "
            f"{MOST_FILES} files of {MOST_BYTES / 1e9:.1f} GB"
        )


def _read(archive: zipfile.ZipFile, name: str, most: int) -> str:
    if name not in archive.namelist():
        return ""
    try:
        return checked.read_member(archive, name, "it", max_bytes=most).decode(errors="replace")
    except checked.Malformed as error:
        raise ModelLoadError(str(error)) from error


def _loaded(path: Path, config: Mapping[str, Any]) -> Any:
    """Return what Keras 3 itself makes of the file."""
    import keras

    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # zip, h5py, json and Keras each raise types of their own
        ours = _cause(error)
        if ours is not None:
            raise ours from error
        own = sorted(set(_own_classes(config)))
        if own:
            raise _needs_code(own) from error
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else repr(error)
        reason = reason.partition(" Full object config")[0]
        raise ModelLoadError(
            reason,
            hint=f"{EXPECTED} It must not have Lambda layers or classes of your own.",
        ) from error
    if not hasattr(model, "inputs"):
        kind = type(model).__name__
        raise ModelLoadError(
            f"it is of class {kind} and does not state its inputs",
            hint="Save a functional model, or a Sequential one that starts with keras.Input.",
        )
    return model


def _cause(error: BaseException | None) -> ModelLoadError | None:
    """Return edge's own error about a layer, which Keras wraps into errors of its own."""
    while error is not None and not isinstance(error, ModelLoadError):
        error = error.__cause__ or error.__context__
    return error


def _own_classes(value: Any) -> Iterator[str]:
    """Yield names of classes and functions in a stored config that Keras does not have."""
    if isinstance(value, Mapping):
        module, name = value.get("module"), value.get("class_name")
        if name == "Lambda":
            yield "Lambda"
        elif isinstance(name, str) and "module" in value:
            is_keras = str(module).split(".")[0] in ("keras", "builtins")
            if not is_keras:
                yield name
            elif name == "function" and isinstance(value.get("config"), str):
                yield value["config"]
        for item in value.values():
            yield from _own_classes(item)
    elif isinstance(value, list):
        for item in value:
            yield from _own_classes(item)


def _needs_code(names: list[str]) -> ModelLoadError:
    if names == ["Lambda"]:
        return ModelLoadError(
            "it has a Lambda layer, whose code lies in the file, and edge runs no code of a file",
            hint="Where the Lambda was written, write model.export(FOLDER) and give edge that "
            "folder: it holds the computation without the code.",
        )
    return ModelLoadError(
        f"it needs code of its own, which no file brings along: {', '.join(names)}",
        hint="Name the Python file that defines it, which edge then runs: edge export FILE "
        f"{OPTION} CODE.py. Or where the code is, write model.export(FOLDER) and give edge export "
        "that folder: it holds the computation without the code.",
    )


def _in_float32(read: ReadModel) -> ReadModel:
    """Return the model with every layer computed in float32, where its policies say otherwise."""
    import keras

    policies = sorted(
        {
            layer.dtype_policy.name
            for layer in read.model._flatten_layers()
            if layer.dtype_policy.name in _POLICIES
        }
    )
    if not policies:
        return read
    config = _without_policies(keras.saving.serialize_keras_object(read.model))
    model = keras.saving.deserialize_keras_object(config, safe_mode=True)
    arrays = [weight.numpy() for weight in read.model.weights]
    for variable, array in zip(model.weights, arrays, strict=True):
        variable.assign(array.astype("float32") if array.dtype.kind in "fV" else array)
    change = f"its precision {', '.join(policies)} is computed in float32"
    return ReadModel(model, (*read.changes, change))


def _without_policies(value: Any) -> Any:
    """Return a stored config with float32 in the place of the other precisions."""
    if isinstance(value, Mapping):
        if str(value.get("class_name", "")).endswith("DTypePolicy"):
            return "float32"
        return {
            key: "float32" if key == "dtype" and item in _POLICIES else _without_policies(item)
            for key, item in value.items()
            if key != "shared_object_id"
        }
    if isinstance(value, list | tuple):
        return type(value)(_without_policies(item) for item in value)
    return value
