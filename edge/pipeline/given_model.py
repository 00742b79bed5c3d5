"""What ``edge export`` is given -> a file that every later stage can load."""

from dataclasses import dataclass, replace
from pathlib import Path

from edge.cache import StageCache
from edge.errors import UsageError
from edge.pipeline.options import ExportOptions
from edge.pipeline.source import Source
from edge.pipeline.teachable_machine import Download, is_download, open_download
from edge.runtime.spec import Resize
from edge.training.backbones import is_backbone
from edge.training.keras_files import check_model_path, keras_file
from edge.training.own_code import OPTION


@dataclass(frozen=True, slots=True)
class GivenModel:
    """The network to export.

    Attributes:
        options: Those of the user, but ``model`` names what later stages load, and what the
            file's own rule says stands where the user said nothing.
        name: Of the given file or folder; None of a network of Keras Applications.
        notes: What was changed and taken for granted.
        adopted: Whether ``model`` is a TFLite file that is used as it is.
    """

    options: ExportOptions
    name: str | None = None
    notes: tuple[str, ...] = ()
    adopted: bool = False

    def described(self, source: Source) -> Source:
        """The source, named after what was given."""
        if self.name is None:
            return source
        return replace(
            source,
            description=self.name,
            weights=f"file {self.name}",
            notes=(*self.notes, *source.notes),
        )


def given_model(options: ExportOptions) -> GivenModel:
    """Find out what was given, and make it readable.

    Raises:
        UsageError: Nothing of that name, or something of another kind.
        ModelLoadError: The file cannot be read.
    """
    path, cache = Path(options.model), StageCache(options.output.cache)
    code = options.custom_objects
    if code is not None and (is_backbone(options.model) or is_download(path) or path.is_dir()):
        raise UsageError(
            f"{OPTION} is for a .keras or .h5 file with layers of its own; {options.model} has "
            "none that need code",
            hint=f"Leave out {OPTION}.",
        )
    if is_backbone(options.model):
        return GivenModel(options)
    if is_download(path):
        return _downloaded(path, open_download(path, cache), options)
    file = keras_file(check_model_path(options.model, folders=True), cache, code)
    notes = tuple(f"{path.name}: {change}" for change in file.changes)
    return GivenModel(replace(options, model=str(file.path)), path.name, notes)


def _downloaded(path: Path, download: Download, options: ExportOptions) -> GivenModel:
    """By Teachable Machine's rule the whole of the shorter side is seen, not 87.5 % of it."""
    crop = 1.0 if options.resize is Resize.CENTER_CROP else options.crop_fraction
    note = (
        f"{path.name} is {download.kind} of Teachable Machine: values of -1 to 1 and the square in "
        "the middle of a picture, from Teachable Machine's own rule"
    )
    taken = replace(
        options,
        model=str(download.path),
        labels=options.labels or download.labels,
        crop_fraction=crop,
    )
    name = path.parent.resolve().name if path.name == "model.json" else path.name
    return GivenModel(taken, name, (note,), download.is_tflite)
