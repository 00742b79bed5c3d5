"""Options that lead to an accelerator, and what they mean."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from edge.errors import UsageError

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
    """Interpreters by the name of the path that they serve.

    Raises:
        UsageError: Not NAME=PATH, an unknown path, or no program there.
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
    """The library: absolute if it is a file, else a bare name that the system's loader finds.

    Raises:
        UsageError: A path to nothing.
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
    """Options by key.

    Raises:
        UsageError: Not KEY=VALUE.
    """
    return dict(_pair("--delegate-option", "KEY=VALUE", text) for text in given or ())


def _pair(option: str, form: str, text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not (separator and name and value):
        raise UsageError(f"{option} {text!r} is not of the form {form}")
    return name, value
