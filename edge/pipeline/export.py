"""``edge export``: a network that is trained already -> a verified bundle."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge.cache import StageCache
from edge.dataset.pictures import Picture, find_pictures, unreadable
from edge.embedding.imagenet import distinct, keras_classifier
from edge.errors import DataError, ModelLoadError, UsageError
from edge.pipeline.calibration import choose
from edge.pipeline.finish import finish
from edge.pipeline.inputs import export_inputs
from edge.pipeline.options import ExportOptions
from edge.pipeline.output import check_output
from edge.pipeline.report import Report
from edge.pipeline.stages import TimedStages
from edge.pipeline.subject import Subject
from edge.progress import Progress
from edge.runtime.files import sha256_file
from edge.runtime.spec import Preprocessing
from edge.training.backbones import backbone
from edge.training.models import load_keras
from edge.training.weights import weights_id
from edge.versions import versions
from edge.weights import imagenet_classes

KERAS_SUFFIXES: Final = (".keras", ".h5", ".hdf5")


def export(options: ExportOptions, progress: Progress) -> Report:
    """Write every variant of a trained network, score each against it, leave a bundle.

    Raises:
        DataError: The images cannot be used.
        UsageError: No such network or file; no place for the bundle.
        ModelLoadError: The file is no image classifier of Keras.
        WeightsUnavailable: No pretrained weights.
        ConversionError, InferenceError: A stage failed.
    """
    check_output(options.output.output, overwrite=options.output.overwrite)
    stages = TimedStages(progress)
    with stages.stage("model"):
        source = _source(options)
    preprocessing = Preprocessing(
        height=source.height,
        width=source.width,
        resize=options.resize,
        crop_fraction=options.crop_fraction,
    )
    with stages.stage("data"):
        calibrate_on, pictures, data = _images(options, source, preprocessing)
    for item in data["skipped"]:
        stages.note(f"skipped {item['path']}: {item['reason']}")
    subject = Subject(
        command="export",
        name=options.output.name or Path(source.description).stem.lower(),
        labels=source.labels,
        preprocessing=preprocessing,
        keras_model=source.path,
        model_id=source.model_id,
        load_model=lambda: load_keras(source.path),
        calibrate_on=calibrate_on,
        pictures=pictures,
        data=data,
        provenance={
            "command": "export",
            "model": source.description,
            "weights": source.weights,
            "weights_sha256": source.model_id,
            "seed": options.output.seed,
            "options": {"calibration_images": options.output.calibration_images},
            "versions": versions(),
        },
        inputs=export_inputs(options, calibrate_on, pictures, source.labels),
    )
    return finish(subject, options.output, stages, lambda top1: None)  # noqa: ARG005


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """The network to export, as a .keras file with RGB 0..255 in."""

    path: Path
    model_id: str
    description: str
    weights: str
    height: int
    width: int
    labels: tuple[str, ...]
    wnids: tuple[str, ...]


def _source(options: ExportOptions) -> _Source:
    path = Path(options.model)
    if path.suffix.lower() in KERAS_SUFFIXES:
        return _from_file(path, options)
    return _from_backbone(options)


def _from_backbone(options: ExportOptions) -> _Source:
    row = backbone(options.model)
    key, path = keras_classifier(
        row, options.weights, options.output.seed, StageCache(options.output.cache)
    )
    classes = imagenet_classes()
    labels = _labels(options, 1000) or tuple(label for _, label in classes)
    return _Source(
        path=path,
        model_id=key,
        description=row.keras_name,
        weights=weights_id(row, options.weights, options.output.seed),
        height=row.size,
        width=row.size,
        labels=distinct(labels),
        wnids=tuple(wnid for wnid, _ in classes),
    )


def _from_file(path: Path, options: ExportOptions) -> _Source:
    if not path.is_file():
        raise UsageError(f"no Keras model at {path}")
    model = load_keras(path)
    height, width, classes = _classifier_shape(path, model)
    labels = _labels(options, classes) or tuple(str(index) for index in range(classes))
    imagenet = imagenet_classes() if classes == 1000 else ()
    return _Source(
        path=path,
        model_id=sha256_file(path),
        description=path.name,
        weights=f"file {path.name}",
        height=height,
        width=width,
        labels=labels,
        wnids=tuple(wnid for wnid, _ in imagenet),
    )


def _classifier_shape(path: Path, model: Any) -> tuple[int, int, int]:
    """Height, width and classes of an image classifier.

    Raises:
        ModelLoadError: The model is something else.
    """
    shapes = [tuple(tensor.shape) for tensor in (*model.inputs, *model.outputs)]
    fits = (
        len(model.inputs) == len(model.outputs) == 1
        and len(shapes[0]) == 4
        and shapes[0][3] == 3
        and None not in shapes[0][1:3]
        and len(shapes[1]) == 2
    )
    if not fits:
        raise ModelLoadError(
            f"{path} is no image classifier: its inputs and outputs are {shapes}",
            hint="Expected one input (batch, height, width, 3), RGB 0..255, of a fixed size, "
            "and one output (batch, classes).",
        )
    return int(shapes[0][1]), int(shapes[0][2]), int(shapes[1][1])


def _labels(options: ExportOptions, classes: int) -> tuple[str, ...] | None:
    if options.labels is None:
        return None
    try:
        lines = options.labels.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the labels {options.labels} cannot be read: {error}") from error
    labels = tuple(line.strip() for line in lines if line.strip())
    if len(labels) != classes:
        raise UsageError(f"{options.labels} has {len(labels)} labels; the model has {classes}")
    return labels


def _images(
    options: ExportOptions, source: _Source, preprocessing: Preprocessing
) -> tuple[tuple[Picture, ...], tuple[Picture, ...], dict[str, Any]]:
    """Images to calibrate on, images to score on, and their record."""
    skipped: dict[Path, str] = {}

    def found(directory: Path) -> tuple[Picture, ...]:
        pictures = find_pictures(directory, source.labels, source.wnids)
        problems = unreadable(pictures, preprocessing)
        skipped.update(problems)
        usable = {item.sha256: item for item in pictures if item.path not in problems}
        return tuple(usable.values())  # one of each content

    everything = found(options.calibration_data)
    most = len(everything) if options.evaluation_data else max(1, len(everything) // 2)
    calibrate_on = choose(
        everything,
        [picture.label for picture in everything],
        min(options.output.calibration_images, most),
        options.output.seed,
    )
    if options.evaluation_data:
        pictures = found(options.evaluation_data)
    else:
        used = {picture.sha256 for picture in calibrate_on}
        pictures = tuple(picture for picture in everything if picture.sha256 not in used)
    if not pictures:
        raise DataError(
            "no image is left to score on: every one was used for calibration",
            hint="Give more images, or another folder with --evaluation-data.",
        )
    data = {
        "counts": {"calibration": len(calibrate_on), "scored": len(pictures)},
        "labelled": sum(picture.label is not None for picture in pictures),
        "skipped": [{"path": str(path), "reason": why} for path, why in skipped.items()],
    }
    return calibrate_on, pictures, data
