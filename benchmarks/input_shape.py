"""The shape of each input: what ``--input-shape`` says of those that a model leaves open.

Standard library, numpy and ``edge.runtime`` only: a worker runs in any Python environment.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from benchmarks.inputs import with_batch
from edge.errors import ModelLoadError, UsageError
from edge.runtime.spec import TensorSpec

ONLY: Final = ""  # names the only input, or the only one with open extents
SCALAR: Final = "scalar"
MOST_ELEMENTS: Final = 2**31  # of one input: 8 GiB of float32
IMAGE: Final = 224  # an extent for an example: of a picture
SEQUENCE: Final = 128  # likewise: of anything else
Shape = tuple[int, ...]
# Names of an axis that is no batch.
_SEQUENCE: Final = re.compile(r"seq|len|time|frame|token|step|height|width|^[thw]$", re.I)


def parse_shapes(texts: Sequence[str]) -> dict[str, Shape]:
    """Return the shapes by the input's name, of texts such as ``1x3x224x224`` or ``ids=1x128``.

    Raises:
        UsageError: A text is no shape, an extent is not from 1 on, the input would be larger
            than ``MOST_ELEMENTS``, or an input is named twice.
    """
    shapes: dict[str, Shape] = {}
    for text in texts:
        name, _, extents = text.rpartition("=")
        if name in shapes:
            raise UsageError(
                f"--input-shape names {name or 'an input without a name'} twice",
                hint="Name each input once, such as --input-shape ids=1x128.",
            )
        shapes[name] = _parsed(text, extents.strip())
    if ONLY in shapes and len(shapes) > 1:
        raise UsageError(
            "one --input-shape has no name beside others that have",
            hint="Name each input, such as --input-shape ids=1x128 --input-shape mask=1x128.",
        )
    return shapes


def _parsed(text: str, extents: str) -> Shape:
    if extents == SCALAR:
        return ()
    parts = re.split(r"\s*[xX\u00d7,]\s*", extents)
    if not all(re.fullmatch(r"[0-9]{1,18}", part, re.ASCII) and int(part) for part in parts):
        raise UsageError(
            f"--input-shape {text!r}: expected whole numbers from 1 on, with x between them",
            hint="Such as 1x3x224x224, or NAME=1x3x224x224 where a model has several inputs.",
        )
    shape = tuple(map(int, parts))
    if math.prod(shape) > MOST_ELEMENTS:
        raise UsageError(
            f"--input-shape {text!r} has {math.prod(shape):,} elements; at most "
            f"{MOST_ELEMENTS:,} can be given",
            hint="Name the shape that the model gets in use.",
        )
    return shape


def shown(shape: Sequence[int]) -> str:
    """Return a shape as ``--input-shape`` takes it; ``?`` stands for an open extent."""
    return "x".join("?" if extent < 0 else str(extent) for extent in shape) or SCALAR


def given_shapes(
    specs: Sequence[TensorSpec],
    shapes: Mapping[str, Shape],
    sequences: Collection[str] = (),
    *,
    resizable: bool = False,
) -> dict[str, Shape]:
    """Return the shapes by the full names of a model's inputs.

    Args:
        specs: The inputs as the file states them, -1 for an open extent.
        shapes: What ``parse_shapes`` gives. A name may leave out what TensorFlow adds to it.
        sequences: Inputs whose first extent is no batch.
        resizable: Whether the engine can change a first extent of 1, which is a batch.

    Raises:
        UsageError: A name is of no input, a shape has another number of extents than its input,
            or contradicts an extent that the file fixes.
    """
    named: dict[str, Shape] = {}
    for name, shape in shapes.items():
        spec = _meant(name, specs, sequences)
        if spec.shape and len(spec.shape) != len(shape):
            raise UsageError(
                f"--input-shape {shown(shape)} has {len(shape)} extents; the input {spec.name} "
                f"has {len(spec.shape)}: {shown(spec.shape)}",
                hint=f"Such as --input-shape {_example(spec, sequences)}.",
            )
        first = 1 if resizable and spec.shape[:1] == (1,) else 0
        for stated, wanted in list(zip(spec.shape, shape, strict=False))[first:]:
            if stated >= 0 and stated != wanted:
                raise UsageError(
                    f"--input-shape {shown(shape)} contradicts the input {spec.name}, which is "
                    f"fixed at {shown(spec.shape)}",
                    hint="Only extents that are ? there can be chosen.",
                )
        named[spec.name] = shape
    return named


def bound(
    specs: Sequence[TensorSpec],
    axes: Sequence[Sequence[int | str | None]],
    shapes: Mapping[str, Shape],
) -> tuple[tuple[TensorSpec, ...], dict[str, Shape], frozenset[str]]:
    """Return an ONNX model's inputs where axes have names: of one name, all have one extent.

    Args:
        specs: The inputs, -1 for an open extent.
        axes: The extents of each input, or the names of open ones.
        shapes: What ``parse_shapes`` gives.

    Returns:
        The inputs, with the extents that follow from the shapes; the shapes by full names; and
        the inputs whose first axis is named after something else than a batch.

    Raises:
        UsageError: ``given_shapes`` raises it, or a name gets two values.
    """
    named = dict(zip([spec.name for spec in specs], axes, strict=True))
    sequences = frozenset(
        name for name, item in named.items() if item and _SEQUENCE.search(str(item[0]))
    )
    given = given_shapes(specs, shapes, sequences)
    values: dict[str, int] = {}
    for name, shape in given.items():
        for axis, extent in zip(named[name], shape, strict=False):
            if isinstance(axis, str) and axis and values.setdefault(axis, extent) != extent:
                raise UsageError(
                    f"--input-shape gives {axis} two values, {values[axis]} and {extent}",
                    hint=f"The file calls both extents {axis}, which makes them the same.",
                )
    known = tuple(
        replace(
            spec,
            shape=tuple(
                values.get(axis, extent) if isinstance(axis, str) else extent
                for axis, extent in zip(named[spec.name], spec.shape, strict=True)
            ),
        )
        for spec in specs
    )
    return known, given, sequences


def open_axes(spec: TensorSpec, sequences: Collection[str] = ()) -> tuple[int, ...]:
    """Return the axes that a file leaves open, but for the batch, which is the first one."""
    first = 0 if spec.name in sequences else 1
    return tuple(axis for axis in range(first, len(spec.shape)) if spec.shape[axis] < 0)


def still_open(
    specs: Sequence[TensorSpec], given: Collection[str], sequences: Collection[str] = ()
) -> UsageError | None:
    """Return the error for inputs whose shape nobody has said; None if there is none.

    Args:
        specs: The inputs as the file states them. If the first one has no extents at all, their
            number is open too: neither engine tells that from a scalar.
        given: The names of inputs that ``--input-shape`` gives a shape.
        sequences: Inputs whose first extent is no batch.
    """
    left = [
        spec
        for position, spec in enumerate(specs)
        if spec.name not in given
        and (open_axes(spec, sequences) or (position == 0 and not spec.shape))
    ]
    if not left:
        return None
    named = len(specs) > 1
    stated = ", ".join(
        f"{spec.name} {shown(spec.shape) if spec.shape else 'of any shape, or a scalar'}"
        for spec in left
    )
    ways = (f"--input-shape {_example(spec, sequences, named=named)}" for spec in left)
    return UsageError(
        f"the file leaves extents of its input{'s' if len(left) > 1 else ''} open ({stated}), and "
        "what an inference costs depends on them",
        hint=f"Say the shape that it gets in use, such as {' '.join(ways)}.",
    )


def plain_name(name: str) -> str:
    """Return a name without what TensorFlow adds: ``serving_default_x:0`` is x."""
    return re.sub(r"^serving_default_|:\d+$", "", name)


def _meant(name: str, specs: Sequence[TensorSpec], sequences: Collection[str]) -> TensorSpec:
    """Return the input of that name."""
    known = ", ".join(f"{spec.name} {shown(spec.shape)}" for spec in specs)
    if name == ONLY:
        candidates = [spec for spec in specs if open_axes(spec, sequences)]
        candidates = candidates if len(specs) > 1 else list(specs)
    else:
        candidates = [spec for spec in specs if spec.name == name]
        candidates = candidates or [spec for spec in specs if plain_name(spec.name) == name]
    if len(candidates) == 1:
        return candidates[0]
    if name == ONLY:
        raise UsageError(
            f"--input-shape has no name, and the model has {len(specs)} inputs: {known}",
            hint="Name each open one, such as "
            f"--input-shape {_example(specs[0], sequences, named=True)}.",
        )
    raise UsageError(
        f"--input-shape names {name}, which is no input of the model; it has {known}",
        hint=f"Such as --input-shape {_example(specs[0], sequences, named=True)}.",
    )


def _example(spec: TensorSpec, sequences: Collection[str], *, named: bool = False) -> str:
    if not spec.shape:
        return f"{plain_name(spec.name)}=1x3x224x224" if named else "1x3x224x224"
    size = IMAGE if len(spec.shape) == 4 else SEQUENCE
    extents = [
        (1 if axis == 0 and spec.name not in sequences else size) if extent < 0 else extent
        for axis, extent in enumerate(spec.shape)
    ]
    return f"{plain_name(spec.name)}={shown(extents)}" if named else shown(extents)


IMAGES = 4  # axes of a batch of images


def closed(
    specs: tuple[TensorSpec, ...],
    batch: int,
    *,
    resizable: bool = False,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    sequences: Collection[str] = (),
) -> tuple[TensorSpec, ...]:
    """Return the inputs with every extent known: the batch, and what the user says of the others.

    Args:
        specs: As the model file states them, -1 for an open extent.
        batch: The number of images of one inference; taken by an open first extent.
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
    wanted = tuple(
        replace(spec, shape=given.get(spec.name, with_batch(spec, batch))) for spec in specs
    )
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
    """Return what to raise for a model that takes ``fixed`` images and no other number."""
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
        batch: The number of images of one inference.

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
