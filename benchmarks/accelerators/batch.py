"""Closes the extents that a model leaves open, and refuses a batch that it cannot take."""

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from benchmarks.input_shape import given_shapes, shown, still_open
from benchmarks.inputs import shape
from edge.errors import ModelLoadError, UsageError
from edge.runtime.spec import TensorSpec

IMAGES = 4  # axes of a batch of images


def closed(
    specs: tuple[TensorSpec, ...],
    batch: int,
    *,
    resizable: bool = False,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    sequences: Collection[str] = (),
) -> tuple[TensorSpec, ...]:
    """The inputs with every extent known: the batch, and what the user says of the others.

    Args:
        specs: As the model file states them, -1 for an open extent.
        batch: Images of one inference; taken by an open first extent.
        resizable: Whether the engine can also change a first extent of 1.
        shapes: What ``--input-shape`` says, by name.
        sequences: Inputs whose first extent is no batch.

    Raises:
        ModelLoadError: The model is fixed at another batch, or an input holds no values, or none
            that are numbers.
        UsageError: An extent other than the batch is open and nobody has said it, or what was
            said does not fit.
    """
    for spec in specs:
        _check_values(spec)
    given = given_shapes(specs, shapes or {}, sequences, resizable=resizable)
    if error := still_open(specs, given, sequences):
        raise error
    wanted = tuple(replace(spec, shape=given.get(spec.name, shape(spec, batch))) for spec in specs)
    result = wanted if resizable else tuple(map(_kept, specs, wanted))
    # One image at a time is asked for by default: then only images must agree, since the first
    # axis of another tensor may be anything, such as time.
    judged = [spec for spec in result if spec.shape and (batch > 1 or len(spec.shape) == IMAGES)]
    if judged and all(spec.shape[0] != batch for spec in judged):
        first = judged[0]
        if first.name in given:
            raise UsageError(
                f"--input-shape {shown(given[first.name])} has {given[first.name][0]} images, and "
                f"a batch of {batch} was asked for",
                hint=f"Add --batch {given[first.name][0]}, or begin the shape with {batch}.",
            )
        raise refused(first.shape[0], batch)
    return result


def _check_values(spec: TensorSpec) -> None:
    if 0 in spec.shape:
        raise ModelLoadError(
            f"the file fixes an extent of its input {spec.name} at 0 ({shown(spec.shape)}): it "
            "takes no values, so that there is nothing to compute",
            hint="Export the model again with that extent open, or at what it is in use.",
        )
    try:
        is_number = np.dtype(spec.dtype).kind in "biufc"
    except TypeError:
        is_number = False
    if not is_number:
        raise ModelLoadError(
            f"the input {spec.name} takes values of {spec.dtype}, which cannot be generated",
            hint="Only inputs of numbers that numpy knows can: cut the graph behind what turns "
            "others into them, such as a tokenizer.",
        )


def refused(fixed: int, batch: int) -> ModelLoadError:
    """What to raise for a model that takes ``fixed`` images and no other number."""
    return ModelLoadError(
        f"the model is fixed at a batch of {fixed}; a batch of {batch} was asked for",
        hint=f"Ask for --batch {fixed}, or convert the model with an open first extent.",
    )


def _kept(spec: TensorSpec, wanted: TensorSpec) -> TensorSpec:
    """``wanted``, but with a first extent that the file fixes."""
    if spec.shape and spec.shape[0] >= 0:
        return replace(wanted, shape=(spec.shape[0], *wanted.shape[1:]))
    return wanted


def check_outputs(model: str, outputs: tuple[TensorSpec, ...], batch: int) -> None:
    """Refuse a model that takes a batch and folds it into fewer answers.

    Args:
        model: Its name, for people.
        outputs: As the engine states them, with the batch in place, -1 where it cannot tell.
        batch: Images of one inference.

    Raises:
        ModelLoadError: No output has so many answers.
    """
    firsts = [spec.shape[0] if spec.shape else 1 for spec in outputs]
    if batch > 1 and not any(first in (-1, batch) for first in firsts):
        raise ModelLoadError(
            f"{model} does not answer for a batch of {batch}: its output {outputs[0].name} is "
            f"{outputs[0].shape}",
            hint="Measure it with --batch 1.",
        )
