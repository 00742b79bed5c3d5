"""The files that a request asks for, each written with its metadata; for both formats."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from converters.audit import HELD_OUT_IMAGES, audit
from converters.base import CALIBRATED, ConversionRequest, ConversionResult, Precision, Target
from converters.pixel_input import pixel_model
from converters.quantizable import Calibration, Quantizable
from converters.search import Candidate, Search, search
from edge.errors import NegativeVerdict, UsageError
from edge.modelfile.metadata import ModelDescription
from edge.runtime.files import write_bytes

Embed = Callable[[bytes, ModelDescription], bytes]
"""Gives a file with the description in it, from the file without."""


def written(
    request: ConversionRequest,
    precision: Precision,
    content: bytes,
    embed: Embed,
    *,
    started: float,
    notes: tuple[str, ...] = (),
    record: Mapping[str, Any] | None = None,
) -> ConversionResult:
    """Write one file.

    Args:
        request: Where to, and what to embed.
        precision: Of the file.
        content: Of the file, without metadata.
        embed: Of the format.
        started: ``time.monotonic()`` when the work on it began.
        notes: For the user.
        record: For the report.
    """
    target = Target(format=request.format, precision=precision)
    path = request.output / target.filename
    write_bytes(path, embed(content, request.described(target)))
    return ConversionResult(
        variant=target.name,
        path=path,
        seconds=time.monotonic() - started,
        notes=notes,
        record=record or {},
    )


def written_integers(
    request: ConversionRequest,
    model: Any,
    quantizable: Callable[[Any, Calibration], Quantizable],
    embed: Embed,
    step: Callable[[], None],
) -> Iterator[ConversionResult]:
    """Write every integer file that is asked for.

    Args:
        request: What to write.
        model: Keras model, RGB 0..255 in.
        quantizable: Takes the model apart whose input is the pixel, and its calibration images.
        embed: Of the format.
        step: Called now and then in a search.

    Raises:
        ConversionError, NegativeVerdict, UsageError: See ``integer_files``.
    """
    started = time.monotonic()
    pixels = pixel_model(model)
    base = quantizable(pixels.model, Calibration(request.calibration, pixels.zero_point))
    for precision, content, record in integer_files(request, base, step):
        yield written(
            request, precision, content, embed, started=started, notes=pixels.notes, record=record
        )
        started = time.monotonic()


def integer_files(
    request: ConversionRequest, model: Quantizable, step: Callable[[], None]
) -> Iterator[tuple[Precision, bytes, dict[str, Any]]]:
    """Precision, bytes without metadata, and record of every integer file that is asked for.

    Raises:
        NegativeVerdict: No mixed file holds the budget.
        UsageError: The recipe names blocks that the model does not have.
        ConversionError: A quantizer refused the model.
    """
    record: dict[str, Any] = {}
    if request.held_out is not None:
        images = Calibration(request.held_out.pixels, model.calibration.zero_point)
        record["calibration"] = audit(model, islice(images, HELD_OUT_IMAGES))
    for precision in request.precisions:
        if precision is Precision.MIXED:
            content, found = _mixed(request, model, step)
            yield precision, content, record | found
        elif precision in CALIBRATED:
            yield precision, model.integer(precision), dict(record)


def _mixed(
    request: ConversionRequest, model: Quantizable, step: Callable[[], None]
) -> tuple[bytes, dict[str, Any]]:
    if request.recipe is not None:
        _check(request.recipe, model)
        return model.quantized(request.recipe), {"kept": list(request.recipe)}
    if request.held_out is None or request.max_drop_points is None:
        raise UsageError(
            "a mixed file needs a budget or a recipe", hint="Give --max-drop or --recipe."
        )
    with tempfile.TemporaryDirectory(prefix="edge-search-") as folder:
        found = search(model, request.held_out, request.max_drop_points, Path(folder), step)
    if found.chosen is None:
        raise NegativeVerdict(
            _missed(request.format, found), hint="Allow more, or use fp16, which has no recipe."
        )
    kept = found.chosen.kept
    return model.quantized(kept), {"kept": list(kept), "search": found.to_json()}


def _check(recipe: tuple[str, ...], model: Quantizable) -> None:
    known = [block.name for block in model.blocks]
    unknown = sorted(set(recipe) - set(known))
    if unknown:
        raise UsageError(
            f"the recipe keeps {unknown[0]!r} in floats, which the {model.suffix} model lacks",
            hint=f"It has {len(known)} blocks, such as {', '.join(known[:3])}.",
        )


def _missed(format_: str, found: Search) -> str:
    best: Candidate = min(found.candidates, key=lambda item: item.drop_points)
    return (
        f"no {format_} file with integer blocks holds the budget of "
        f"{found.max_drop_points:g} points: the best of {len(found.candidates)} that were tried "
        f"loses {best.drop_points:.2f}, with {len(best.kept)} of {found.blocks} blocks in floats"
    )
