"""Closes the extents that a model leaves open, and refuses a batch that it cannot take."""

from dataclasses import replace

from benchmarks.inputs import shape
from edge.errors import ModelLoadError
from edge.runtime.spec import TensorSpec

IMAGES = 4  # axes of a batch of images


def closed(
    specs: tuple[TensorSpec, ...], batch: int, *, resizable: bool = False
) -> tuple[TensorSpec, ...]:
    """The inputs with every extent known.

    Args:
        specs: As the model file states them, -1 for an open extent.
        batch: Images of one inference; taken by an open first extent.
        resizable: Whether the engine can also change a first extent of 1.

    Raises:
        ModelLoadError: The model is fixed at another batch.
    """
    wanted = tuple(replace(spec, shape=shape(spec, batch)) for spec in specs)
    result = wanted if resizable else tuple(map(_kept, specs, wanted))
    # One image at a time is asked for by default: then only images must agree, since the first
    # axis of another tensor may be anything, such as time.
    judged = [spec for spec in result if spec.shape and (batch > 1 or len(spec.shape) == IMAGES)]
    if judged and all(spec.shape[0] != batch for spec in judged):
        raise refused(judged[0].shape[0], batch)
    return result


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
