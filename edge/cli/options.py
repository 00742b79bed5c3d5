"""Options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from edge.errors import UsageError
from edge.runtime.output import OutputActivation

Output = Annotated[
    Path, typer.Option("--output", "-o", help="Folder of the bundle.", show_default=False)
]
Name = Annotated[
    str | None,
    typer.Option(
        help="Name of the model.  \\[default: that of the folder or file]", show_default=False
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the bundle that lies at --output.")
]
Cache = Annotated[
    Path | None,
    typer.Option(
        help="Stage cache.  \\[default: $EDGE_CACHE or ~/.cache/edge]", show_default=False
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of split, head and calibration choice.", min=0)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
CalibrationImages = Annotated[
    int, typer.Option(help="At most so many images calibrate int8.", min=1)
]


class Quantize(StrEnum):
    """What is written besides the files of every bundle."""

    INT8 = "int8"
    W8A16 = "w8a16"
    AUTO = "auto"


QuantizeOption = Annotated[
    Quantize,
    typer.Option(
        "--quantize",
        help="int8; w8a16 adds TFLite with int16 activations; auto adds mixed files, which keep "
        "the fewest blocks in floats that hold --max-drop.",
    ),
]
MaxDrop = Annotated[
    float | None,
    typer.Option(
        help="Percentage points of top-1 that a mixed file may lose; exit code 1 if none holds "
        "it. Without a value, auto takes 0.5.",
        min=0.0,
        max=100.0,
        show_default=False,
    ),
]
Recipe = Annotated[
    Path | None,
    typer.Option(
        help="recipe.json of an earlier search: mixed files without searching again.",
        show_default=False,
    ),
]
Variants = Annotated[
    str | None,
    typer.Option(
        help="Variants to write, separated by commas, such as tflite-int8,onnx-fp32.  "
        "\\[default: the six without mixed and w8a16]",
        show_default=False,
    ),
]
OutputActivationOption = Annotated[
    OutputActivation,
    typer.Option(
        "--output-activation",
        help="What the model's values are: softmax (probabilities of classes that exclude one "
        "another), sigmoid (a probability per label; one value tells two classes apart), logits "
        "(softmax is still to be applied; to one value, sigmoid), or multi-label-logits (sigmoid "
        "is still to be applied to each); auto finds it out and says how.",
    ),
]
Truth = Annotated[
    Path | None,
    typer.Option(
        help="CSV file with the labels of each image, for a model whose labels do not exclude one "
        "another: file,labels with labels as cat|dog, or file and a column of 0 and 1 per label.",
        show_default=False,
    ),
]
Variant = Annotated[
    str | None,
    typer.Option(help="Variant of the bundle.  \\[default: the bundle's]", show_default=False),
]
Engine = Annotated[
    str | None,
    typer.Option(
        help="litert, tflite-runtime, tensorflow or onnxruntime.  \\[default: first installed]",
        show_default=False,
    ),
]


def cache_root(named: Path | None) -> Path:
    """The stage cache to use.

    Raises:
        OutputError: It is no folder, or is not there and cannot be made.
    """
    from edge.cache import StageCache, default_cache

    root = named or default_cache()
    if not root.is_dir():  # one that is there may hold all that is needed
        StageCache(root).check()
    return root


def variant_names(
    text: str | None, quantize: Quantize = Quantize.INT8, *, recipe: bool = False
) -> tuple[str, ...]:
    """Names of the targets to write.

    Raises:
        UsageError: An unknown name, or none, or a mixed file that nothing decides about.
    """
    from converters.base import DEFAULT_TARGETS, TARGETS, Precision, targets

    extra = _added(quantize, recipe=recipe)
    added = {TARGETS[name].precision for name in extra}
    if text is None:
        return (*DEFAULT_TARGETS, *extra)
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise UsageError("--variants names none", hint=f"Known: {', '.join(TARGETS)}.")
    wanted = targets(names)
    mixed = [item.name for item in wanted if item.precision is Precision.MIXED]
    if mixed and Precision.MIXED not in added:
        raise UsageError(
            f"what {mixed[0]} keeps in floats is not decided",
            hint="Add --quantize auto with --max-drop POINTS, or --recipe FILE.",
        )
    if extra and not any(item.precision in added for item in wanted):
        raise UsageError(
            f"--variants leaves out what --quantize {quantize} or --recipe adds",
            hint=f"Name one of {', '.join(extra)} as well.",
        )
    return tuple(target.name for target in wanted)


def required_variants(
    text: str | None, quantize: Quantize = Quantize.INT8, *, recipe: bool = False
) -> tuple[str, ...]:
    """Those that were asked for by an option: if one cannot be written, no bundle is."""
    if text is None:
        return _added(quantize, recipe=recipe)
    return variant_names(text, quantize, recipe=recipe)


def _added(quantize: Quantize, *, recipe: bool) -> tuple[str, ...]:
    """What ``--quantize`` and ``--recipe`` add to the usual targets."""
    from converters.base import TARGETS, Precision

    added = {Quantize.W8A16: {Precision.W8A16}, Quantize.AUTO: {Precision.MIXED}}.get(
        quantize, set()
    )
    if recipe:
        added.add(Precision.MIXED)
    return tuple(name for name, target in TARGETS.items() if target.precision in added)


DEFAULT_MAX_DROP = 0.5  # percentage points of top-1


def max_drop(value: float | None, quantize: Quantize, *, recipe: bool) -> float | None:
    """The budget of mixed files.

    Raises:
        UsageError: A budget, and nothing that could hold it.
    """
    if value is not None and quantize is not Quantize.AUTO and not recipe:
        raise UsageError(
            "--max-drop is a budget for mixed files", hint="Add --quantize auto, or --recipe FILE."
        )
    if quantize is Quantize.AUTO and recipe:
        raise UsageError(
            "--quantize auto searches, --recipe replays: only one of them can decide",
            hint="Leave out one of the two.",
        )
    return DEFAULT_MAX_DROP if value is None and quantize is Quantize.AUTO else value
