"""Makes one network ready in a process of its own: ``python -m edge.zoo NAME WEIGHTS CACHE``.

Answers are JSON lines on stdout; the process ends when its stdin closes.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

from edge.cache import StageCache
from edge.errors import EdgeError
from edge.zoo.prepare import prepare


def main() -> NoReturn:
    """Prepare what the arguments name."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no answer
    threading.Thread(target=_end_with_parent, daemon=True).start()
    name, weights, cache = sys.argv[1:]

    def say(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    try:
        found = prepare(
            name, weights, StageCache(Path(cache)), lambda count: say({"progress": count})
        )
        say(found.to_json())
    except EdgeError as error:
        say({"error": type(error).__name__, "message": error.message, "hint": error.hint})
    except OSError as error:
        message = f"the cache {cache} cannot be written: {error.strerror}"
        say({"error": "OutputError", "message": message, "hint": "Make room, or name another."})
    sys.stderr.flush()
    os._exit(0)  # TensorFlow takes seconds to tear down, for nothing


def _end_with_parent() -> None:
    while os.read(0, 4096):  # not sys.stdin: its lock, held here, aborts a normal exit
        pass
    os._exit(130)


if __name__ == "__main__":
    main()
