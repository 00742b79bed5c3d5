"""What a job is made of: its options, every image and every file, by content."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge.dataset.folder import list_images
from edge.dataset.pictures import Picture, pictures_root
from edge.dataset.scan import Dataset
from edge.pipeline.options import BuildOptions, ExportOptions
from edge.pipeline.stored_options import options_json
from edge.runtime.files import readable, sha256_file
from edge.threads import in_threads
from edge.training.keras_files import sha256_folder

UNUSED: Final = "unused"  # split of the images that were found and left out
UNREADABLE: Final = "unreadable"  # instead of the sha256 of a file that the system does not show

Images = Mapping[str, Mapping[str, Mapping[str, str]]]
"""Split -> class name ("" without one) -> path below the folder -> sha256 of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a job is a function of, apart from code and machine.

    Attributes:
        options: Of the command, but for the places; see ``stored_options``.
        data: Option that names a folder -> its images.
        files: Dotted name of an option -> path as it was given, and sha256, of each file that
            the options name.
    """

    options: Mapping[str, Any]
    data: Mapping[str, Images]
    files: Mapping[str, Mapping[str, str]]


def build_inputs(options: BuildOptions, dataset: Dataset) -> Inputs:
    """What a build is made of; the images that were left out count as well."""
    splits = {
        split: [Picture(item.path, item.sha256, item.label) for item in images]
        for split, images in dataset.splits.items()
    }
    found = _images(options.photos, splits, dataset.labels)
    return _inputs(options, {"photos": found})


def export_inputs(
    options: ExportOptions,
    calibrate_on: Sequence[Picture],
    scored: Sequence[Picture],
    labels: Sequence[str],
) -> Inputs:
    """What an export is made of."""
    roots = {"calibration_data": pictures_root(options.calibration_data)}
    if options.evaluation_data is not None:
        roots["evaluation_data"] = pictures_root(options.evaluation_data)
    splits = {"calibration": calibrate_on, "scored": scored}
    return _inputs(options, {name: _images(root, splits, labels) for name, root in roots.items()})


def _inputs(options: BuildOptions | ExportOptions, data: Mapping[str, Images]) -> Inputs:
    values = options_json(options)
    return Inputs(options=values, data=data, files=dict(_named_files(values)))


def _images(
    root: Path, splits: Mapping[str, Sequence[Picture]], labels: Sequence[str]
) -> dict[str, dict[str, dict[str, str]]]:
    """Every image file below a folder by what became of it."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    left = set(list_images(root))
    for split, pictures in splits.items():
        for picture in pictures:
            if picture.path not in left:
                continue  # of the other folder
            left.discard(picture.path)
            label = "" if picture.label is None else labels[picture.label]
            of_class = found.setdefault(split, {}).setdefault(label, {})
            of_class[_relative(picture.path, root)] = picture.sha256
    unused = {_relative(path, root): digest for path, digest in digests(sorted(left)).items()}
    return {**found, UNUSED: {"": unused}} if unused else found


def folder_hashes(root: Path) -> dict[str, str]:
    """Path below the folder -> sha256 of every image file.

    Raises:
        DataError: No such folder, or no image in it.
    """
    return {_relative(path, root): digest for path, digest in digests(list_images(root)).items()}


def digests(paths: Sequence[Path]) -> dict[Path, str]:
    """sha256 of each file, or ``UNREADABLE``."""

    def digest(path: Path) -> str:
        try:
            return sha256_file(path)
        except OSError:
            return UNREADABLE

    return dict(zip(paths, in_threads(digest, paths), strict=True))


def flat(images: Images) -> dict[str, str]:
    """Path -> sha256 of all images of a folder."""
    return {
        str(path): str(digest)
        for classes in images.values()
        for files in classes.values()
        for path, digest in files.items()
    }


def _relative(path: Path, root: Path) -> str:
    return readable(path.relative_to(root))


def _named_files(
    options: Mapping[str, Any], name: str = ""
) -> Iterator[tuple[str, dict[str, str]]]:
    """The options that are paths of files, such as those of weights, or the folder of a model."""
    for key, value in options.items():
        full = f"{name}.{key}" if name else key
        if isinstance(value, Mapping):
            yield from _named_files(value, full)
        elif isinstance(value, str) and Path(value).suffix and Path(value).is_file():
            yield full, {"path": value, "sha256": sha256_file(Path(value))}
        elif key == "model" and isinstance(value, str) and Path(value).is_dir():
            yield full, {"path": value, "sha256": sha256_folder(Path(value))}
