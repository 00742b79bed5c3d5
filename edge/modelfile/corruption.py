"""The errors that reading a corrupt model file raises, turned into one error for users."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edge.errors import EngineUnavailable, ModelLoadError
from edge.runtime import checked

AGAIN: Final = "Copy or export the file again and compare its sha256."
READ_ERRORS: Final = (
    struct.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)


@contextmanager
def corruption(path: Path, kind: str) -> Iterator[None]:
    """Guard a block that reads a file which may be corrupt.

    Args:
        path: The file.
        kind: The format that the message names, such as ``TFLite``.

    Raises:
        ModelLoadError: The block followed an offset or a value that cannot be right.
    """
    try:
        yield
    except READ_ERRORS as error:
        raise ModelLoadError(
            f"{path}: truncated or corrupt {kind} file ({damage(error)})", hint=AGAIN
        ) from error


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Guard a block that reads the bytes of a file and does not know their path.

    Raises:
        ModelLoadError: As the block raises it, with the path and a hint.
    """
    try:
        yield
    except ModelLoadError as error:
        if isinstance(error, EngineUnavailable):  # a missing package is no fault of the file
            raise
        raise ModelLoadError(f"{path}: {error.message}", hint=error.hint or AGAIN) from error


def damage(error: Exception) -> str:
    """Return in words what is wrong with a file, by one of ``READ_ERRORS``."""
    if type(error) is ValueError and str(error):  # what raises it here says it in words itself
        return str(error)
    if isinstance(error, checked.Malformed):
        return str(error)
    if isinstance(error, UnicodeError):
        return "a text in it is not UTF-8"
    if isinstance(error, struct.error | IndexError):
        return "an offset in it leads outside the file"
    if isinstance(error, KeyError):
        return "a number in it stands for nothing that is known"
    return "a value in it cannot be right"
