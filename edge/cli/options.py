"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from edge.errors import UsageError

Output = Annotated[
    Path, typer.Option("--output", "-o", help="Folder of the bundle.", show_default=False)
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the bundle that lies at --output.")
]
Cache = Annotated[
    Path | None,
    typer.Option(help="Stage cache.  [default: $EDGE_CACHE or ~/.cache/edge]", show_default=False),
]
Seed = Annotated[int, typer.Option(help="Seed of split, head and calibration choice.", min=0)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
CalibrationImages = Annotated[
    int, typer.Option(help="At most so many images calibrate int8.", min=1)
]
Variants = Annotated[
    str | None,
    typer.Option(
        help="Variants to write, separated by commas, such as tflite-int8,onnx-fp32.  "
        "[default: all six]",
        show_default=False,
    ),
]
Variant = Annotated[
    str | None,
    typer.Option(help="Variant of the bundle.  [default: the bundle's]", show_default=False),
]
Engine = Annotated[
    str | None,
    typer.Option(
        help="litert, tflite-runtime, tensorflow or onnxruntime.  [default: first installed]",
        show_default=False,
    ),
]


def cache_root(named: Path | None) -> Path:
    """The stage cache to use."""
    from edge.cache import default_cache

    return named or default_cache()


def variant_names(text: str | None) -> tuple[str, ...]:
    """Names of the targets to write.

    Raises:
        UsageError: An unknown name, or none.
    """
    from converters.base import TARGETS, targets

    if text is None:
        return tuple(TARGETS)
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise UsageError("--variants names none", hint=f"Known: {', '.join(TARGETS)}.")
    return tuple(target.name for target in targets(names))
