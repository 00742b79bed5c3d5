"""One conversion in a process of its own: ``python -m converters REQUEST.json``.

A converter that aborts, leaks or writes to stdout then harms nobody else, and two formats are
written at once. Each finished file is one JSON line on stdout. The process ends when its stdin
closes, so that a killed parent leaves no converter behind.
"""

import importlib
import json
import os
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from converters.base import CONVERTERS, ConversionRequest
from edge.errors import EdgeError


def main() -> int:
    """Convert what the request says; exit code as the errors state."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no answer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    request = ConversionRequest.from_json(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    try:
        _convert(request, answers)
    except OSError as error:
        _say(answers, {"error": "OSError", "message": str(error), "errno": error.errno})
        return 2
    except EdgeError as error:
        _say(answers, {"error": type(error).__name__, "message": error.message, "hint": error.hint})
        return error.exit_code
    return 0


def _convert(request: ConversionRequest, answers: Any) -> None:
    import keras

    keras.config.disable_interactive_logging()
    model = keras.models.load_model(request.keras_model, compile=False)
    module, _, function = CONVERTERS[request.format].partition(":")
    convert = getattr(importlib.import_module(module), function)
    for result in convert(request, model, lambda: _say(answers, {"progress": 1})):
        _say(answers, asdict(result) | {"path": str(result.path)})


def _say(answers: Any, value: dict[str, Any]) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


def _end_with_parent() -> None:
    while os.read(0, 4096):  # not sys.stdin: its lock, held here, aborts a normal exit
        pass
    os._exit(130)


if __name__ == "__main__":
    sys.exit(main())
