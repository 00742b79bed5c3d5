"""Makes one network ready in a process of its own: ``python -m edge.zoo NAME WEIGHTS CACHE``."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from edge import schema
from edge.cache import StageCache
from edge.errors import MeasurementError, OutputError
from edge.workers import Message, answer
from edge.zoo.prepare import prepare


def main() -> NoReturn:
    """Prepare what the arguments name."""
    name, weights, cache = sys.argv[1:]

    def work(say: Callable[[Message], None]) -> None:
        try:
            prepared = prepare(
                name, weights, StageCache(Path(cache)), lambda count: say({"progress": count})
            )
        except OSError as error:
            raise OutputError(
                f"the cache {cache} cannot be written: {error.strerror}",
                hint="Make room, or name another.",
            ) from error
        say(schema.to_json(prepared))

    answer(work, failure=MeasurementError)


if __name__ == "__main__":
    main()
