"""The most memory that a command held.

The peak of a process is at least that of the one which started it, so that tests, which hold
TensorFlow, start commands by a small process between.
"""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, Final

_BETWEEN: Final = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[2:], check=False).returncode
with open(sys.argv[1], "w") as stream:
    stream.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code if code >= 0 else 128 - code)
"""


def with_peak(words: Sequence[str], **options: Any) -> tuple[subprocess.CompletedProcess[str], int]:
    """``subprocess.run(words, **options)``, and the peak of its memory in bytes."""
    with tempfile.NamedTemporaryFile("r") as told:
        done = subprocess.run(
            [sys.executable, "-c", _BETWEEN, told.name, *words], text=True, check=False, **options
        )
        return done, int(told.read()) * 1024
