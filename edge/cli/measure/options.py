"""Options of the commands that measure: what runs how long, and the path to an accelerator."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from benchmarks.protocol import Protocol
from edge.errors import UsageError
from edge.runtime.numbers import MOST_THREADS

STANDARD: Final = Protocol()  # whose numbers are the defaults of the options
ALL_CPUS: Final = str(min(os.cpu_count() or 1, MOST_THREADS))
MOST_IMAGES: Final = 65_536  # in one inference: their pixels are made at once, in memory
MOST_RUNS: Final = 100_000_000  # inferences, whose times are kept in memory
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
    str,
    typer.Option(
        help="Number of CPU threads; several numbers, separated by commas, are measured in turn."
    ),
]
Batch = Annotated[
    int, typer.Option(help="Number of images in one inference.", min=1, max=MOST_IMAGES)
]
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
Runs = Annotated[int, typer.Option(help="Smallest number of inferences.", min=1, max=MOST_RUNS)]
MinSeconds = Annotated[
    float, typer.Option(help="Minimum measuring time, in seconds.", min=0, max=LONGEST)
]
MaxSeconds = Annotated[
    float, typer.Option(help="Maximum measuring time, in seconds.", min=0, max=LONGEST)
]
WarmUpSeconds = Annotated[
    float,
    typer.Option(help="Time of warm-up before a measurement, in seconds.", min=0, max=LONGEST),
]
CoolDownSeconds = Annotated[
    float, typer.Option(help="Rest before each row, in seconds.", min=0, max=LONGEST)
]
Images = Annotated[
    Path | None,
    typer.Option(
        help="Folder of pictures to run on.  \\[default: one generated picture]", show_default=False
    ),
]
Sustained = Annotated[
    float,
    typer.Option(
        metavar="MINUTES",
        help="Time of a sustained run after the measurement, in minutes.",
        min=0,
        max=LONGEST,
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        help="Time beyond twice --max-secs after which a process is killed, in seconds.",
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
        help="File to write the results to: .json, .csv or .md; may be repeated.",
        show_default=False,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that lie at --output.")]


Pythons = Annotated[
    list[str] | None,
    typer.Option(
        "--python",
        metavar="NAME=PATH",
        help="Python of another environment that holds what path NAME needs; may be repeated.",
        show_default=False,
    ),
]
Delegate = Annotated[
    Path | None,
    typer.Option(
        help="Shared library of a TFLite external delegate, such as libedgetpu.so.1.",
        show_default=False,
    ),
]
DelegateOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--delegate-option",
        metavar="KEY=VALUE",
        help="Option of the delegate or the compiler; may be repeated.",
        show_default=False,
    ),
]


def pythons(given: Sequence[str] | None) -> dict[str, Path]:
    """Return interpreters by the name of the accelerator path that they serve.

    Raises:
        UsageError: A text is not NAME=PATH, its name is unknown, or PATH is no program.
    """
    from benchmarks.accelerators.table import accelerator

    result = {}
    for text in given or ():
        name, value = _pair("--python", "NAME=PATH", text)
        path = Path(value).expanduser()
        if not (path.is_file() and os.access(path, os.X_OK)):
            raise UsageError(
                f"--python {text}: {path} is no program",
                hint="Name the python of a virtual environment, such as venv/bin/python.",
            )
        # Not resolved: a link's own place is what tells Python its environment.
        result[accelerator(name).name] = path.absolute()
    return result


def delegate_library(given: Path | None) -> Path | None:
    """Return the library: absolute if it is a file, else a name that the system's loader finds.

    Raises:
        UsageError: The path leads to no file.
    """
    if given is None or (given.parent == Path() and not given.is_file()):
        return given
    if not given.is_file():
        raise UsageError(
            f"--delegate {given}: there is no such file",
            hint="Name the library's file, or a bare name that the system's loader finds.",
        )
    return given.absolute()


def delegate_options(given: Sequence[str] | None) -> dict[str, str]:
    """Return options by key.

    Raises:
        UsageError: A text is not KEY=VALUE.
    """
    return dict(_pair("--delegate-option", "KEY=VALUE", text) for text in given or ())


def _pair(option: str, form: str, text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not (separator and name and value):
        raise UsageError(f"{option} {text!r} is not of the form {form}")
    return name, value
