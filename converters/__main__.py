"""One conversion in a process of its own: ``python -m converters REQUEST.json``.

A converter that aborts, leaks or writes to standard output then harms nobody else, and two formats
are written at once. Each finished file is one message.
"""

import importlib
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from converters.base import CONVERTERS, ConversionRequest, Converter
from edge.errors import ConversionError
from edge.frozen_graph import register
from edge.runtime.typed import typed
from edge.workers import Message, answer, read_request


def main() -> NoReturn:
    """Convert what the request says."""
    request = typed(ConversionRequest, read_request(Path(sys.argv[1])), "the request", exact=True)
    answer(
        lambda say: _convert(request, say),
        failure=ConversionError,
        doing=f"the {request.format} converter failed with ",
    )


def _convert(request: ConversionRequest, say: Callable[[Message], None]) -> None:
    import keras

    register()
    keras.config.disable_interactive_logging()
    model = keras.models.load_model(request.keras_model, compile=False)
    module, _, function = CONVERTERS[request.format].partition(":")
    convert: Converter = getattr(importlib.import_module(module), function)
    for result in convert(request, model, lambda: say({"progress": 1})):
        say(asdict(result) | {"path": str(result.path)})


if __name__ == "__main__":
    main()
