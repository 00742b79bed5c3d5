"""Which integer files a request asks for, and what is known of each; for both formats."""

import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from converters.audit import HELD_OUT_IMAGES, audit
from converters.base import CALIBRATED, ConversionRequest, Precision
from converters.calibration import Calibration
from converters.quantizable import Quantizable
from converters.search import Candidate, Search, search
from edge.errors import NegativeVerdict, UsageError

Step = Callable[[], None]


def integer_files(
    request: ConversionRequest, model: Quantizable, step: Step
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
    request: ConversionRequest, model: Quantizable, step: Step
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
