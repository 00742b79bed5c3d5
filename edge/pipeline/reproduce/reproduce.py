"""``edge reproduce``: makes a bundle again from its lock, and compares it file by file."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge.cache import StageCache
from edge.dataset.folder import check_outside
from edge.dataset.pictures import pictures_root
from edge.errors import UsageError
from edge.pipeline.build import build
from edge.pipeline.export import export
from edge.pipeline.options import BuildOptions, ExportOptions
from edge.pipeline.output import check_output
from edge.pipeline.reproduce.differences import Reproduction, compared, data_difference
from edge.pipeline.reproduce.lock import (
    FILE_OPTIONS,
    SOURCE,
    BundleLock,
    JobInputs,
    NamedFile,
    processor,
    read_options,
)
from edge.pipeline.variants import RECIPE_NAME
from edge.progress import Progress
from edge.runtime.bundle import Bundle
from edge.runtime.files import sha256_file
from edge.training.keras_files import sha256_folder
from edge.versions import versions


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproduceOptions:
    """What ``edge reproduce`` takes.

    Attributes:
        bundle: The bundle to be made again.
        data: A folder of photos; of an export, its ``--calibration-data``.
        evaluation_data: The ``--evaluation-data`` of an export that had one.
        files: A folder with files that the options named, where they are no longer in their place.
        output: Where the second bundle stays; None for nowhere.
        overwrite: Whether to replace a bundle there.
        anyway: Whether to build although the data differ.
        cache: The root of the cache; only scratch space is taken there.
    """

    bundle: Path
    data: Path
    cache: Path
    evaluation_data: Path | None = None
    files: Path | None = None
    output: Path | None = None
    overwrite: bool = False
    anyway: bool = False


def reproduce(options: ReproduceOptions, progress: Progress) -> Reproduction:
    """Compare what goes in, build without any kept stage, and compare what comes out.

    Raises:
        UsageError: No bundle, no lock, or folders and files that it needs and were not given.
        BundleError: The bundle or its lock is altered, or of another version of edge.
        DataError: A folder cannot be read.
        EdgeError: Whatever a build or an export raises.
    """
    bundle = Bundle.open(options.bundle)
    bundle.verify()  # the lock says what the files were, not what they are
    lock = BundleLock.read(bundle)
    if options.output is not None:
        if options.output.resolve() == options.bundle.resolve():
            raise UsageError(
                "the second bundle cannot replace the first, with which it is compared",
                hint="Choose another --output.",
            )
        for folder in (options.data, options.evaluation_data):
            if folder is not None:
                check_outside(options.output, folder)
        check_output(options.output, overwrite=options.overwrite)
    folders = _folders(lock, options)
    with progress.stage("compare the data"):
        known = Reproduction(
            bundle=str(options.bundle),
            equal=None,
            data={
                name: data_difference(lock.inputs.data[name], root)
                for name, root in folders.items()
            },
            versions=_changed(lock.versions, versions()),
            processor=_changed(lock.host, processor()),
        )
    if not options.anyway and not all(item.is_same for item in known.data.values()):
        return known
    with StageCache(options.cache).scratch("reproduce") as scratch:
        output = options.output or scratch / "bundle"
        _make(bundle, lock, options, output, scratch / "cache", progress)
        return compared(known, bundle, lock, Bundle.open(output))


def _folders(lock: BundleLock, options: ReproduceOptions) -> dict[str, Path]:
    """Return where the images of each option that names a folder lie now."""
    named = set(lock.inputs.data)
    if {"calibration_data", "evaluation_data"} <= named and options.evaluation_data is None:
        raise UsageError(
            "the bundle was exported with --evaluation-data", hint="Name that folder again."
        )
    if "evaluation_data" not in named and options.evaluation_data is not None:
        raise UsageError("the bundle was made without --evaluation-data", hint="Leave it out.")
    given = {
        "photos": options.data,
        "calibration_data": pictures_root(options.data),
        "evaluation_data": pictures_root(options.evaluation_data or options.data),
    }
    return {name: given[name] for name in lock.inputs.data}


def _only_scored(lock: BundleLock) -> bool:
    """Return whether nothing was calibrated, so that one folder holds all images."""
    return set(lock.inputs.data) == {"evaluation_data"}


def _make(
    bundle: Bundle,
    lock: BundleLock,
    options: ReproduceOptions,
    output: Path,
    cache: Path,
    progress: Progress,
) -> None:
    """Run the command of the lock again, with an empty cache."""
    kinds: dict[str, type[BuildOptions | ExportOptions]] = {
        "build": BuildOptions,
        "export": ExportOptions,
    }
    local = {
        "photos": options.data,
        # A file that is used as it is can have been exported with images to score on alone.
        "calibration_data": options.data if "calibration_data" in lock.inputs.data else None,
        "evaluation_data": options.data if _only_scored(lock) else options.evaluation_data,
        "output": output,
        "overwrite": options.overwrite,
        "cache": cache,
    }
    values = named_files(bundle, lock.inputs, options.files)
    job = read_options(kinds[lock.command], values, local)
    # The name of the folder stands in the model files, and this one may be called otherwise. Which
    # variant is the default, and whether --strict let it pass, was measured: another measurement
    # might say otherwise.
    default = bundle.manifest.default_variant
    output_options = replace(job.output, name=lock.name, default_variant=default, strict=False)
    job = replace(job, output=output_options)
    _forget_names()
    if isinstance(job, BuildOptions):
        build(job, progress)
    else:
        export(job, progress)


def _forget_names() -> None:
    """Keras numbers unnamed layers through a process; a second model would be named otherwise."""
    keras = sys.modules.get("keras")
    if keras is not None:
        keras.utils.clear_session()


def _changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = list(dict.fromkeys([*then, *now]))
    return {
        name: (then.get(name), now.get(name)) for name in names if then.get(name) != now.get(name)
    }


def named_files(bundle: Bundle, inputs: JobInputs, folder: Path | None) -> dict[str, Any]:
    """Return the options with the path of each file where it lies now.

    The bundle itself holds its labels, its recipe and an exported model. A search is not made
    again: it times what it tries; its recipe is replayed.

    Args:
        bundle: Where the lock stands.
        inputs: The inputs in the lock.
        folder: Where else to look, by name; None for nowhere.

    Raises:
        UsageError: A file is missing, or has other bytes.
    """
    values: dict[str, Any] = _copied(inputs.options)
    for name, file in inputs.files.items():
        if name in FILE_OPTIONS:  # an older edge took a name for a file if there was such a file
            _set(values, name, str(_found(bundle, name, file, folder)))
    if RECIPE_NAME in bundle.manifest.files:
        _set(values, "output.recipe", str(bundle.checked(RECIPE_NAME)))
    return values


def _found(bundle: Bundle, name: str, file: NamedFile, folder: Path | None) -> Path:
    if name in ("labels", "stated.labels"):
        return bundle.checked("labels.txt")
    for path in _candidates(bundle, file, folder):
        read = sha256_folder if path.is_dir() else sha256_file
        if path.exists() and read(path) == file.sha256:
            return path
    raise UsageError(
        f"the file of the option {name}, {file.path}, is missing or has changed "
        f"(its sha256 was {file.sha256[:16]}...)",
        hint="Put it into a folder and name that with --files.",
    )


def _candidates(bundle: Bundle, file: NamedFile, folder: Path | None) -> Iterator[Path]:
    given = Path(file.path)
    if folder is not None:
        yield folder / given.name
    yield given
    if SOURCE in bundle.manifest.files and given.suffix == ".keras":
        yield bundle.path / SOURCE
    for path, digest in bundle.manifest.files.items():
        if digest == file.sha256:  # a model file that was given, or adopted
            yield bundle.path / path


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return value


def _set(values: dict[str, Any], name: str, value: str) -> None:
    *outer, last = name.split(".")
    for key in outer:
        values = values[key]
    values[last] = value
