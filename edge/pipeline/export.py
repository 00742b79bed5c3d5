"""``edge export``: a network that is trained already -> a verified bundle."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from edge.dataset.folder import check_outside, skipped_notes
from edge.errors import UsageError
from edge.evaluation.multilabel import UNKNOWN, truth_of
from edge.identification.model import is_model_file
from edge.pipeline.conversion import PreparedConverters
from edge.pipeline.export_file import export_file, stated_options
from edge.pipeline.export_images import ExportImages, ImageFolders, export_images
from edge.pipeline.finish import finish
from edge.pipeline.given_model import GivenModel, adopted_file, adopted_source, given_model
from edge.pipeline.job import ModelToBundle, TimedStages
from edge.pipeline.model_output import answer_rule
from edge.pipeline.options import ExportOptions
from edge.pipeline.output import check_output
from edge.pipeline.report import Report
from edge.pipeline.reproduce.lock import export_inputs
from edge.pipeline.source import ExportedNetwork, open_source, settled
from edge.pipeline.tasks.report import TaskReport
from edge.pipeline.teachable_machine import RANGE
from edge.pipeline.variants import read_recipes, with_budget
from edge.progress import Progress
from edge.runtime.contract import PIXEL_RANGE, Preprocessing
from edge.runtime.files import sha256_file
from edge.runtime.output import OutputSpec
from edge.training.models import load_keras
from edge.training.weights import random_note
from edge.versions import versions


def export(options: ExportOptions, progress: Progress) -> Report | TaskReport:
    """Write every variant of a trained network, score each against it, and leave a bundle.

    A .tflite or .onnx file of somebody else's may answer more than which class a picture shows;
    then the report is that of its task.

    Raises:
        DataError: The images cannot be used.
        UsageError: There is no such network or file, or no place for the bundle, or the network
            wants other values than it is fed.
        ModelLoadError: The file is no image classifier of Keras, and no model file.
        WeightsUnavailable: There are no pretrained weights.
        ConversionError, InferenceError: A stage failed.
    """
    for folder in (options.calibration_data, options.evaluation_data):
        if folder is not None:
            check_outside(options.output.output, folder)
    check_output(options.output.output, overwrite=options.output.overwrite)
    output, budget = with_budget(options.output)
    options = replace(options, output=output)
    stages = TimedStages(progress)
    if budget:
        stages.note(budget)
    if is_model_file(options.model):
        return export_file(options, stages)
    read_recipes(output)  # before the work
    _check_network_options(options)
    return _export_network(options, stages)


def _export_network(options: ExportOptions, stages: TimedStages) -> Report:
    with stages.stage("model"):
        given = given_model(options)
        network = given.described(
            adopted_source(given.options) if given.adopted else open_source(given.options)
        )
    converters = PreparedConverters()
    if not given.adopted:
        converters.begin()
    with stages.stage("data"):
        images = _images(given, network)
    for note in (*images.notes, *skipped_notes(images.skipped)):
        stages.note(note)
    with stages.stage("input"):
        network = settled(network, given.options, images.calibrate_on, images.preprocessing, stages)
    output = answer_rule(network, given.options, images.calibrate_on, images.preprocessing)
    stages.inform(f"output: {output.evidence}")
    subject = replace(
        _subject(options, given, network, images, output, stages), converters=converters
    )
    return finish(subject, options.output, stages, lambda top1: None)  # noqa: ARG005


def _check_network_options(options: ExportOptions) -> None:
    """Refuse options of other model files, and an export without images that calibrate.

    Raises:
        UsageError: There is such an option, or no folder.
    """
    given = stated_options(options.stated)
    given += ["--annotations"] if options.annotations is not None else []
    if given:
        raise UsageError(
            f"{given[0]} is for a .tflite or .onnx file; {options.model} is a network of Keras, "
            "which is exported as a classifier",
            hint=f"Leave out {given[0]}.",
        )
    if options.calibration_data is None:
        raise UsageError(
            "--calibration-data is missing: int8 files are calibrated on pictures",
            hint="Add --calibration-data FOLDER; a part of it is kept to score on.",
        )


def _subject(
    options: ExportOptions,
    given: GivenModel,
    network: ExportedNetwork,
    images: ExportImages,
    output: OutputSpec,
    stages: TimedStages,
) -> ModelToBundle:
    """Return what is to be converted, and the images that go with it."""
    truth, labelled = None, sum(picture.label is not None for picture in images.scored)
    if output.multi_label:
        folder = given.options.evaluation_data or given.options.images
        truth = truth_of(images.scored, network.labels, given.options.truth, folder)
        labelled = int((truth.table != UNKNOWN).any(axis=1).sum())
    untrained = random_note(network.weights, "answers")
    if untrained:
        stages.note(untrained)
    return ModelToBundle(
        command="export",
        name=options.output.name or Path(network.description).stem.lower(),
        labels=network.labels,
        preprocessing=images.preprocessing,
        keras_model=None if given.adopted else network.path,
        adopted=adopted_file(network.path) if given.adopted else None,
        model_id=network.model_id,
        load_model=None if given.adopted else lambda: load_keras(network.path),
        calibrate_on=() if given.adopted else images.calibrate_on,
        calibration_pool=images.pool,
        pictures=images.scored,
        data=images.report(labelled),
        provenance=_provenance(given.options, network),
        input=network.input,
        inputs=export_inputs(options, images.calibrate_on, images.scored, network.labels),
        notes=(*network.notes, untrained) if untrained else network.notes,
        output=output,
        truth=truth,
    )


def _provenance(options: ExportOptions, network: ExportedNetwork) -> dict[str, Any]:
    """Return what the manifest says of the origin of the model."""
    code = options.custom_objects
    own = (
        {} if code is None else {"custom_objects": {"file": code.name, "sha256": sha256_file(code)}}
    )
    return {
        "command": "export",
        "model": network.description,
        "weights": network.weights,
        "weights_sha256": network.given_sha256,
        "input": network.input.provenance(),
        **own,
        "seed": options.output.seed,
        "options": {"calibration_images": options.output.calibration_images},
        "versions": versions(),
    }


def _images(given: GivenModel, network: ExportedNetwork) -> ExportImages:
    """Find the images to calibrate on and those to score on, none of them twice.

    Raises:
        DataError: A folder cannot be read, or no image is left to score on.
    """
    options = given.options
    return export_images(
        ImageFolders(options.calibration_data, options.evaluation_data),
        network.labels,
        network.wnids,
        _preprocessing(given, network),
        most=options.output.calibration_images,
        seed=options.output.seed,
        strict=options.output.strict,
        notes=network.notes,
    )


def _preprocessing(given: GivenModel, network: ExportedNetwork) -> Preprocessing:
    return Preprocessing(
        height=network.height,
        width=network.width,
        resize=given.options.resize,
        crop_fraction=given.options.crop_fraction,
        color_order=network.color_order,
        # A file of somebody else's scales nothing by itself: the runtime has to.
        value_range=RANGE if given.adopted else PIXEL_RANGE,
    )
