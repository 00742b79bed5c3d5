"""The errors that reading a corrupt model file raises, turned into one error for users."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edge.errors import ModelLoadError

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
        cause = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise ModelLoadError(
            f"{path}: truncated or corrupt {kind} file ({cause})",
            hint="Copy or export the file again and compare its sha256.",
        ) from error
