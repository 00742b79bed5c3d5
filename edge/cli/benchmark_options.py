"""Options of ``edge benchmark`` and ``edge remote-benchmark``."""

import os
from pathlib import Path
from typing import Annotated, Final

import typer

ALL_CPUS: Final = str(os.cpu_count() or 1)
LONGEST: Final = 1e6  # seconds, eleven days: infinity is no time to wait

Variants = Annotated[
    list[str] | None,
    typer.Option(
        "--variant",
        help="Variant of the bundles; may be repeated.  \\[default: all]",
        show_default=False,
    ),
]
Threads = Annotated[
    str, typer.Option(help="CPU threads; several, separated by commas, make a sweep.")
]
Batch = Annotated[int, typer.Option(help="Images of one inference.", min=1)]
InputShapes = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape",
        metavar="[NAME=]SHAPE",
        help="Shape of an input that a model leaves open, such as 1x3x224x224 or ids=1x128; may "
        "be repeated.",
        show_default=False,
    ),
]
Runs = Annotated[int, typer.Option(help="At least so many inferences.", min=1)]
MinSeconds = Annotated[float, typer.Option(help="At least so long, seconds.", min=0, max=LONGEST)]
MaxSeconds = Annotated[float, typer.Option(help="At most so long, seconds.", min=0, max=LONGEST)]
WarmUpSeconds = Annotated[float, typer.Option(help="Seconds of warm-up.", min=0, max=LONGEST)]
CoolDownSeconds = Annotated[
    float, typer.Option(help="Seconds of rest before each row.", min=0, max=LONGEST)
]
Images = Annotated[
    Path | None,
    typer.Option(
        help="Folder of pictures to run on.  \\[default: a generated one]", show_default=False
    ),
]
Sustained = Annotated[
    float,
    typer.Option(metavar="MINUTES", help="Then run so long, for a curve.", min=0, max=LONGEST),
]
Timeout = Annotated[
    float,
    typer.Option(
        help="Kill a process that lasts so long beyond twice --max-secs, seconds.",
        min=1,
        max=LONGEST,
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of the random order.", min=0)]
Outputs = Annotated[
    list[Path] | None,
    typer.Option(
        "--output",
        "-o",
        help="Write the results, as .json, .csv or .md; may be repeated.",
        show_default=False,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that lie at --output.")]
