"""``edge evaluate``: the written files of a bundle on a folder of images."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge.cache import StageCache
from edge.dataset.folder import Files
from edge.errors import DataError
from edge.evaluation.images import find_scored_images
from edge.evaluation.predictions import predictions
from edge.evaluation.score import Score, score
from edge.progress import Progress
from edge.runtime.bundle import Bundle
from edge.runtime.head import read_head


@dataclass(frozen=True, slots=True)
class VariantScore:
    """One variant and its score; agreement is with the first variant of the list."""

    name: str
    score: Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Scores of some variants of a bundle.

    Attributes:
        name: Of the bundle.
        images: How many were scored.
        labelled: How many of them have a class of the bundle.
        skipped: Why each other image could not be read, by path.
        files: All files of the folder.
        notes: Sentences on what was found, and on what is not used.
        variants: In the order of the bundle.
    """

    name: str
    images: int
    labelled: int
    skipped: dict[str, str]
    files: Files
    notes: tuple[str, ...]
    variants: tuple[VariantScore, ...]

    def to_json(self) -> dict[str, Any]:
        """The scores as JSON values."""
        return {
            "schema_version": 1,
            "name": self.name,
            "images": self.images,
            "labelled": self.labelled,
            "skipped": self.skipped,
            "files": self.files.to_json(),
            "notes": list(self.notes),
            "variants": [{"name": item.name} | asdict(item.score) for item in self.variants],
        }


def evaluate(
    path: Path,
    directory: Path,
    *,
    variants: tuple[str, ...],
    engine: str | None,
    cache: Path,
    progress: Progress,
) -> Evaluation:
    """Score variants of a bundle; all of them if none is named.

    Raises:
        UsageError: No bundle there, or an engine for another format.
        BundleError: A variant is missing or altered.
        DataError: No images, or none whose class the bundle knows.
    """
    bundle = Bundle.open(path)
    labels = bundle.manifest.labels
    names = variants or tuple(item.name for item in bundle.manifest.variants)
    models = [bundle.model(name)[1] for name in names]
    head = read_head(bundle)
    found = find_scored_images(directory, labels, bundle.manifest.preprocessing, progress)
    pictures = found.pictures
    if not any(picture.label is not None for picture in pictures):
        raise DataError(
            f"no image of {directory} lies in a folder named after a class of the bundle",
            hint=f"Its classes are {', '.join(labels[:5])}{' ...' if len(labels) > 5 else '.'}"
            + "".join(f" {note}." for note in found.notes),
        )
    tables = []
    with progress.stage("score", len(models) * len(pictures)) as step:
        for model in models:
            tables.append(
                predictions(
                    model,
                    pictures,
                    bundle.manifest.preprocessing,
                    cache=StageCache(cache),
                    engine=engine,
                    head=head,
                    step=step,
                )
            )
    truth = [picture.label for picture in pictures]
    scores = tuple(
        VariantScore(name, score(table, truth, tables[0]))
        for name, table in zip(names, tables, strict=True)
    )
    return Evaluation(
        name=bundle.manifest.name,
        images=len(pictures),
        labelled=scores[0].score.labelled,
        skipped=found.skipped,
        files=found.files,
        notes=found.notes,
        variants=scores,
    )
