"""``edge export``: a network that is trained already -> a verified bundle."""

from pathlib import Path
from typing import Any

from edge.dataset.folder import check_outside, list_images, merged, skipped_notes
from edge.dataset.levels import levels_notes, with_levels
from edge.dataset.pictures import FolderPictures, Picture, find_pictures, pictures_root, unreadable
from edge.errors import DataError
from edge.evaluation.multilabel import UNKNOWN, truth_of
from edge.pipeline.calibration import Pool, choose
from edge.pipeline.finish import finish
from edge.pipeline.given_model import adopted_file, adopted_source, given_model
from edge.pipeline.job import ModelToBundle, TimedStages
from edge.pipeline.model_output import answer_rule
from edge.pipeline.options import ExportOptions
from edge.pipeline.output import check_output
from edge.pipeline.report import Report
from edge.pipeline.reproduce.lock import export_inputs
from edge.pipeline.source import ExportedNetwork, numbered, open_source, settled
from edge.pipeline.teachable_machine import RANGE
from edge.progress import Progress
from edge.runtime.files import sha256_file
from edge.runtime.spec import PIXEL_RANGE, Preprocessing
from edge.training.models import load_keras
from edge.training.weights import random_note
from edge.versions import versions


def export(options: ExportOptions, progress: Progress) -> Report:
    """Write every variant of a trained network, score each against it, leave a bundle.

    Raises:
        DataError: The images cannot be used.
        UsageError: No such network or file; no place for the bundle; a network that wants other
            values than it is fed.
        ModelLoadError: The file is no image classifier of Keras.
        WeightsUnavailable: No pretrained weights.
        ConversionError, InferenceError: A stage failed.
    """
    for folder in (options.calibration_data, options.evaluation_data):
        if folder is not None:
            check_outside(options.output.output, folder)
    check_output(options.output.output, overwrite=options.output.overwrite)
    stages = TimedStages(progress)
    with stages.stage("model"):
        given, asked = given_model(options), options
        options = given.options
        source = given.described(adopted_source(options) if given.adopted else open_source(options))
    preprocessing = Preprocessing(
        height=source.height,
        width=source.width,
        resize=options.resize,
        crop_fraction=options.crop_fraction,
        color_order=source.color_order,
        # A file of somebody else's scales nothing by itself: the runtime has to.
        value_range=RANGE if given.adopted else PIXEL_RANGE,
    )
    with stages.stage("data"):
        preprocessing, levels = with_levels(
            preprocessing, list_images(pictures_root(options.calibration_data))
        )
        calibrate_on, pool, pictures, data = _images(options, source, preprocessing)
        data["notes"] = [*dict.fromkeys([*data["notes"], *levels])]
    for note in data["notes"]:
        stages.note(note)
    for note in skipped_notes({item["path"]: item["reason"] for item in data["skipped"]}):
        stages.note(note)
    with stages.stage("input"):
        source = settled(source, options, calibrate_on, preprocessing, stages.note)
    output = answer_rule(source, options, calibrate_on, preprocessing)
    stages.note(f"output: {output.evidence}")
    truth = None
    if output.multi_label:
        scored_in = options.evaluation_data or options.calibration_data
        truth = truth_of(pictures, source.labels, options.truth, scored_in)
        data["labelled"] = int((truth.table != UNKNOWN).any(axis=1).sum())
    untrained = random_note(source.weights, "answers")
    if untrained:
        stages.note(untrained)
    subject = ModelToBundle(
        command="export",
        name=options.output.name or Path(source.description).stem.lower(),
        labels=source.labels,
        preprocessing=preprocessing,
        keras_model=source.path,
        adopted=adopted_file(source.path) if given.adopted else None,
        model_id=source.model_id,
        load_model=lambda: load_keras(source.path),
        calibrate_on=() if given.adopted else calibrate_on,
        calibration_pool=pool,
        pictures=pictures,
        data=data,
        provenance={
            "command": "export",
            "model": source.description,
            "weights": source.weights,
            "weights_sha256": source.given_sha256,
            "input": source.input.provenance(),
            **_code(options),
            "seed": options.output.seed,
            "options": {"calibration_images": options.output.calibration_images},
            "versions": versions(),
        },
        input=source.input.to_json(),
        inputs=export_inputs(asked, calibrate_on, pictures, source.labels),
        notes=(*source.notes, untrained) if untrained else source.notes,
        output=output,
        truth=truth,
    )
    return finish(subject, options.output, stages, lambda top1: None)  # noqa: ARG005


def _code(options: ExportOptions) -> dict[str, Any]:
    """The code that defined the network's own layers."""
    code = options.custom_objects
    if code is None:
        return {}
    return {"custom_objects": {"file": code.name, "sha256": sha256_file(code)}}


def _images(
    options: ExportOptions, source: ExportedNetwork, preprocessing: Preprocessing
) -> tuple[tuple[Picture, ...], Pool, tuple[Picture, ...], dict[str, Any]]:
    """Images to calibrate on and what they were taken from, images to score on, their record."""
    skipped: dict[Path, str] = {}
    folders: list[FolderPictures] = []
    levels: list[str] = []

    def found(directory: Path) -> tuple[Picture, ...]:
        unnamed = source.labels == numbered(len(source.labels)).names  # which a note says already
        folder = find_pictures(directory, source.labels, source.wnids, explained=unnamed)
        folders.append(folder)
        pictures = folder.pictures
        levels.extend(levels_notes(preprocessing, [picture.path for picture in pictures]))
        problems = unreadable(pictures, preprocessing)
        skipped.update(problems)
        usable = {item.sha256: item for item in pictures if item.path not in problems}
        return tuple(usable.values())  # one of each content

    everything = found(options.calibration_data)
    kept = 0 if options.evaluation_data else len(everything) - max(1, len(everything) // 2)
    pool = Pool(len(everything), max(0, kept))
    calibrate_on = choose(
        everything,
        [picture.label for picture in everything],
        min(options.output.calibration_images, pool.most),
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
        "notes": [
            *source.notes,
            *dict.fromkeys(note for folder in folders for note in folder.notes),
            *dict.fromkeys(levels),
        ],
        "files": merged(folder.files for folder in folders).to_json(),
    }
    return calibrate_on, pool, pictures, data
