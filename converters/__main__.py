"""One conversion in a process of its own: ``python -m converters REQUEST.json``.

A converter that aborts, leaks or writes to stdout then harms nobody else, and two formats are
written at once. Each finished file is one JSON line on stdout. The process ends when its stdin
closes, so that a killed parent leaves no converter behind.
"""

import importlib
import json
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.answering import answering
from converters.base import CONVERTERS, ConversionRequest
from edge.errors import ConversionError, EdgeError, described, missing_package
from edge.frozen_graph import register


def main() -> int:
    """Convert what the request says; exit code as the errors state."""
    say = answering()
    request = ConversionRequest.from_json(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    try:
        _convert(request, say)
    except OSError as error:
        say({"error": "OSError", "message": str(error), "errno": error.errno})
        return 2
    except EdgeError as error:
        say(described(error))
        return error.exit_code
    except ImportError as error:
        missing = missing_package(error)
        if missing is None:
            raise
        say(described(missing))
        return missing.exit_code
    except Exception as error:  # TensorFlow, onnx and ONNX Runtime raise many types of their own
        traceback.print_exc()
        reason = " ".join(str(error).split())[:300]
        failure = ConversionError(
            f"the {request.format} converter failed with {type(error).__name__}: {reason}"
        )
        say(described(failure))
        return failure.exit_code
    return 0


def _convert(request: ConversionRequest, say: Callable[[Mapping[str, Any]], None]) -> None:
    import keras

    register()
    keras.config.disable_interactive_logging()
    model = keras.models.load_model(request.keras_model, compile=False)
    module, _, function = CONVERTERS[request.format].partition(":")
    convert = getattr(importlib.import_module(module), function)
    for result in convert(request, model, lambda: say({"progress": 1})):
        say(asdict(result) | {"path": str(result.path)})


if __name__ == "__main__":
    sys.exit(main())
