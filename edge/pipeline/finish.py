"""The second half of every job, in three stages: the measurements, the report, the bundle."""

from collections.abc import Callable

from benchmarks.environment import host
from edge.cache import StageCache
from edge.evaluation.predictions import predictions
from edge.pipeline.bundle import write_bundle
from edge.pipeline.calibration import warnings
from edge.pipeline.choice import (
    check_strict,
    default_reason,
    slow_notes,
    unsaid,
)
from edge.pipeline.class_report import FLOAT, KERAS, ClassReport, classes_report
from edge.pipeline.job import ModelToBundle, TimedStages
from edge.pipeline.measurements import Measurements, measure
from edge.pipeline.options import OutputOptions
from edge.pipeline.report import (
    Reference,
    Report,
    Training,
    by_groups,
)
from edge.pipeline.scoring import reference_score
from edge.pipeline.variants import check_search, read_recipes
from edge.pipeline.verdict import doubts
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
        NegativeVerdict: A mixed file does not hold the budget, or, where that is strict, an
            integer file is less accurate than the model or slower than the float file.
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
    """Return what the measurements come to; what a user should know is said on the way.

    Raises:
        NegativeVerdict: An integer file has a fault, and that is not to be.
    """
    reference = _reference(subject, measured)
    calibration = subject.audit(
        measured.calibrating, measured.converted, options.calibration_images
    )
    notes = (
        *warnings(calibration, subject.data.division),
        *_doubts(subject, measured, reference, options),
    )
    for text in unsaid(notes, measured.variants):
        stages.note(text)
    report = Report(
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
            measured.turns,
            measured.shortcoming,
            named=options.default_variant,
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
    check_strict(report, strict=options.strict)
    return report


def _doubts(
    subject: ModelToBundle, measured: Measurements, reference: Reference, options: OutputOptions
) -> tuple[str, ...]:
    """Return what a user should know before trusting the table."""
    found = doubts(
        reference,
        measured.variants,
        measured.default,
        subject.pictures,
        subject.labels,
        options.max_drop_points,
        subject.data.division,
    )
    return (*found, *slow_notes(measured.turns))


def _reference(subject: ModelToBundle, measured: Measurements) -> Reference:
    found = reference_score(
        measured.reference,
        subject.pictures,
        subject.output,
        subject.truth,
        of=subject.compared_with,
        stand_in=measured.stand_in,
    )
    return by_groups(found, subject.data.division)


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
