"""The files that a request asks for, each written with its metadata; for both formats."""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any, Final

from converters.audit import HELD_OUT_IMAGES, RangeAudit, audit
from converters.base import CALIBRATED, ConversionRequest, ConversionResult, Precision, Target
from converters.judge import FloatCheck, float_check
from converters.pixel_input import pixel_model
from converters.quantizable import Calibration, LayerNames, Quantizable
from converters.search import Candidate, Search, search
from converters.soundness import Soundness, soundness
from converters.task_judge import TaskJudge
from edge.errors import InferenceError, ModelLoadError, NegativeVerdict, UsageError
from edge.modelfile.metadata import ModelDescription
from edge.runtime.files import write_bytes
from edge.wording import counted

SHOWN: Final = 5  # names of blocks in an error

Embed = Callable[[bytes, ModelDescription], bytes]
"""Gives a file with the description in it, from the file without."""

# Attributes of a Keras layer, of which one with weights has one.
KERNEL_NAMES: Final = ("kernel", "depthwise_kernel", "pointwise_kernel")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """What the report says of a file.

    Attributes:
        keras: How far an fp32 file is from the Keras model; None for other files, and without
            held-out images.
        calibration: The audit of an integer file's ranges; None without held-out images.
        kept: The blocks that a mixed file keeps in floats, or that an int8 file does because int8
            breaks the network; None for other files.
        soundness: The check of an int8 file; None for other files.
        search: How they were chosen; None where a recipe names them.
    """

    keras: FloatCheck | None = None
    calibration: RangeAudit | None = None
    kept: tuple[str, ...] | None = None
    soundness: Soundness | None = None
    search: Search | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what is known, as JSON values."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def written(
    request: ConversionRequest,
    precision: Precision,
    content: bytes,
    embed: Embed,
    *,
    started: float,
    notes: tuple[str, ...] = (),
    record: FileRecord | None = None,
) -> ConversionResult:
    """Write one file.

    Args:
        request: Where to write, and what to embed.
        precision: The precision of the file.
        content: The file without metadata.
        embed: The format's function that embeds metadata.
        started: ``time.monotonic()`` when the work on it began.
        notes: What a user should know.
        record: What the report says of the file.
    """
    target = Target(format=request.format, precision=precision)
    path = request.output / target.filename
    write_bytes(path, embed(content, request.described(target)))
    return ConversionResult(
        variant=target.name,
        path=path,
        seconds=time.monotonic() - started,
        notes=notes,
        record=record.to_json() if record else {},
    )


def written_floats(
    request: ConversionRequest,
    model: Any,
    precision: Precision,
    content: bytes,
    embed: Embed,
    *,
    started: float,
) -> ConversionResult:
    """Write one file that is not calibrated, and hold an fp32 file against its Keras model.

    Args:
        request: Where to write, and what to embed.
        model: The Keras model.
        precision: The precision of the file.
        content: The file without metadata.
        embed: The format's function that embeds metadata.
        started: ``time.monotonic()`` when the work on it began.
    """
    result = written(request, precision, content, embed, started=started)
    if precision is not Precision.FP32 or request.held_out is None:
        return result
    try:
        check = float_check(model, result.path, request.held_out.pixels)
    except (ModelLoadError, InferenceError):  # whoever runs the file says so
        return result
    notes = check.notes(result.variant)
    return replace(result, notes=notes, record=FileRecord(keras=check).to_json())


def written_integers(
    request: ConversionRequest,
    model: Callable[[], tuple[Quantizable, tuple[str, ...]]],
    embed: Embed,
    step: Callable[[], None],
    floats: Callable[[], bytes],
) -> Iterator[ConversionResult]:
    """Write every integer file that is asked for.

    Args:
        request: What to write.
        model: Gives the float model, taken apart, and what a user should know of its input.
        embed: The format's function that embeds metadata.
        step: Is called now and then in a search.
        floats: Gives the float file without metadata, which a search times its files against.

    Raises:
        ConversionError, NegativeVerdict, UsageError: See ``integer_files``.
    """
    started = time.monotonic()
    base, notes = model()
    for precision, content, record in integer_files(request, base, step, embed, floats):
        checked, found = record.soundness, notes
        if checked is not None:
            variant = Target(format=request.format, precision=precision).name
            found = (*notes, *checked.notes(variant, len(base.blocks)))
        yield written(
            request, precision, content, embed, started=started, notes=found, record=record
        )
        started = time.monotonic()


def of_keras(
    request: ConversionRequest, model: Any, taken_apart: Callable[..., Quantizable]
) -> tuple[Quantizable, tuple[str, ...]]:
    """Take a Keras model apart, the pixel made its input, for ``written_integers``.

    Args:
        request: What is asked for.
        model: The Keras model.
        taken_apart: That of the module of the format.
    """
    pixels = pixel_model(model)
    calibration = Calibration(request.calibration, pixels.zero_point)
    made = taken_apart(pixels.model, calibration, corrected=request.corrected)
    layers = list(model._flatten_layers(include_self=False))
    weighted = {item for item in layers if any(hasattr(item, kernel) for kernel in KERNEL_NAMES)}
    made.layer_names = LayerNames(
        weighted=tuple(item.name for item in layers if item in weighted),
        others=tuple(item.name for item in layers if item not in weighted),
    )
    return made, pixels.notes


def integer_files(
    request: ConversionRequest,
    model: Quantizable,
    step: Callable[[], None],
    embed: Embed,
    floats: Callable[[], bytes],
) -> Iterator[tuple[Precision, bytes, FileRecord]]:
    """Make every integer file that is asked for: precision, bytes without metadata, and record.

    Args:
        request: What to make.
        model: The float model, taken apart.
        step: Is called now and then in a search.
        embed: The format's function that embeds metadata: a search compares finished files.
        floats: As for ``written_integers``.

    Raises:
        NegativeVerdict: No mixed file holds the budget.
        UsageError: The recipe names blocks that the model does not have.
        ConversionError: A quantizer refused the model.
    """
    if Precision.MIXED in request.precisions and request.recipe is not None:
        _check(request.recipe, model)  # before any file is made
    record = FileRecord()
    if request.held_out is not None:
        images = model.calibration.others(request.held_out.pixels)
        record = FileRecord(calibration=audit(model, islice(images, HELD_OUT_IMAGES)))
    for precision in request.precisions:
        if precision is Precision.MIXED:
            kept, search = _recipe(request, model, step, embed, floats)
            yield precision, model.quantized(kept), replace(record, kept=kept, search=search)
        elif precision is Precision.INT8:
            content, checked = int8_file(model, step, check=request.corrected)
            mended = checked.kept if checked is not None and checked.kept else None
            yield precision, content, replace(record, kept=mended, soundness=checked)
        elif precision in CALIBRATED:
            yield precision, model.integer(precision), record


def int8_file(
    model: Quantizable, step: Callable[[], None], *, check: bool = True
) -> tuple[bytes, Soundness | None]:
    """Make an int8 file, with what breaks it in floats; and what its check found, if there is one.

    Args:
        model: A calibrated model.
        step: Is called after each file that the check tried.
        check: Whether to check it; a network without weights is not.
    """
    checked = soundness(model, step) if check and model.blocks else None
    return model.quantized(() if checked is None else checked.kept), checked


def _recipe(
    request: ConversionRequest,
    model: Quantizable,
    step: Callable[[], None],
    embed: Embed,
    floats: Callable[[], bytes],
) -> tuple[tuple[str, ...], Search | None]:
    """The blocks that a mixed file keeps in floats, and the search that chose them, if one did."""
    if request.recipe is not None:
        return request.recipe, None
    if request.held_out is None or request.max_drop_points is None:
        raise UsageError(
            "a mixed file needs a budget or a recipe", hint="Give --max-drop or --recipe."
        )
    described = request.described(Target(format=request.format, precision=Precision.MIXED))
    with tempfile.TemporaryDirectory(prefix="edge-search-") as folder:
        tried = search(
            model,
            request.held_out,
            request.max_drop_points,
            Path(folder),
            step,
            floats,
            judge=None if request.decoder is None else TaskJudge(request),
            encoding=request.preprocessing.encoding,
            finished=lambda content: embed(content, described),
        )
    if tried.chosen is None:
        raise NegativeVerdict(
            _missed(request.format, tried), hint="Allow more, or use fp16, which has no recipe."
        )
    return tried.chosen.kept, tried


def _check(recipe: tuple[str, ...], model: Quantizable) -> None:
    known = [block.name for block in model.blocks]
    unknown = sorted(set(recipe) - set(known))
    if not unknown:
        return
    first = unknown[0]
    near = get_close_matches(first, known, n=SHOWN, cutoff=0.8)
    shown = near or known[:SHOWN]
    which = "the most alike are" if near else "the first are" if len(known) > SHOWN else "they are"
    names = ", ".join(repr(name) for name in shown)
    more = f" and {counted(len(unknown) - 1, 'other block')}" if len(unknown) > 1 else ""
    raise UsageError(
        f"the recipe keeps {first!r}{more} in floats, which the {model.suffix} model lacks",
        hint=f"It has {len(known)} blocks; {which} {names}. Search this model anew with "
        "--quantize auto.",
    )


def _missed(format_: str, tried: Search) -> str:
    best: Candidate = min(tried.candidates, key=lambda item: item.drop_points)
    return (
        f"no {format_} file with integer blocks holds the budget of "
        f"{tried.max_drop_points:g} points: the best of {len(tried.candidates)} that were tried "
        f"loses {best.drop_points:.2f}, with {len(best.kept)} of {tried.blocks} blocks in floats"
    )
