"""Numbers as users type them: one rule for every option.

Python reads ``1_0`` as ten and ``inf`` as a number; in a command line the first is a slip, and a
limit of the second is none.
"""

import math
import re
from typing import Final

WHOLE: Final = re.compile(r"[+-]?[0-9]+")
_DECIMAL: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
LARGEST: Final = 2**63 - 1  # what 64 bits hold: models, files and libraries take no more
MOST_THREADS: Final = 1024  # more than boards and servers have CPUs; each costs memory when made


def whole_number(text: str) -> int | None:
    """Return the whole number that a text states in digits; None for anything else."""
    if not WHOLE.fullmatch(text) or len(text) > len(str(LARGEST)) + 1:
        return None
    value = int(text)
    return value if abs(value) <= LARGEST else None


def finite_number(text: str) -> float | None:
    """Return the finite number that a text states in digits; None for anything else."""
    if not _DECIMAL.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None
