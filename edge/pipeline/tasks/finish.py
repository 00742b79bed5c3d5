"""The second half of an export of a model that is no classifier: scores, report, bundle."""

from dataclasses import dataclass

from benchmarks.environment import host
from edge.cache import StageCache
from edge.dataset.pictures import Picture
from edge.pipeline.bundle import write_end, write_models, write_report
from edge.pipeline.calibration import (
    check_apart,
    choose,
    warnings,
)
from edge.pipeline.choice import (
    check_budget,
    check_strict,
    choose_default,
    default_reason,
    paced,
    slow_notes,
    unsaid,
)
from edge.pipeline.conversion import Converted
from edge.pipeline.job import ModelToBundle, TimedStages
from edge.pipeline.options import OutputOptions
from edge.pipeline.output import staged
from edge.pipeline.page.page import PAGE_NAME
from edge.pipeline.page.task_page import write_task_page
from edge.pipeline.scoring import Failures
from edge.pipeline.task_golden import write_task_golden
from edge.pipeline.tasks.report import TaskReport, TaskVariant
from edge.pipeline.tasks.scoring import Answered, answer_all, answers_of, score_all
from edge.pipeline.tasks.verdict import accuracy_shortcoming, doubts
from edge.pipeline.variants import convert_variants, fitting_recipe, read_recipes
from edge.versions import versions


@dataclass(frozen=True, slots=True, kw_only=True)
class _MadeFiles:
    """The files that run, and what they say.

    Attributes:
        calibrating: The images that calibrated the integer files.
        answered: The files with their answers.
        failures: Those that could not be made, or do not run.
    """

    calibrating: tuple[Picture, ...]
    answered: Answered
    failures: Failures

    @property
    def converted(self) -> tuple[Converted, ...]:
        """The files that run."""
        return tuple(item for item, _ in self.answered.files)


def finish_task(subject: ModelToBundle, options: OutputOptions, stages: TimedStages) -> TaskReport:
    """Convert the float file, score the files and write the bundle.

    Raises:
        ConversionError: A converter failed.
        InferenceError: The given file gives unusable answers.
        DataError: Images to score on calibrate as well.
        NegativeVerdict: A mixed file does not hold the budget.
        UsageError: The recipe cannot be used.
        OutputError: The bundle cannot be written.
    """
    cache = StageCache(options.cache)
    files = _made(subject, options, cache, stages)
    report = _report(subject, files, options, cache, stages)
    with stages.stage("bundle"):
        _write_bundle(subject, report, files.answered, options)
    return report


def _made(
    subject: ModelToBundle, options: OutputOptions, cache: StageCache, stages: TimedStages
) -> _MadeFiles:
    """Write the files, and run each over the held-out images."""
    if note := fitting_recipe(subject, options):
        stages.note(note)
    labels = [picture.label for picture in subject.calibrate_on]
    calibrating = choose(subject.calibrate_on, labels, options.calibration_images, options.seed)
    check_apart(calibrating, subject.pictures)
    given = subject.float_file if subject.adopted is None else subject.adopted.path
    assert given is not None  # one of the two is there
    with stages.stage("reference", len(subject.pictures)) as step:
        reference = answers_of(subject, given, cache, step)
    failures = Failures(options.required, stages.note)
    made: tuple[Converted, ...]
    if subject.adopted is None:
        made = convert_variants(
            subject, calibrating, None, options, read_recipes(options), cache, stages, failures
        )
    else:
        made = (subject.adopted,)
    answered = answer_all(subject, made, reference, cache=cache, progress=stages, failed=failures)
    failures.check([item for item, _ in answered.files])
    return _MadeFiles(calibrating=calibrating, answered=answered, failures=failures)


def _report(
    subject: ModelToBundle,
    files: _MadeFiles,
    options: OutputOptions,
    cache: StageCache,
    stages: TimedStages,
) -> TaskReport:
    """Return what the answers come to; what a user should know is said on the way.

    Raises:
        NegativeVerdict: An integer file has a fault, and that is not to be.
    """
    assert subject.decoder is not None  # it is no classifier
    reference, scored, turns = score_all(subject, files.answered, options.seed, cache, stages)
    failed, budget = tuple(files.failures.noted), options.max_drop_points
    check_budget(scored, budget)
    default = choose_default(scored, turns, budget, options.default_variant)

    def shortcoming(item: TaskVariant) -> str:
        return accuracy_shortcoming(item, budget, reference.metric)

    variants = paced(scored, turns, default, shortcoming)
    calibration = subject.audit(files.calibrating, files.converted, options.calibration_images)
    doubted = (*doubts(reference, variants, default, budget), *slow_notes(turns))
    notes = (*warnings(calibration), *doubted)
    for text in unsaid(notes, variants):
        stages.note(text)
    records = {item.target.name: item.record for item in files.converted}
    report = TaskReport(
        command=subject.command,
        name=subject.name,
        task=subject.decoder.task,
        decoder=subject.decoder,
        facts=subject.facts,
        data=subject.data,
        reference=reference,
        variants=variants,
        failed=failed,
        default_variant=default,
        default_reason=default_reason(
            variants, failed, default, turns, shortcoming, named=options.default_variant
        ),
        calibration=calibration,
        search={name: record["search"] for name, record in records.items() if "search" in record},
        notes=(*subject.notes, *notes),
        stages=dict(stages.seconds),
        host=host(),
        versions=versions(),
    )
    check_strict(report, strict=options.strict)
    return report


def _write_bundle(
    subject: ModelToBundle, report: TaskReport, answered: Answered, options: OutputOptions
) -> None:
    """Write the whole folder, which takes its place when it is complete.

    Raises:
        OutputError: The disk is full or read-only, or something else lies there by now.
        ImageError: A picture that could be read before no longer can.
        InferenceError: An interpreter failed.
    """
    converted = tuple(item for item, _ in answered.files)
    with staged(options.output) as folder:
        write_models(folder, subject, converted)
        write_report(folder, subject, report, converted, options)
        write_task_page(folder / PAGE_NAME, report, subject, answered)
        write_task_golden(
            folder,
            {item.target.name: item.path for item in converted},
            subject.pictures,
            answered.reference,
            preprocessing=subject.preprocessing,
            decoder=report.decoder,
            labels=subject.labels,
        )
        write_end(folder, subject, report, converted)
