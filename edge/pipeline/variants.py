"""The model files of a bundle: converted from the Keras model, the mixed ones by a recipe.

``recipe.json`` says which blocks the mixed files keep in floats; a search writes it, and another
job can replay it.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray

from converters.base import CALIBRATED, CONVERTERS, ConversionRequest, Precision, targets
from edge import schema
from edge.cache import StageCache
from edge.dataset.pictures import Picture
from edge.errors import UsageError
from edge.modelfile.contents import tensor_names
from edge.modelfile.corruption import corruption
from edge.pipeline.calibration import (
    calibration_array,
    calibration_id,
    chosen_pictures,
    held_out,
)
from edge.pipeline.conversion import Converted, Failed, convert_all
from edge.pipeline.job import ModelToBundle, TimedStages
from edge.pipeline.options import OutputOptions
from edge.runtime.head import Head
from edge.runtime.output import OutputSpec
from edge.wording import counted

RECIPE_NAME: Final = "recipe.json"
RECIPE_SCHEMA_VERSION: Final = 1
ID_SHOWN: Final = 12  # characters of a content hash
COUNTER: Final = re.compile(r"_\d+$")  # of a scope of TensorFlow
HINT: Final = "edge export ... --quantize auto --max-drop 0.5 writes a recipe into the bundle."

Recipes = Mapping[str, tuple[str, ...]]
"""Format -> the names of the blocks that its mixed file keeps in floats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """``recipe.json``.

    Attributes:
        keep_float: The blocks that the mixed file of each format keeps in floats.
        model: The name of the model, for people.
        model_id: The content hash of the model.
        max_drop_points: The budget of the search; None if there was none.
    """

    model: str = ""
    model_id: str = ""
    max_drop_points: float | None = None
    keep_float: Mapping[Annotated[str, schema.one_of(CONVERTERS)], tuple[str, ...]]

    def to_json(self) -> Mapping[str, Any]:
        """Return JSON values; ``schema_version`` first."""
        return {"schema_version": RECIPE_SCHEMA_VERSION, **asdict(self)}


def recipe_of(
    converted: Sequence[Converted], *, model: str, model_id: str, max_drop_points: float | None
) -> Mapping[str, Any] | None:
    """Return what was kept in the mixed files, as JSON values; None if there are none.

    Args:
        converted: The files.
        model: The name of the model, for people.
        model_id: The content hash of the model.
        max_drop_points: The budget, if there was one.
    """
    mixed = [item for item in converted if item.target.precision is Precision.MIXED]
    kept = {item.target.format: item.record["kept"] for item in mixed if "kept" in item.record}
    if not kept:
        return None
    recipe = Recipe(
        model=model, model_id=model_id, max_drop_points=max_drop_points, keep_float=kept
    )
    return recipe.to_json()


def _read(path: Path) -> Recipe:
    return schema.read(Recipe, path, "the recipe", version=RECIPE_SCHEMA_VERSION, hint=HINT)


def read_recipe(path: Path, formats: Collection[str]) -> Recipes:
    """Read the blocks to keep in floats, by format.

    Args:
        path: The path of the file.
        formats: The formats whose mixed files are to be written.

    Raises:
        UsageError: The file is no recipe, of another schema, names a block twice, or lacks one of
            the formats.
    """
    recipe = _read(path)
    for format_, names in recipe.keep_float.items():
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise UsageError(
                f"{path} names the {format_} block {twice[0]!r} more than once",
                hint="Each block that stays in floats is named once.",
            )
    missing = sorted(set(formats) - set(recipe.keep_float))
    if missing:
        raise UsageError(
            f"{path} does not say what {missing[0]} files keep in floats",
            hint=f"Leave out {missing[0]}-mixed with --variants, or search with --quantize auto.",
        )
    return recipe.keep_float


def read_recipes(options: OutputOptions) -> Recipes:
    """Return the recipes of the mixed files that are asked for; none without a recipe file.

    Raises:
        UsageError: The recipe cannot be used; see ``read_recipe``.
    """
    if options.recipe is None:
        return {}
    wanted = targets(options.variants)
    mixed = {item.format for item in wanted if item.precision is Precision.MIXED}
    return read_recipe(options.recipe, mixed)


def made_for(path: Path | None) -> str:
    """Return for which model a recipe was made, in words; "" without a recipe, or if none is named.

    Raises:
        UsageError: The file is no recipe.
    """
    recipe = None if path is None else _read(path)
    if recipe is None or not recipe.model:
        return ""
    return f"{path} was made for {_named(recipe.model, recipe.model_id)}"


def _named(model: str, model_id: str) -> str:
    return f"{model} (id {model_id[:ID_SHOWN]})" if model_id else model


def fitting_recipe(subject: ModelToBundle, options: OutputOptions) -> str:
    """Return what is to be known of a recipe of another model, before any work; "" of its own.

    Weights that are trained anew give a model another id, and its blocks keep their names. So the
    id alone does not speak against a recipe; names of which no layer has one do.

    Raises:
        UsageError: The recipe cannot be used, or none of its blocks is one of the model.
    """
    if options.recipe is None or subject.adopted is not None:
        return ""
    recipe = _read(options.recipe)
    if recipe.model_id == subject.model_id:
        return ""
    own = _named(subject.name, subject.model_id)
    whose = f"{_named(recipe.model, recipe.model_id)}, " if recipe.model else ""
    blocks = [name for names in read_recipes(options).values() for name in names]
    if blocks and not _known_layers(subject).intersection(_layers(blocks)):
        raise UsageError(
            f"{options.recipe} is of another network: {whose}and {own} has no layer of the "
            f"{counted(len(blocks), 'block')} that it keeps in floats, such as {blocks[0]!r}",
            hint=HINT,
        )
    if not recipe.model_id:
        return ""
    return (
        f"{made_for(options.recipe)}, and this is {own}: blocks are known by their names alone, "
        "and what they cost and save here only the scores of this job tell"
    )


def _known_layers(subject: ModelToBundle) -> frozenset[str]:
    """Return the names that blocks of the model can have one of: of its layers, or of tensors."""
    if subject.float_file is not None:
        with corruption(subject.float_file, "model"):
            return _layers(tensor_names(subject.float_file))
    assert subject.load_model is not None  # it is made of the one or of the other
    layers = subject.load_model()._flatten_layers(include_self=False)
    return frozenset(layer.name for layer in layers)


def _layers(names: Iterable[str]) -> frozenset[str]:
    """Return the parts of names such as ``net/conv_1/Relu;net/bn``, with and without a counter.

    TensorFlow counts scopes, and what stands first in a block's name is the model.
    """
    parts = frozenset(part for name in names for part in re.split("[/;#:]", name) if part)
    return parts | frozenset(COUNTER.sub("", part) for part in parts)


def with_budget(options: OutputOptions) -> tuple[OutputOptions, str]:
    """Return the options with the budget of the recipe, unless they state one, and a note on it.

    The files of a recipe held its budget when they were searched. Without it, another file would
    be the default than the search had chosen.

    Raises:
        UsageError: The recipe cannot be used.
    """
    if options.recipe is None or options.max_drop_points is not None:
        return options, ""
    budget = _read(options.recipe).max_drop_points
    if budget is None:
        return options, ""
    if not 0 <= budget <= 100:
        raise UsageError(f"{options.recipe} allows a loss of {budget:g} points", hint=HINT)
    note = f"mixed files may lose {budget:g} points, as {options.recipe} says [--max-drop]"
    return replace(options, max_drop_points=budget), note


def check_search(head: Head | None, output: OutputSpec, options: OutputOptions) -> None:
    """Refuse to search mixed files by answers that a search cannot score.

    Args:
        head: Where the files answer with embeddings, what makes probabilities of them.
        output: What the answers mean.
        options: Whether a search is asked for.

    Raises:
        UsageError: A search is asked for, and the answers are embeddings, or the model is scored
            by something else than top-1.
    """
    if options.max_drop_points is None or options.recipe is not None:
        return
    hint = "Leave out --quantize auto: int8, dynamic and fp16 files are written anyway."
    if head is not None:
        raise UsageError(
            f"--quantize auto scores class probabilities; files with the head {head.spec.kind} "
            "answer with embeddings",
            hint=hint,
        )
    if not output.plain:
        raise UsageError(
            "--quantize auto scores the best one of classes that exclude one another, from no "
            f"threshold; this model's answers are otherwise ({output.evidence})",
            hint=hint,
        )


def searched(options: OutputOptions, recipes: Recipes) -> bool:
    """Return whether what mixed files keep in floats is to be searched for."""
    return options.max_drop_points is not None and not recipes


def convert_variants(
    subject: ModelToBundle,
    calibrating: Sequence[Picture],
    outputs: NDArray[np.float32] | None,
    options: OutputOptions,
    recipes: Recipes,
    cache: StageCache,
    stages: TimedStages,
    failed: Failed,
) -> tuple[Converted, ...]:
    """Write every variant that is asked for, with its calibration images where it needs them.

    Args:
        subject: The model and its images.
        calibrating: The images that calibrate.
        outputs: (images, values) answers of the float model to the held-out images, which a
            search for a classifier needs.
        options: Which variants.
        recipes: The blocks that the mixed file of each format keeps in floats.
        cache: Where the files lie.
        stages: Told of the stages.
        failed: Told of each target that cannot be written.

    Raises:
        ConversionError: A converter failed.
        UsageError: A recipe does not fit the model.
    """
    wanted = targets(options.variants)
    searching = searched(options, recipes)
    apart = chosen_pictures(subject.pictures, searched=searching, seed=options.seed)

    def convert(request: ConversionRequest) -> tuple[Converted, ...]:
        title = "convert, search" if searching else "convert"
        with stages.stage(title, None if searching else len(wanted)) as step:
            return convert_all(
                request,
                wanted,
                model_id=subject.model_id,
                calibration_id=calibration_id(calibrating, subject.preprocessing),
                held_out_id=calibration_id(apart, subject.preprocessing),
                recipes=recipes,
                cache=cache,
                step=step,
                failed=failed,
                prepared=subject.converters,
            )

    request = _request(subject, options, wanted[0].format)
    if not any(target.precision in CALIBRATED for target in wanted):
        return convert(request)
    with stages.stage("calibration images", len(calibrating)) as step:
        pixels = calibration_array(calibrating, subject.preprocessing, cache=cache, step=step)
    with held_out(apart, subject.pictures, outputs, subject.preprocessing, cache=cache) as images:
        return convert(replace(request, calibration=pixels, held_out=images))


def _request(subject: ModelToBundle, options: OutputOptions, format_: str) -> ConversionRequest:
    """Return what all variants have in common; ``convert_all`` fills in the rest."""
    return ConversionRequest(
        keras_model=subject.keras_model,
        float_file=subject.float_file,
        decoder=subject.decoder,
        format=format_,
        precisions=(),
        output=options.cache,
        calibration=None,
        name=subject.name,
        labels=subject.labels if subject.head is None else (),
        preprocessing=subject.preprocessing,
        answers=subject.output,
        max_drop_points=options.max_drop_points,
    )
