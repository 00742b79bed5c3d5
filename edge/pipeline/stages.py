"""Times the stages of a job while passing them on to whoever watches."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from edge.progress import Progress, Step


class TimedStages:
    """Progress that keeps the seconds of each stage, in order."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, title: str, total: int | None = None) -> Iterator[Step]:
        """See ``Progress``."""
        started = time.monotonic()
        with self._progress.stage(title, total) as step:
            yield step
        self.seconds[title] = self.seconds.get(title, 0.0) + time.monotonic() - started

    def note(self, text: str) -> None:
        """See ``Progress``."""
        self._progress.note(text)
