"""What every file of a bundle is and scores: reference answers, conversion, scores and times."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.turns import Turns
from converters.judge import FloatCheck
from edge import schema
from edge.cache import StageCache
from edge.dataset.pictures import Picture
from edge.errors import ConversionError
from edge.evaluation.kept_pixels import Decode, kept_pixels
from edge.evaluation.predictions import raw_outputs
from edge.pipeline.calibration import check_apart, choose
from edge.pipeline.choice import accuracy_shortcoming, check_budget, choose_default, paced
from edge.pipeline.conversion import RECORD, Converted
from edge.pipeline.job import ModelToBundle, TimedStages
from edge.pipeline.options import OutputOptions
from edge.pipeline.report import FailedVariant, StandIn, VariantReport, by_groups
from edge.pipeline.scoring import Failures, score_variants
from edge.pipeline.variants import Recipes, convert_variants, fitting_recipe, searched
from edge.runtime.head import class_probabilities
from edge.training.models import keras_scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """The files of a bundle and what was measured of them.

    Attributes:
        reference: (images, classes) probabilities of the Keras model, or of an adopted file.
        stand_in: The file that was run in the place of the Keras model; None where it was not.
        calibrating: The images that calibrated the integer files.
        converted: The files that run.
        variants: The report of each of them, in the same order.
        failed: The files that could not be made, and why.
        turns: The times of the files, measured in turn.
        default: The name of the file that runs unless another is named.
        shortcoming: Says what a file lacks in accuracy; see ``accuracy_shortcoming``.
    """

    reference: NDArray[np.float32]
    calibrating: tuple[Picture, ...]
    converted: tuple[Converted, ...]
    variants: tuple[VariantReport, ...]
    failed: tuple[FailedVariant, ...]
    turns: Turns
    default: str
    shortcoming: Callable[[VariantReport], str]
    stand_in: StandIn | None = None

    @property
    def default_path(self) -> Path:
        """The path of the default file in the cache."""
        return next(item.path for item in self.converted if item.target.name == self.default)

    @property
    def searches(self) -> Mapping[str, Any]:
        """What a search tried, by mixed variant; see ``converters.search.Search``."""
        records = {item.target.name: item.record for item in self.converted}
        return {name: record["search"] for name, record in records.items() if "search" in record}


def measure(
    subject: ModelToBundle,
    options: OutputOptions,
    recipes: Recipes,
    cache: StageCache,
    stages: TimedStages,
) -> Measurements:
    """Convert the model, then score and time every file.

    Raises:
        ConversionError: A required file cannot be made, or none can.
        DataError: Images to score on calibrate as well.
        NegativeVerdict: A mixed file does not hold the budget.
        UsageError: A recipe is of another network.
        InferenceError: The Keras model or the adopted file does not run.
    """
    if note := fitting_recipe(subject, options):
        stages.note(note)
    calibrating = choose(
        subject.calibrate_on,
        [picture.label for picture in subject.calibrate_on],
        options.calibration_images,
        options.seed,
    )
    check_apart(calibrating, subject.pictures)
    # An adopted file is the reference as well, and runs once.
    shared = subject.pictures if subject.adopted is None else ()
    with kept_pixels(shared, subject.preprocessing, cache) as decode:
        return _measured(subject, calibrating, options, recipes, cache, stages, decode)


def _measured(
    subject: ModelToBundle,
    calibrating: tuple[Picture, ...],
    options: OutputOptions,
    recipes: Recipes,
    cache: StageCache,
    stages: TimedStages,
    decode: Decode,
) -> Measurements:
    failures = Failures(options.required, stages.note)
    stand_in: StandIn | None = None
    outputs: NDArray[np.float32] | None = None
    made: tuple[Converted, ...]
    given = _given_file(subject)
    if given is not None or searched(options, recipes):
        outputs = _reference(subject, given, cache, stages, decode)
    if subject.adopted is None:
        try:
            made = convert_variants(
                subject, calibrating, outputs, options, recipes, cache, stages, failures
            )
        finally:
            subject.converters.end()
    else:
        made = (subject.adopted,)
    if outputs is None:
        file, stand_in = _stand_in(made)
        outputs = _reference(subject, file, cache, stages, decode)
    reference = class_probabilities(outputs, subject.head, subject.output)
    converted, variants, turns = _scored(subject, made, reference, cache, stages, failures, decode)
    check_budget(variants, options.max_drop_points)
    default = choose_default(variants, turns, options.max_drop_points, options.default_variant)

    def shortcoming(item: VariantReport) -> str:
        return accuracy_shortcoming(item, options.max_drop_points, subject.compared_with)

    return Measurements(
        reference=reference,
        calibrating=calibrating,
        converted=converted,
        variants=paced(variants, turns, default, shortcoming),
        failed=tuple(failures.noted),
        turns=turns,
        default=default,
        shortcoming=shortcoming,
        stand_in=stand_in,
    )


def _stand_in(made: Sequence[Converted]) -> tuple[Path | None, StandIn | None]:
    """Return the first fp32 file that answers as the Keras model does; None without one.

    The file is run anyway, three times as fast as Keras.
    """
    for item in made:
        record = item.record.get("keras")
        if record is None:
            continue
        check = schema.from_json(FloatCheck, record, RECORD, error=ConversionError)
        if check.holds:  # else its notes say so
            name = item.target.name
            found = StandIn(variant=name, images=check.images, difference=check.difference)
            return item.path, found
    return None, None


def _given_file(subject: ModelToBundle) -> Path | None:
    """Return the finished or the float file that a job was given; None of a Keras model."""
    return subject.float_file if subject.adopted is None else subject.adopted.path


def _reference(
    subject: ModelToBundle,
    file: Path | None,
    cache: StageCache,
    stages: TimedStages,
    decode: Decode,
) -> NDArray[np.float32]:
    """Return the answers to compare with: those of a file, or of the Keras model."""
    with stages.stage("reference", len(subject.pictures)) as step:
        if file is not None:
            return raw_outputs(
                file,
                subject.pictures,
                subject.preprocessing,
                cache=cache,
                step=step,
                decode=decode,
            )
        assert subject.load_model is not None  # without a file there is a Keras model
        return keras_scores(
            subject.model_id,
            subject.load_model,
            subject.pictures,
            subject.preprocessing,
            cache=cache,
            step=step,
            decode=decode,
        )


def _scored(
    subject: ModelToBundle,
    made: tuple[Converted, ...],
    reference: NDArray[np.float32],
    cache: StageCache,
    stages: TimedStages,
    failures: Failures,
    decode: Decode,
) -> tuple[tuple[Converted, ...], tuple[VariantReport, ...], Turns]:
    """Return the files that run, the report of each in the same order, and their times."""
    variants, turns = score_variants(
        subject,
        made,
        reference if subject.adopted is None else None,  # an adopted file has only its own answers
        cache=cache,
        progress=stages,
        failed=failures,
        decode=decode,
    )
    failures.check(variants)
    variants = tuple(by_groups(item, subject.data.division) for item in variants)
    written = {item.name for item in variants}
    return tuple(item for item in made if item.target.name in written), variants, turns
