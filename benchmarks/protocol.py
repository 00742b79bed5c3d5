"""How long a model is measured, and the defaults of the commands that measure.

The command line reads the defaults before it knows the command, so this module imports nothing that
takes time.
"""

from dataclasses import dataclass
from typing import Final

from edge.errors import UsageError

TIMEOUT_SECONDS: Final = 300.0  # beyond what its task may take, until a process is killed


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """When a measurement ends: after ``runs`` and ``min_seconds``, or at ``max_seconds``.

    Attributes:
        runs: The smallest number of inferences.
        min_seconds: The minimum measuring time, in seconds.
        max_seconds: The maximum measuring time, in seconds; one inference is always measured.
        warm_up_seconds: The time in which inferences run before the first that counts, in
            seconds; at most ``max_seconds``.
        threads: The number of CPU threads of the interpreter.
    """

    runs: int = 50
    min_seconds: float = 1.0
    max_seconds: float = 30.0
    warm_up_seconds: float = 0.5
    threads: int = 1

    def __post_init__(self) -> None:
        if self.runs < 1 or self.threads < 1:
            raise UsageError("runs and threads must be at least 1", hint="Such as --threads 1.")
        if not 0 <= self.min_seconds <= self.max_seconds:
            raise UsageError(
                "seconds must not be negative, nor the least above the most",
                hint="Such as --min-secs 1 --max-secs 30.",
            )
        if self.warm_up_seconds < 0:
            raise UsageError("seconds of warm-up must not be negative", hint="0 leaves it out.")
