"""Files written with their metadata, and integer files in the order asked for; for both formats."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from converters.base import ConversionRequest, ConversionResult, Precision, Target
from converters.calibration import Calibration
from converters.integer import integer_files
from converters.pixel_input import pixel_model
from converters.quantizable import Quantizable
from edge.runtime.files import write_bytes

Embed = Callable[..., bytes]  # (content, **metadata) -> content with the metadata in it


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
    write_bytes(path, embed(content, **request.metadata(target)))
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
