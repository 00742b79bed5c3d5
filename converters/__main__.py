"""One conversion in a process of its own: ``python -m converters REQUEST.json``, or ``serve``.

A converter that aborts, leaks or writes to standard output then harms nobody else, and two formats
are written at once. Each finished file is one message.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from converters.base import (
    CONVERTERS,
    FILE_CONVERTERS,
    PREPARED,
    ConversionRequest,
    ConversionResult,
)
from edge.errors import ConversionError
from edge.frozen_graph import register
from edge.keras_start import start_keras
from edge.prepared import serve
from edge.runtime.typed import typed
from edge.workers import Message, answer, read_request


def main() -> NoReturn:
    """Convert what the request says, or wait for requests with everything imported."""
    if sys.argv[1:] == [PREPARED]:
        start_keras()
        import tf2onnx  # noqa: F401

        serve(_one)
    _one()


def _one() -> NoReturn:
    request = typed(ConversionRequest, read_request(Path(sys.argv[1])), "the request", exact=True)
    answer(
        lambda say: _convert(request, say),
        failure=ConversionError,
        doing=f"the {request.format} converter failed with ",
    )


def _convert(request: ConversionRequest, say: Callable[[Message], None]) -> None:
    for result in _results(request, lambda: say({"progress": 1})):
        say(asdict(result) | {"path": str(result.path)})


def _results(request: ConversionRequest, step: Callable[[], None]) -> Iterator[ConversionResult]:
    """The written files, one after the other; TensorFlow is loaded only where it is needed."""
    if request.float_file is not None:
        return _function(FILE_CONVERTERS[request.format])(request, step)
    start_keras()
    import keras

    register()
    keras.config.disable_interactive_logging()
    model = keras.models.load_model(request.keras_model, compile=False)
    return _function(CONVERTERS[request.format])(request, model, step)


def _function(place: str) -> Callable[..., Iterator[ConversionResult]]:
    module, _, name = place.partition(":")
    function: Callable[..., Iterator[ConversionResult]] = getattr(
        importlib.import_module(module), name
    )
    return function


if __name__ == "__main__":
    main()
