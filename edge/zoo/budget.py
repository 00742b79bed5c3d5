"""How long each measurement may take, so that a run ends in time."""

from dataclasses import dataclass
from typing import Final

from benchmarks.timing import Protocol

RUNS: Final = 20  # of a row, where there is time
KERAS_RUNS: Final = 5  # steps of batch 32: each is the mean of 32 images already
MIN_SECONDS: Final = 0.5
MAX_SECONDS: Final = 10.0
KERAS_MAX_SECONDS: Final = 30.0
LEAST_SECONDS: Final = 0.5
# The first inference and loading are not in a row's seconds; half of a share is left to them.
STEADY: Final = 0.5


@dataclass(frozen=True, slots=True)
class Budget:
    """The end of a run.

    Attributes:
        deadline: On the clock that ``protocol`` is given; None for no end.
    """

    deadline: float | None

    def protocol(self, now: float, rows: int, threads: int, *, keras: bool) -> Protocol:
        """The protocol of the next row.

        Args:
            now: Seconds on the deadline's clock.
            rows: That remain, the next one included.
            threads: CPU threads.
            keras: Whether it is a step of a whole batch.
        """
        most = KERAS_MAX_SECONDS if keras else MAX_SECONDS
        if self.deadline is not None:
            share = STEADY * (self.deadline - now) / max(rows, 1)
            most = min(most, max(share, LEAST_SECONDS))
        return Protocol(
            runs=KERAS_RUNS if keras else RUNS,
            min_seconds=min(MIN_SECONDS, most),
            max_seconds=most,
            # A second step of EfficientNetB7 is as long as the tenth: no time for steps that
            # do not count.
            warm_up_seconds=0.0 if keras else min(0.3, most),
            threads=threads,
        )
