"""``edge.lock``: all that a bundle was made of, so that it can be made again and compared."""

import platform
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass, replace
from enum import Enum
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar, get_type_hints

from benchmarks.environment import environment
from edge import schema
from edge.dataset.folder import list_images
from edge.dataset.pictures import Picture, pictures_root
from edge.dataset.scan import Dataset
from edge.errors import BundleError, UsageError
from edge.evaluation.images import LOCK_NAME, MAX_LOCK
from edge.pipeline.options import BuildOptions, ExportOptions
from edge.runtime import checked
from edge.runtime.bundle import Bundle
from edge.runtime.contract import canonical_json
from edge.runtime.files import readable, sha256_file
from edge.threads import in_threads
from edge.training.keras2.weights import MAX_CONFIG, MAX_DEPTH
from edge.training.keras_files import sha256_folder
from edge.versions import versions

# Folders of this machine, and how they are treated: they decide no number, and another machine has
# others.
LOCAL: Final = frozenset(
    {"photos", "calibration_data", "evaluation_data", "output", "overwrite", "cache"}
)
OTHER_EDGE: Final = "Install the version of edge that the manifest names under provenance.versions."
OptionsT = TypeVar("OptionsT")


def options_json(options: Any) -> dict[str, Any]:
    """Return every field of a dataclass of options but those of this machine.

    Args:
        options: A dataclass; its fields are dataclasses, tuples, enums, paths and JSON values.
    """
    values = {}
    for item in fields(options):
        value = getattr(options, item.name)
        if item.name not in LOCAL or is_dataclass(value):
            values[item.name] = _encoded(value)
    return values


def _encoded(value: Any) -> Any:
    if is_dataclass(value):
        return options_json(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [_encoded(item) for item in value]
    return value


def read_options(
    kind: type[OptionsT], values: Mapping[str, Any], local: Mapping[str, Any]
) -> OptionsT:
    """Read what ``options_json`` made.

    Args:
        kind: The dataclass of options.
        values: The options in the lock.
        local: The values of the fields that are not kept, by name, for every dataclass that has
            them.

    Raises:
        BundleError: The options have other fields or types than the dataclass.
    """
    whole = _with_local(kind, values, local)
    return schema.from_json(kind, whole, "edge.lock: options", hint=OTHER_EDGE, error=BundleError)


def _with_local(kind: Any, values: Any, local: Mapping[str, Any]) -> Any:
    """Return the options with those of this machine, in all dataclasses inside."""
    if not isinstance(values, Mapping):
        return values  # which the schema refuses
    whole, kinds = dict(values), get_type_hints(kind)
    for item in fields(kind):
        if is_dataclass(kinds[item.name]):
            # An older edge knew fewer options; what it did then is the default of a newer group.
            if item.name in whole or item.default_factory is MISSING:
                whole[item.name] = _with_local(kinds[item.name], whole.get(item.name), local)
        elif item.name in LOCAL and item.name in local:
            whole[item.name] = _encoded(local[item.name])
    return whole


UNUSED: Final = "unused"  # split of the images that were found and left out
MASKS: Final = "masks"  # split of the image files that are masks of pictures, and none themselves
UNREADABLE: Final = "unreadable"  # instead of the sha256 of a file that the system does not show

# Options that may name a file. The others are no paths, whatever files are called like them: a name
# such as v1.0 is the name of the model.
FILE_OPTIONS: Final = frozenset(
    {
        "base.backbone",
        "base.weights",
        "custom_objects",
        "groups",
        "labels",
        "model",
        "output.recipe",
        "stated.anchors",
        "stated.labels",
        "truth",
        "weights",
    }
)

Images = Mapping[str, Mapping[str, Mapping[str, str]]]
"""Split -> class name ("" without one) -> path below the folder -> sha256 of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedFile:
    """A file that an option names: its path as it was given, and its sha256."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInputs:
    """What a job is a function of, apart from code and machine.

    Attributes:
        options: The options of the command, but for those of the machine; see ``options_json``.
        data: The images of each folder, by the option that names it.
        files: By the dotted name of an option, path as it was given and sha256 of each file that
            the options name.
    """

    options: Mapping[str, Any]
    data: Mapping[str, Images]
    files: Mapping[str, NamedFile]


def build_inputs(options: BuildOptions, dataset: Dataset) -> JobInputs:
    """Return what a build is made of; the images that were left out count as well."""
    splits = {
        split: [Picture(item.path, item.sha256, item.label) for item in images]
        for split, images in dataset.splits.items()
    }
    images = _images(options.photos, splits, dataset.labels)
    inputs = _inputs(options, {"photos": images})
    if dataset.groups is None:
        return inputs
    file = dataset.groups.file  # as it was read: it may have changed since
    named = NamedFile(path=str(file.path), sha256=sha256(file.content).hexdigest())
    return replace(inputs, files={**inputs.files, "groups": named})


def export_inputs(
    options: ExportOptions,
    calibrate_on: Sequence[Picture],
    scored: Sequence[Picture],
    labels: Sequence[str],
    masks: Sequence[Path] = (),
) -> JobInputs:
    """Return what an export is made of; the masks of the pictures count as well."""
    given = {
        "calibration_data": options.calibration_data,
        "evaluation_data": options.evaluation_data,
    }
    roots = {name: pictures_root(folder) for name, folder in given.items() if folder is not None}
    splits = {"calibration": calibrate_on, "scored": scored}
    data = {name: _images(root, splits, labels, masks) for name, root in roots.items()}
    return _inputs(options, data)


def _inputs(options: BuildOptions | ExportOptions, data: Mapping[str, Images]) -> JobInputs:
    values = options_json(options)
    return JobInputs(options=values, data=data, files=dict(_named_files(values)))


def _images(
    root: Path,
    splits: Mapping[str, Sequence[Picture]],
    labels: Sequence[str],
    masks: Sequence[Path] = (),
) -> dict[str, dict[str, dict[str, str]]]:
    """Return every image file below a folder by what became of it."""
    by_split: dict[str, dict[str, dict[str, str]]] = {}
    left = set(list_images(root))
    for split, pictures in splits.items():
        for picture in pictures:
            if picture.path not in left:
                continue  # it lies in the other folder
            left.discard(picture.path)
            label = "" if picture.label is None else labels[picture.label]
            of_class = by_split.setdefault(split, {}).setdefault(label, {})
            of_class[_relative(picture.path, root)] = picture.sha256
    for split, paths in ((MASKS, left.intersection(masks)), (UNUSED, left.difference(masks))):
        if paths:
            hashes = digests(sorted(paths)).items()
            by_split[split] = {"": {_relative(path, root): digest for path, digest in hashes}}
    return by_split


def folder_hashes(root: Path) -> dict[str, str]:
    """Return path below the folder -> sha256 of every image file.

    Raises:
        DataError: No such folder, or no image in it.
    """
    return {_relative(path, root): digest for path, digest in digests(list_images(root)).items()}


def digests(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the sha256 of each file, or ``UNREADABLE``."""

    def digest(path: Path) -> str:
        try:
            return sha256_file(path)
        except OSError:
            return UNREADABLE

    return dict(zip(paths, in_threads(digest, paths), strict=True))


def flat(images: Images) -> dict[str, str]:
    """Return path -> sha256 of all images of a folder."""
    return {
        str(path): str(digest)
        for classes in images.values()
        for files in classes.values()
        for path, digest in files.items()
    }


def _relative(path: Path, root: Path) -> str:
    return readable(path.relative_to(root))


def _named_files(options: Mapping[str, Any], outer: str = "") -> Iterator[tuple[str, NamedFile]]:
    """Yield the files that options name, such as those of weights, or the folder of a model."""
    for key, value in options.items():
        name = f"{outer}.{key}" if outer else key
        if isinstance(value, Mapping):
            yield from _named_files(value, name)
        elif name in FILE_OPTIONS and isinstance(value, str):
            path = Path(value)
            if path.suffix and path.is_file():  # a network of Keras Applications has no suffix
                yield name, NamedFile(path=value, sha256=sha256_file(path))
            elif name == "model" and path.is_dir():
                yield name, NamedFile(path=value, sha256=sha256_folder(path))


LOCK_SCHEMA_VERSION: Final = 1
Command = Literal["build", "export"]
SOURCE: Final = "source/model.keras"
GROUPS: Final = "source/groups.csv"  # so that the groups are known where their file is gone
WEIGHTS: Final = f"{SOURCE}/model.weights.h5"
CONFIG: Final = f"{SOURCE}/config.json"
# Reports hold latencies and dates, the runtime is that of the version, golden answers follow from
# the models; the Keras model counts by its parts.
_NO_PROOF: Final = ("report.", "source/", "golden/", "runtime/", "manifest.json", LOCK_NAME)
# These choose a CPU's kernels, which round differently.
_VECTOR_FLAGS: Final = ("sse4", "avx", "fma", "f16c", "amx", "asimd", "neon", "sve", "i8mm", "bf16")


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleLock:
    """The file.

    Attributes:
        command: ``build`` or ``export``.
        name: The name of the model, which stands in the model files.
        inputs: The options, images and files.
        weights_sha256: The hash of the pretrained weights.
        versions: The version of every package that makes numbers.
        host: The machine, as information.
        outputs: The sha256 by path in the bundle; parts of the Keras file lie below its path.
    """

    command: Command
    name: str
    inputs: JobInputs
    weights_sha256: str
    versions: Mapping[str, str]
    host: Mapping[str, Any]
    outputs: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return the lock as JSON values."""
        return asdict(self) | {"schema_version": LOCK_SCHEMA_VERSION}

    @classmethod
    def read(cls, bundle: Bundle) -> Self:
        """Return the lock of a bundle.

        Raises:
            UsageError: It has none.
            BundleError: It is altered, or of another schema.
        """
        if LOCK_NAME not in bundle.manifest.files:
            raise UsageError(
                f"{bundle.path} has no {LOCK_NAME}: an older edge made it",
                hint="Build or export it again; finished stages are in the cache.",
            )
        path = bundle.checked(LOCK_NAME)
        return schema.read(
            cls,
            path,
            LOCK_NAME,
            version=LOCK_SCHEMA_VERSION,
            hint=OTHER_EDGE,
            error=BundleError,
            max_bytes=MAX_LOCK,
        )


def lock_of(
    folder: Path,
    *,
    command: Literal["build", "export"],
    name: str,
    inputs: JobInputs,
    weights_sha256: str,
) -> dict[str, Any]:
    """Return the lock of a bundle whose models, labels and recipe are written, as JSON values.

    Args:
        folder: The folder of the bundle.
        command: ``build`` or ``export``.
        name: The name of the model.
        inputs: What the job was made of.
        weights_sha256: The hash of the base; an export's weights are the Keras model's own.
    """
    written = outputs(folder)
    if command == "export":
        weights_sha256 = written.get(WEIGHTS) or written.get(SOURCE) or weights_sha256
    return BundleLock(
        command=command,
        name=name,
        inputs=inputs,
        weights_sha256=weights_sha256,
        versions=versions(),
        host=processor(),
        outputs=written,
    ).to_json()


def processor() -> dict[str, Any]:
    """Return what of this machine may change how numbers are rounded."""
    machine = environment()
    cpu = machine["cpu"]
    flags = [flag for flag in cpu["flags"] or () if flag.startswith(_VECTOR_FLAGS)]
    return {
        "machine": platform.machine(),
        "cpu": cpu["model"],
        "cpus": len(cpu["affinity"] or ()) or cpu["logical"],
        "vector_flags": sorted(flags),
        "gpus": machine["gpus"],
        "system": platform.system(),
        "libc": " ".join(platform.libc_ver()).strip(),
    }


def outputs(folder: Path) -> dict[str, str]:
    """Return path -> sha256 of what makes the numbers: models, labels, recipe, Keras model."""
    hashes = {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.relative_to(folder).as_posix().startswith(_NO_PROOF)
    }
    source = folder / SOURCE
    return hashes | _keras_parts(source) if source.is_file() else hashes


def _keras_parts(path: Path) -> dict[str, str]:
    """Return the hashes of a Keras model: of its parts, because the archive holds the date.

    The configuration counts without ``shared_object_id``: those are addresses in memory.
    """
    if not zipfile.is_zipfile(path):
        return {SOURCE: sha256_file(path)}  # an .h5 file was copied as it is
    with checked.opened_zip(path, "the Keras file") as archive:
        text = checked.read_member(archive, "config.json", max_bytes=MAX_CONFIG)
        config = _without_addresses(
            checked.parse_json(text, max_bytes=MAX_CONFIG, max_depth=MAX_DEPTH, finite=False)
        )
        with archive.open("model.weights.h5") as weights:
            return {
                CONFIG: sha256(canonical_json(config).encode()).hexdigest(),
                WEIGHTS: file_digest(weights, "sha256").hexdigest(),  # type: ignore[arg-type]
            }


def _without_addresses(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_addresses(item)
            for key, item in value.items()
            if key != "shared_object_id"
        }
    return [_without_addresses(item) for item in value] if isinstance(value, list) else value
