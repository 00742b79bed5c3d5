"""Makes one network ready in a process of its own: ``python -m edge.zoo NAME WEIGHTS CACHE``.

Answers are JSON lines on stdout; the process ends when its stdin closes.
"""

import os
import sys
from pathlib import Path
from typing import NoReturn

from benchmarks.answering import answering
from edge.cache import StageCache
from edge.errors import EdgeError, described, missing_package
from edge.zoo.prepare import prepare


def main() -> NoReturn:
    """Prepare what the arguments name."""
    say = answering()
    name, weights, cache = sys.argv[1:]

    try:
        found = prepare(
            name, weights, StageCache(Path(cache)), lambda count: say({"progress": count})
        )
        say(found.to_json())
    except EdgeError as error:
        say(described(error))
    except ImportError as error:
        missing = missing_package(error)
        if missing is None:
            raise
        say(described(missing))
    except OSError as error:
        message = f"the cache {cache} cannot be written: {error.strerror}"
        say({"error": "OutputError", "message": message, "hint": "Make room, or name another."})
    sys.stderr.flush()
    os._exit(0)  # TensorFlow takes seconds to tear down, for nothing


if __name__ == "__main__":
    main()
