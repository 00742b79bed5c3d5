"""``edge live`` with a model that is slower than it is: for how it behaves under overload.

    python live_server.py BUNDLE CAMERA PORT RATE SECONDS

SECONDS are waited in each inference, without using a processor.
"""

import sys
import time
from pathlib import Path
from typing import Any

from edge.runtime.live.model import LiveAnswer, LiveModel
from edge.runtime.live.service import LiveOptions, serve


def main() -> int:
    bundle, camera, port, rate, seconds = sys.argv[1:]
    quick = LiveModel.answer

    def slow(self: LiveModel, *given: Any, **named: Any) -> LiveAnswer:
        time.sleep(float(seconds))
        return quick(self, *given, **named)

    if float(seconds):
        LiveModel.answer = slow  # type: ignore[method-assign]
    options = LiveOptions(camera=camera, rate=float(rate), listen=("127.0.0.1", int(port)))
    return serve(Path(bundle), options)


if __name__ == "__main__":
    sys.exit(main())
