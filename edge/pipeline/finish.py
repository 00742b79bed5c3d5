"""The second half of every job, in three stages: the measurements, the report, the bundle."""

from collections.abc import Callable

from benchmarks.environment import host
from edge.cache import StageCache
from edge.evaluation.predictions import predictions
from edge.pipeline.bundle import write_bundle
from edge.pipeline.calibration import CalibrationAudit, calibration_report, warnings
from edge.pipeline.class_report import FLOAT, KERAS, ClassReport, classes_report
from edge.pipeline.job import ModelToBundle, TimedStages
from edge.pipeline.measurements import Measurements, measure
from edge.pipeline.options import OutputOptions
from edge.pipeline.report import ADOPTED_FILE, FLOAT_FILE, KERAS_MODEL, Reference, Report, Training
from edge.pipeline.scoring import reference_score
from edge.pipeline.variants import check_search, read_recipes
from edge.pipeline.verdict import default_reason, doubts
from edge.versions import versions


def finish(
    subject: ModelToBundle,
    options: OutputOptions,
    stages: TimedStages,
    training: Callable[[float | None], Training | None],
) -> Report:
    """Convert the model, score the files and write the bundle.

    Args:
        subject: The model and its images.
        options: Where to write and what.
        stages: Told of the stages.
        training: Gives the report's training part, from the Keras model's held-out top-1.

    Raises:
        ConversionError: A converter failed.
        InferenceError: A written file gives unusable answers.
        DataError: Images to score on calibrate as well.
        NegativeVerdict: A mixed file does not hold the budget.
        UsageError: The recipe cannot be used.
        OutputError: The bundle cannot be written.
    """
    cache = StageCache(options.cache)
    check_search(subject.head, subject.output, options)
    measured = measure(subject, options, read_recipes(options), cache, stages)
    report = _report(subject, measured, options, cache, stages, training)
    with stages.stage("bundle"):
        write_bundle(subject, report, measured, options)
    return report


def _report(
    subject: ModelToBundle,
    measured: Measurements,
    options: OutputOptions,
    cache: StageCache,
    stages: TimedStages,
    training: Callable[[float | None], Training | None],
) -> Report:
    """Return what the measurements come to; what a user should know is said on the way."""
    reference = _reference(subject, measured)
    calibration = _audit(subject, measured, options)
    notes = (
        *warnings(calibration),
        *doubts(reference, measured.variants, measured.default, subject.pictures, subject.labels),
    )
    for text in notes:
        stages.note(text)
    return Report(
        command=subject.command,
        name=subject.name,
        data=subject.data,
        training=training(reference.top1),
        reference=reference,
        variants=measured.variants,
        failed=measured.failed,
        default_variant=measured.default,
        default_reason=default_reason(
            measured.variants,
            measured.failed,
            measured.default,
            options.max_drop_points,
            reference.of,
        ),
        calibration=calibration,
        search=measured.searches,
        notes=(*subject.notes, *notes),
        input=subject.input,
        classes=_classes(subject, measured, cache),
        output=subject.output,
        facts=subject.facts,
        stages=dict(stages.seconds),
        host=host(),
        versions=versions(),
    )


def _reference(subject: ModelToBundle, measured: Measurements) -> Reference:
    return reference_score(
        measured.reference,
        subject.pictures,
        subject.output,
        subject.truth,
        of=_compared_with(subject),
    )


def _compared_with(subject: ModelToBundle) -> str:
    """Return whose answers the files are held against, in words."""
    if subject.adopted is not None:
        return ADOPTED_FILE
    return KERAS_MODEL if subject.float_file is None else FLOAT_FILE


def _audit(
    subject: ModelToBundle, measured: Measurements, options: OutputOptions
) -> CalibrationAudit:
    return calibration_report(
        measured.calibrating,
        subject.pictures,
        subject.preprocessing,
        subject.labels,
        measured.converted,
        asked=options.calibration_images,
        pool=subject.pool,
    )


def _classes(subject: ModelToBundle, measured: Measurements, cache: StageCache) -> ClassReport:
    """Return the report's part on classes: of the Keras model and of the default file."""
    answers = predictions(
        measured.default_path,
        subject.pictures,
        subject.preprocessing,
        cache=cache,
        head=subject.head,
        output=subject.output,
    )
    tables = {measured.default: answers}
    if subject.adopted is None:
        first = KERAS if subject.float_file is None else FLOAT
        tables = {first: measured.reference, **tables}
    return classes_report(tables, subject.pictures, subject.labels, subject.output)
