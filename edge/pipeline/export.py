"""``edge export``: a network that is trained already -> a verified bundle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from edge.dataset.folder import Files, check_outside, list_images, merged, skipped_notes
from edge.dataset.levels import levels_notes, with_levels
from edge.dataset.pictures import FolderPictures, Picture, find_pictures, pictures_root, unreadable
from edge.dataset.scan import Skipped
from edge.errors import DataError
from edge.evaluation.multilabel import UNKNOWN, truth_of
from edge.pipeline.calibration import Pool, choose
from edge.pipeline.finish import finish
from edge.pipeline.given_model import GivenModel, adopted_file, adopted_source, given_model
from edge.pipeline.job import ModelToBundle, TimedStages
from edge.pipeline.model_output import answer_rule
from edge.pipeline.options import ExportOptions
from edge.pipeline.output import check_output
from edge.pipeline.report import DataReport, Report
from edge.pipeline.reproduce.lock import export_inputs
from edge.pipeline.source import ExportedNetwork, numbered, open_source, settled
from edge.pipeline.teachable_machine import RANGE
from edge.pipeline.variants import read_recipes
from edge.progress import Progress
from edge.runtime.contract import PIXEL_RANGE, Preprocessing
from edge.runtime.files import sha256_file
from edge.runtime.output import OutputSpec
from edge.training.models import load_keras
from edge.training.weights import random_note
from edge.versions import versions


def export(options: ExportOptions, progress: Progress) -> Report:
    """Write every variant of a trained network, score each against it, and leave a bundle.

    Raises:
        DataError: The images cannot be used.
        UsageError: There is no such network or file, or no place for the bundle, or the network
            wants other values than it is fed.
        ModelLoadError: The file is no image classifier of Keras.
        WeightsUnavailable: There are no pretrained weights.
        ConversionError, InferenceError: A stage failed.
    """
    for folder in (options.calibration_data, options.evaluation_data):
        if folder is not None:
            check_outside(options.output.output, folder)
    check_output(options.output.output, overwrite=options.output.overwrite)
    read_recipes(options.output)  # before the work
    stages = TimedStages(progress)
    with stages.stage("model"):
        given = given_model(options)
        network = given.described(
            adopted_source(given.options) if given.adopted else open_source(given.options)
        )
    with stages.stage("data"):
        images = _images(given, network)
    for note in (*images.notes, *skipped_notes(images.skipped)):
        stages.note(note)
    with stages.stage("input"):
        network = settled(
            network, given.options, images.calibrate_on, images.preprocessing, stages.note
        )
    output = answer_rule(network, given.options, images.calibrate_on, images.preprocessing)
    stages.note(f"output: {output.evidence}")
    subject = _subject(options, given, network, images, output, stages)
    return finish(subject, options.output, stages, lambda top1: None)  # noqa: ARG005


@dataclass(frozen=True, slots=True, kw_only=True)
class _ExportImages:
    """The images of an export.

    Attributes:
        preprocessing: The contract, with the levels that the images have.
        calibrate_on: The images that calibrate.
        pool: What those were chosen from.
        scored: The images to score on.
        skipped: The files that cannot be decoded, and why.
        notes: What a user should know of the images, and of the network so far.
        files: What lies in the folders.
    """

    preprocessing: Preprocessing
    calibrate_on: tuple[Picture, ...]
    pool: Pool
    scored: tuple[Picture, ...]
    skipped: Mapping[Path, str]
    notes: tuple[str, ...]
    files: Files

    def report(self, labelled: int) -> DataReport:
        """What the report says of the data; ``labelled`` images count in the scores."""
        return DataReport(
            counts={"calibration": len(self.calibrate_on), "scored": len(self.scored)},
            labelled=labelled,
            skipped=tuple(Skipped(path=path, reason=why) for path, why in self.skipped.items()),
            notes=self.notes,
            files=self.files,
        )


def _subject(
    options: ExportOptions,
    given: GivenModel,
    network: ExportedNetwork,
    images: _ExportImages,
    output: OutputSpec,
    stages: TimedStages,
) -> ModelToBundle:
    """Return what is to be converted, and the images that go with it."""
    truth, labelled = None, sum(picture.label is not None for picture in images.scored)
    if output.multi_label:
        folder = given.options.evaluation_data or given.options.calibration_data
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
        keras_model=network.path,
        adopted=adopted_file(network.path) if given.adopted else None,
        model_id=network.model_id,
        load_model=lambda: load_keras(network.path),
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


def _images(given: GivenModel, network: ExportedNetwork) -> _ExportImages:
    """Find the images to calibrate on and those to score on, none of them twice.

    Raises:
        DataError: A folder cannot be read, or no image is left to score on.
    """
    options = given.options
    preprocessing, levels = with_levels(
        _preprocessing(given, network), list_images(pictures_root(options.calibration_data))
    )
    available = _Folder.read(options.calibration_data, network, preprocessing)
    calibrate_on, pool = _chosen(available.usable, options)
    folders = [available]
    if options.evaluation_data:
        folders.append(_Folder.read(options.evaluation_data, network, preprocessing))
        scored = folders[-1].usable
    else:
        used = {picture.sha256 for picture in calibrate_on}
        scored = tuple(item for item in available.usable if item.sha256 not in used)
    if not scored:
        raise DataError(
            "no image is left to score on: every one was used for calibration",
            hint="Give more images, or another folder with --evaluation-data.",
        )
    notes = [
        *network.notes,
        *dict.fromkeys(note for folder in folders for note in folder.content.notes),
        *dict.fromkeys(note for folder in folders for note in folder.levels),
        *levels,
    ]
    return _ExportImages(
        preprocessing=preprocessing,
        calibrate_on=calibrate_on,
        pool=pool,
        scored=scored,
        skipped={path: why for folder in folders for path, why in folder.problems.items()},
        notes=tuple(dict.fromkeys(notes)),
        files=merged(folder.content.files for folder in folders),
    )


def _chosen(
    pictures: Sequence[Picture], options: ExportOptions
) -> tuple[tuple[Picture, ...], Pool]:
    """Choose the images that calibrate; without other images, half are kept to score on."""
    kept = 0 if options.evaluation_data else len(pictures) - max(1, len(pictures) // 2)
    pool = Pool(len(pictures), max(0, kept))
    calibrate_on = choose(
        pictures,
        [picture.label for picture in pictures],
        min(options.output.calibration_images, pool.most),
        options.output.seed,
    )
    return calibrate_on, pool


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Folder:
    """A folder of images that was read.

    Attributes:
        content: What lies in it.
        problems: The files that cannot be decoded, and why.
        levels: What its images say of their levels.
    """

    content: FolderPictures
    problems: Mapping[Path, str]
    levels: tuple[str, ...]

    @classmethod
    def read(cls, path: Path, network: ExportedNetwork, preprocessing: Preprocessing) -> Self:
        """Find the pictures of a folder, and those that cannot be decoded.

        Raises:
            DataError: There is no such folder, or no image in it.
        """
        unnamed = network.labels == numbered(len(network.labels)).names  # which a note says already
        content = find_pictures(path, network.labels, network.wnids, explained=unnamed)
        paths = [picture.path for picture in content.pictures]
        return cls(
            content=content,
            problems=unreadable(content.pictures, preprocessing),
            levels=tuple(levels_notes(preprocessing, paths)),
        )

    @property
    def usable(self) -> tuple[Picture, ...]:
        """The pictures that can be decoded, one of each content."""
        readable = (item for item in self.content.pictures if item.path not in self.problems)
        return tuple({item.sha256: item for item in readable}.values())
