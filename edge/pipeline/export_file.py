"""``edge export`` of somebody else's .tflite or .onnx file: identified, converted, scored.

A float file is converted within its own format; an integer file is used as it is. Nothing is
converted between TFLite and ONNX.
"""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

from converters.base import TARGETS, Precision, Target
from edge.dataset.annotations.read import TruthFolder, read_truth
from edge.dataset.folder import skipped_notes
from edge.dataset.labels import numbered
from edge.dataset.pictures import Picture, pictures_root
from edge.dataset.truth import PictureTruth
from edge.errors import UsageError
from edge.evaluation.images import wnids
from edge.evaluation.multilabel import UNKNOWN, LabelTruth, truth_of
from edge.identification.identify import identify
from edge.identification.model import IdentifiedModel, StatedModel
from edge.inspection.model import inspect_model
from edge.inspection.notes import overflow_notes_of
from edge.modelfile.contents import check_finite
from edge.pipeline.conversion import Converted
from edge.pipeline.export_images import ExportImages, ImageFolders, export_images
from edge.pipeline.finish import finish
from edge.pipeline.job import ModelToBundle, TimedStages
from edge.pipeline.options import ExportOptions, OutputOptions
from edge.pipeline.report import Report
from edge.pipeline.reproduce.lock import export_inputs
from edge.pipeline.tasks.finish import finish_task
from edge.pipeline.tasks.report import TaskReport
from edge.pipeline.variants import read_recipes
from edge.runtime.tasks.table import Task
from edge.versions import versions

# What is made of a float file, within its own format.
MADE: Final = (Precision.FP32, Precision.INT8, Precision.MIXED)
NO_CONVERSION: Final = "nothing is converted between TFLite and ONNX"


def stated_options(stated: StatedModel) -> list[str]:
    """Return the names of the options that say something of a model file."""
    return [
        f"--{item.name.replace('_', '-')}"
        for item in fields(stated)
        if getattr(stated, item.name) != item.default
    ]


def export_file(options: ExportOptions, stages: TimedStages) -> Report | TaskReport:
    """Write the bundle of a model file; see ``edge.pipeline.export.export``.

    Raises:
        UsageError: The file leaves something open, or an option makes no sense for it.
        ModelLoadError: The file cannot be used.
        DataError: The images, or their annotations, cannot be used.
        ConversionError, InferenceError: A stage failed.
    """
    _check_options(options)
    with stages.stage("model"):
        known = identify(Path(options.model), options.stated)
        check_finite(known.path)
    for note in known.notes:
        stages.note(note)
    adopted = _adopted(known) if known.quantized else None
    _check_task(options, known)
    output = own_variants(options.output, known, adopted)
    read_recipes(output)  # before the work, and of the file's own format alone
    _check_data(options, known)
    with stages.stage("data"):
        images = _images(options, known)
        truths, told = truths_of(options, known, images.scored)
    if known.quantized and options.evaluation_data is None:
        stages.note(
            f"{known.path.name} is of integers already, so that no picture calibrates: all of "
            "--calibration-data are scored, as with --evaluation-data"
        )
    for note in (*images.notes, *told, *skipped_notes(images.skipped)):
        stages.note(note)
    subject = _subject(options, known, adopted, images, truths)
    if known.decoder is not None:
        return finish_task(subject, output, stages)
    return finish(subject, output, stages, lambda top1: None)  # noqa: ARG005


def _check_options(options: ExportOptions) -> None:
    """Refuse options that only a network of Keras follows."""
    given = {
        "--weights": options.weights != "imagenet",
        "--positive-class": options.positive_class is not None,
        "--model-output": options.model_output is not None,
        "--custom-objects": options.custom_objects is not None,
    }
    for name in (name for name, is_given in given.items() if is_given):
        raise UsageError(
            f"{name} is for a network of Keras; {options.model} is a finished file",
            hint=f"Leave out {name}.",
        )


def _check_task(options: ExportOptions, known: IdentifiedModel) -> None:
    """Refuse options of another task than the file's."""
    name = known.path.name
    if known.task in (Task.CLASSIFICATION, Task.EMBEDDING) and options.annotations is not None:
        raise UsageError(
            f"--annotations is for detection, segmentation and poses; {name} is a model for "
            f"{known.task}",
            hint="Leave it out; the images of a class lie in a folder of its name.",
        )
    if known.task is not Task.CLASSIFICATION and options.truth is not None:
        raise UsageError(
            f"--truth is for a classifier; {name} is a model for {known.task}",
            hint="Leave out --truth.",
        )


def _check_data(options: ExportOptions, known: IdentifiedModel) -> None:
    """Ask for the images that are needed."""
    if known.quantized and options.evaluation_data is None and options.calibration_data is None:
        raise UsageError(
            f"--evaluation-data is missing: {known.path.name} is used as it is, and scored",
            hint="Add --evaluation-data FOLDER with pictures to score on.",
        )
    if known.quantized and None not in (options.evaluation_data, options.calibration_data):
        raise UsageError(
            f"--calibration-data has no effect: {known.path.name} is of integers already, and "
            "nothing is calibrated",
            hint="Leave out --calibration-data.",
        )
    if not known.quantized and options.calibration_data is None:
        raise UsageError(
            "--calibration-data is missing: int8 files are calibrated on pictures",
            hint="Add --calibration-data FOLDER; a part of it is kept to score on.",
        )


def own_variants(
    output: OutputOptions, known: IdentifiedModel, adopted: Converted | None
) -> OutputOptions:
    """Return the options with the variants that can be made of the file.

    Raises:
        UsageError: Another one is asked for by name.
    """
    name = known.path.name
    if adopted is not None:
        possible = [adopted.target.name]
        why = f"{name} is {possible[0]} already and is used as it is"
    else:
        possible = [
            key
            for key, target in TARGETS.items()
            if target.format == known.format and target.precision in MADE
        ]
        why = f"{name} is a {known.format} file, and {NO_CONVERSION}"
    _refuse_others(output, possible, known, why)
    if adopted is not None and output.recipe is not None:
        raise UsageError(
            f"--recipe has no effect: {why}", hint="Leave it out, or give the float file."
        )
    return replace(
        output,
        variants=tuple(item for item in output.variants if item in possible),
        required=tuple(item for item in output.required if item in possible),
        max_drop_points=None if adopted is not None else output.max_drop_points,
    )


def _refuse_others(
    output: OutputOptions, possible: list[str], known: IdentifiedModel, why: str
) -> None:
    # --quantize auto asks for mixed files of both formats: one of them is enough.
    precisions = {TARGETS[item].precision for item in output.required if item in possible}
    others = [
        item
        for item in output.required
        if item not in possible
        and not (TARGETS[item].format != known.format and TARGETS[item].precision in precisions)
    ]
    if others:
        if TARGETS[others[0]].format == known.format and not known.quantized:
            why = f"{known.path.name} is a float file, of which edge makes these files alone"
        raise UsageError(
            f"{others[0]} cannot be made: {why}", hint=f"Possible: {', '.join(possible)}."
        )


def _adopted(known: IdentifiedModel) -> Converted:
    """Return the file as a variant; what it computes on integers says which one."""
    integers = inspect_model(known.path).quantized_share
    whole = integers is None or integers > 0 or known.format != "tflite"
    precision = Precision.INT8 if whole else Precision.DYNAMIC
    note = (
        f"{known.path.name} is an integer file already and is used as it is: it is the only "
        "variant, and no float file is known that its answers could be held against"
    )
    notes = (note, *overflow_notes_of(known.path))
    return Converted(Target(format=known.format, precision=precision), known.path, 0.0, notes, {})


def _images(options: ExportOptions, known: IdentifiedModel) -> ExportImages:
    classifies = known.task is Task.CLASSIFICATION
    return export_images(
        ImageFolders(
            options.calibration_data, options.evaluation_data, calibrates=not known.quantized
        ),
        known.labels if classifies else (),
        wnids(known.labels) if classifies else (),
        known.preprocessing,
        most=options.output.calibration_images,
        seed=options.output.seed,
        strict=options.output.strict,
    )


def truths_of(
    options: ExportOptions, known: IdentifiedModel, scored: tuple[Picture, ...]
) -> tuple[tuple[PictureTruth, ...], tuple[str, ...]]:
    """Return the annotations of the scored images that have some, and notes on them.

    Raises:
        UsageError: Two formats fit.
        DataError: The annotations cannot be read, or are of none of the images.
    """
    if known.task in (Task.CLASSIFICATION, Task.EMBEDDING):
        return (), ()
    folder = pictures_root(options.evaluation_data or options.images)
    found = read_truth(
        folder, scored, known.labels, task=known.task, annotations=options.annotations
    )
    return found.pictures, (*found.notes, *_unnamed(known, found))


def _unnamed(known: IdentifiedModel, found: TruthFolder) -> list[str]:
    """Return a note on classes without names: annotations name what they mark."""
    named = known.labels != numbered(len(known.labels)).names
    if named or known.task is not Task.DETECTION or found.pictures:
        return []
    return [
        "nothing names the classes of the model: annotations that name classes cannot be used with "
        "this bundle, unless it is exported with --labels FILE"
    ]


def _subject(
    options: ExportOptions,
    known: IdentifiedModel,
    adopted: Converted | None,
    images: ExportImages,
    truths: tuple[PictureTruth, ...],
) -> ModelToBundle:
    """Return what is to be written, and the images that go with it."""
    scored = images.scored
    truth, labelled = _labels_that_hold(options, known, scored)
    return ModelToBundle(
        command="export",
        name=options.output.name or known.path.stem.lower(),
        labels=known.labels,
        preprocessing=images.preprocessing,
        float_file=None if adopted else known.path,
        adopted=adopted,
        model_id=known.sha256,
        calibrate_on=images.calibrate_on,
        calibration_pool=images.pool,
        pictures=scored,
        data=images.report(len(truths) if known.decoder else labelled),
        provenance=_provenance(options, known),
        inputs=export_inputs(options, images.calibrate_on, scored, known.labels, images.masks),
        notes=known.notes,
        output=known.output,
        truth=truth,
        decoder=known.decoder,
        truths=truths,
        facts=known.facts,
    )


def _labels_that_hold(
    options: ExportOptions, known: IdentifiedModel, scored: tuple[Picture, ...]
) -> tuple[LabelTruth | None, int]:
    """Return which labels hold of a model of several, and how many images have a label."""
    if known.decoder is not None or not known.output.multi_label:
        return None, sum(picture.label is not None for picture in scored)
    folder = options.evaluation_data or options.images
    truth = truth_of(scored, known.labels, options.truth, folder)
    return truth, int((truth.table != UNKNOWN).any(axis=1).sum())


def _provenance(options: ExportOptions, known: IdentifiedModel) -> dict[str, Any]:
    """Return what the manifest says of the origin of the model."""
    return {
        "command": "export",
        "model": known.path.name,
        "weights": f"file {known.path.name}",
        "weights_sha256": known.sha256,
        "identified": {fact.what: f"{fact.value} ({fact.source})" for fact in known.facts},
        "seed": options.output.seed,
        "options": {"calibration_images": options.output.calibration_images},
        "versions": versions(),
    }
