"""What ``edge export`` is given -> a .keras file that every later stage can load."""

from dataclasses import dataclass, replace
from pathlib import Path

from edge.cache import StageCache
from edge.pipeline.options import ExportOptions
from edge.pipeline.source import Source
from edge.training.backbones import is_backbone
from edge.training.keras_files import check_model_path, keras_file


@dataclass(frozen=True, slots=True)
class GivenModel:
    """The network to export.

    Attributes:
        options: Those of the user, but ``model`` names what later stages load.
        name: Of the given file or folder; None of a network of Keras Applications.
        notes: What was changed and taken for granted.
    """

    options: ExportOptions
    name: str | None = None
    notes: tuple[str, ...] = ()

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
    if is_backbone(options.model):
        return GivenModel(options)
    path = check_model_path(options.model)
    return _keras(path, options)


def _keras(path: Path, options: ExportOptions) -> GivenModel:
    file = keras_file(path, StageCache(options.output.cache))
    notes = tuple(f"{path.name}: {change}" for change in file.changes)
    return GivenModel(replace(options, model=str(file.path)), path.name, notes)
