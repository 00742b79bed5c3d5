"""The second half of every job: Keras model -> calibrated, converted, scored, bundled."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edge
from benchmarks.environment import host
from converters.base import CALIBRATED, ConversionRequest, Precision, targets
from edge.cache import StageCache, changed_in_use, sealed_sha256
from edge.dataset.pictures import Picture
from edge.errors import UsageError
from edge.evaluation.images import LOCK_NAME
from edge.evaluation.predictions import predictions
from edge.pipeline.answers import KERAS, classes_report
from edge.pipeline.audit import calibration_report, check_apart, warnings
from edge.pipeline.calibration import Pool, calibration_array, calibration_id, choose
from edge.pipeline.conversion import Converted, Failed, convert_all
from edge.pipeline.golden import write_golden
from edge.pipeline.held_out import chosen_pictures, held_out
from edge.pipeline.lock import lock_of
from edge.pipeline.options import OutputOptions
from edge.pipeline.output import staged
from edge.pipeline.page.page import PAGE_NAME, write_page
from edge.pipeline.recipe import RECIPE_NAME, Recipes, read_recipe, recipe_of
from edge.pipeline.report import (
    ADOPTED_FILE,
    KERAS_MODEL,
    Report,
    Training,
    VariantReport,
)
from edge.pipeline.scoring import (
    Failures,
    check_budget,
    choose_default,
    default_reason,
    reference_score,
    score_variants,
)
from edge.pipeline.stages import TimedStages
from edge.pipeline.subject import Subject
from edge.pipeline.verdict import doubts
from edge.runtime.bundle import LABELS_NAME, MANIFEST_NAME, labels_text
from edge.runtime.files import sha256_file, write_bytes, write_json
from edge.runtime.head import Head, class_probabilities, head_bytes
from edge.runtime.output import OutputSpec
from edge.runtime.session import open_session
from edge.runtime.spec import Manifest, Variant
from edge.training.models import keras_scores
from edge.versions import versions


def finish(
    subject: Subject,
    options: OutputOptions,
    stages: TimedStages,
    training: Callable[[float | None], Training | None],
) -> Report:
    """Convert, score and write the bundle.

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
    check_search(subject.head, options)
    check_search_output(subject.output, options)
    mixed = {item.format for item in targets(options.variants) if item.precision is Precision.MIXED}
    recipes = read_recipe(options.recipe, mixed) if options.recipe else {}
    chosen = choose(
        subject.calibrate_on,
        [picture.label for picture in subject.calibrate_on],
        options.calibration_images,
        options.seed,
    )
    pool = subject.calibration_pool or Pool(len(subject.calibrate_on))
    check_apart(chosen, subject.pictures)
    outputs = _reference(subject, cache, stages)
    reference = class_probabilities(outputs, subject.head, subject.output)
    failures = Failures(options.required, stages.note)
    if subject.adopted is None:
        made = _convert(subject, chosen, outputs, options, recipes, cache, stages, failures)
    else:
        made = (subject.adopted,)
    converted, variants = _scored(subject, made, reference, cache, stages, failures)
    check_budget(variants, options.max_drop_points)
    default = choose_default(variants, options.max_drop_points)
    truth = reference_score(reference, subject.pictures, subject.output, subject.truth)
    truth["of"] = KERAS_MODEL if subject.adopted is None else ADOPTED_FILE
    calibration = calibration_report(
        chosen,
        subject.pictures,
        subject.preprocessing,
        subject.labels,
        converted,
        asked=options.calibration_images,
        pool=pool,
    )
    notes = (
        *warnings(calibration),
        *doubts(truth, variants, default, subject.pictures, subject.labels),
    )
    for text in notes:
        stages.note(text)
    report = Report(
        command=subject.command,
        name=subject.name,
        data=subject.data,
        training=training(truth["top1"]),
        reference=truth,
        variants=variants,
        failed=tuple(failures.found),
        default_variant=default,
        default_reason=default_reason(variants, failures.found, default, options.max_drop_points),
        calibration=calibration,
        search={
            item.target.name: item.record["search"] for item in converted if "search" in item.record
        },
        notes=(*subject.notes, *notes),
        input=subject.input,
        classes=_classes(subject, converted, reference, default, cache),
        output=subject.output,
        stages=dict(stages.seconds),
        host=host(),
        versions=versions(),
    )
    recipe = recipe_of(
        converted,
        model=subject.name,
        model_id=subject.model_id,
        max_drop_points=options.max_drop_points,
    )
    with stages.stage("bundle"):
        _write(subject, report, converted, reference, recipe, options)
    return report


def _scored(
    subject: Subject,
    made: tuple[Converted, ...],
    reference: NDArray[np.float32],
    cache: StageCache,
    stages: TimedStages,
    failures: Failures,
) -> tuple[tuple[Converted, ...], tuple[VariantReport, ...]]:
    """The files that run, and the report of each, in the same order."""
    variants = score_variants(
        made,
        subject.pictures,
        reference if subject.adopted is None else None,  # that are its own answers
        subject.preprocessing,
        head=subject.head,
        output=subject.output,
        several=subject.truth,
        cache=cache,
        progress=stages,
        failed=failures,
    )
    failures.check(variants)
    written = {item.name for item in variants}
    return tuple(item for item in made if item.target.name in written), variants


def _classes(
    subject: Subject,
    converted: Sequence[Converted],
    reference: NDArray[np.float32],
    default: str,
    cache: StageCache,
) -> Any:
    """The report's part on classes: of the Keras model and of the default file."""
    of_default = next(item.path for item in converted if item.target.name == default)
    answers = predictions(
        of_default,
        subject.pictures,
        subject.preprocessing,
        cache=cache,
        head=subject.head,
        output=subject.output,
    )
    tables = {default: answers}
    if subject.adopted is None:
        tables = {KERAS: reference, **tables}
    return classes_report(tables, subject.pictures, subject.labels, subject.output)


def _reference(subject: Subject, cache: StageCache, stages: TimedStages) -> NDArray[np.float32]:
    """What every file is held against: the Keras model's answers, or an adopted file's own."""
    with stages.stage("reference", len(subject.pictures)) as step:
        if subject.adopted is not None:
            return predictions(
                subject.adopted.path, subject.pictures, subject.preprocessing, cache=cache
            )
        return keras_scores(
            subject.model_id,
            subject.load_model,
            subject.pictures,
            subject.preprocessing,
            cache=cache,
            step=step,
        )


def check_search(head: Head | None, options: OutputOptions) -> None:
    """Refuse to search mixed files by answers that are embeddings.

    Raises:
        UsageError: A search is asked for.
    """
    if head is not None and options.max_drop_points is not None and options.recipe is None:
        raise UsageError(
            f"--quantize auto scores class probabilities; files with the head {head.spec.kind} "
            "answer with embeddings",
            hint="Leave out --quantize auto: int8, dynamic and fp16 files are written anyway.",
        )


def check_search_output(output: OutputSpec, options: OutputOptions) -> None:
    """Refuse to search mixed files by a top-1 that is not what the model is scored by.

    Raises:
        UsageError: A search is asked for.
    """
    if options.max_drop_points is None or options.recipe is not None or output.plain:
        return
    what = "the best one of classes that exclude one another, from no threshold"
    raise UsageError(
        f"--quantize auto scores {what}; this model's answers are otherwise ({output.evidence})",
        hint="Leave out --quantize auto: int8, dynamic and fp16 files are written anyway.",
    )


def _convert(
    subject: Subject,
    chosen: Sequence[Picture],
    outputs: NDArray[np.float32],
    options: OutputOptions,
    recipes: Recipes,
    cache: StageCache,
    stages: TimedStages,
    failed: Failed,
) -> tuple[Converted, ...]:
    wanted = targets(options.variants)
    request = ConversionRequest(
        keras_model=subject.keras_model,
        format=wanted[0].format,
        precisions=(),
        output=options.cache,
        calibration=None,
        name=subject.name,
        labels=subject.labels if subject.head is None else (),
        preprocessing=subject.preprocessing,
        answers=subject.output,
        max_drop_points=options.max_drop_points,
    )
    searched = options.max_drop_points is not None and not recipes
    apart = chosen_pictures(subject.pictures, searched=searched, seed=options.seed)

    def run(request: ConversionRequest) -> tuple[Converted, ...]:
        title = "convert, search" if searched else "convert"
        with stages.stage(title, None if searched else len(wanted)) as step:
            return convert_all(
                request,
                wanted,
                model_id=subject.model_id,
                calibration_id=calibration_id(chosen, subject.preprocessing),
                held_out_id=calibration_id(apart, subject.preprocessing),
                recipes=recipes,
                cache=cache,
                step=step,
                failed=failed,
            )

    if not any(target.precision in CALIBRATED for target in wanted):
        return run(request)
    with stages.stage("calibration images", len(chosen)) as step:
        calibration = calibration_array(chosen, subject.preprocessing, cache=cache, step=step)
    with held_out(apart, subject.pictures, outputs, subject.preprocessing, cache=cache) as images:
        return run(replace(request, calibration=calibration, held_out=images))


def _write(
    subject: Subject,
    report: Report,
    converted: Sequence[Converted],
    reference: NDArray[np.float32],
    recipe: Mapping[str, Any] | None,
    options: OutputOptions,
) -> None:
    with staged(options.output) as folder:
        models = folder / "models"
        models.mkdir()
        for item in converted:
            shutil.copyfile(item.path, models / item.target.filename)
        if subject.adopted is None:
            (folder / "source").mkdir()
            shutil.copyfile(subject.keras_model, folder / "source" / "model.keras")
        write_bytes(folder / LABELS_NAME, labels_text(subject.labels).encode())
        write_json(folder / "report.json", report.to_json())
        if recipe is not None:
            write_json(folder / RECIPE_NAME, dict(recipe))
        write_page(
            folder / PAGE_NAME,
            report,
            labels=subject.labels,
            pictures=subject.pictures,
            preprocessing=subject.preprocessing,
            provenance=subject.provenance,
        )
        write_golden(folder, converted, subject.pictures, reference, subject.preprocessing)
        if subject.head is not None:
            place = folder / subject.head.spec.path
            place.parent.mkdir()
            write_bytes(place, head_bytes(subject.head))
        lock = lock_of(
            folder,
            command=subject.command,
            name=subject.name,
            inputs=subject.inputs,
            weights_sha256=str(subject.provenance["weights_sha256"]),
        )
        write_json(folder / LOCK_NAME, lock)
        copy_runtime(folder / "runtime")
        files = {
            path.relative_to(folder).as_posix(): sha256_file(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        _check_copies(subject, converted, files)
        manifest = Manifest(
            name=subject.name,
            labels=subject.labels,
            preprocessing=subject.preprocessing,
            variants=tuple(
                _variant(item, found)
                for item, found in zip(converted, report.variants, strict=True)
            ),
            default_variant=report.default_variant,
            files=files,
            provenance=subject.provenance,
            head=None if subject.head is None else subject.head.spec,
            output=subject.output,
        )
        write_json(folder / MANIFEST_NAME, manifest.to_json())


def _check_copies(
    subject: Subject, converted: Sequence[Converted], files: Mapping[str, str]
) -> None:
    """Refuse copies of the cache's files that are not what was stored there, and scored.

    Raises:
        OutputError: The cache changed after it was checked.
    """
    sources = {f"models/{item.target.filename}": item.path for item in converted}
    if subject.adopted is None:
        sources["source/model.keras"] = subject.keras_model
    for name, source in sources.items():
        if sealed_sha256(source) not in (None, files[name]):
            raise changed_in_use(source)


def _variant(item: Converted, found: VariantReport) -> Variant:
    return Variant(
        name=found.name,
        path=found.path,
        format=item.target.format,
        precision=str(item.target.precision),
        size_bytes=found.size_bytes,
        input_dtype=open_session(item.path).inputs[0].dtype,
        top1=found.top1,
        agreement=found.agreement,
        latency_ms=found.latency_ms,
    )


def copy_runtime(folder: Path) -> None:
    """The on-device runtime, so that a bundle runs where edge is not installed."""
    source = Path(edge.__file__).parent
    (folder / "edge").mkdir(parents=True)
    for name in ("__init__.py", "errors.py"):
        shutil.copyfile(source / name, folder / "edge" / name)
    shutil.copytree(
        source / "runtime",
        folder / "edge" / "runtime",
        ignore=shutil.ignore_patterns("__pycache__"),
        copy_function=shutil.copyfile,
    )
