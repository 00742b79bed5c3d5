"""How a worker process answers: JSON lines on stdout, and an end when its parent is gone.

The other side is ``child``. Standard library only: a worker runs in any Python environment.
"""

import json
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any


def answering() -> Callable[[Mapping[str, Any]], None]:
    """Take stdout for answers alone, and end with the parent.

    Whatever a library prints goes to stderr from now on. The process ends when its stdin closes,
    so that a killed parent leaves no worker behind.

    Returns:
        A function that writes one answer.
    """
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def say(value: Mapping[str, Any]) -> None:
        stream.write(json.dumps(value) + "\n")
        stream.flush()

    return say


def _end_with_parent() -> None:
    while os.read(0, 4096):  # not sys.stdin: its lock, held here, aborts a normal exit
        pass
    os._exit(130)
