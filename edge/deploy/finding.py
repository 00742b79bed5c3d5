"""One thing that was found at a device: how much it matters, and the way out."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Self


class Severity(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"  # works, but not as it should
    ERROR = "error"  # a deploy would fail


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was looked at, what was found, and the way out.

    Attributes:
        level: How much it matters.
        about: What was looked at, one or two words.
        found: One line.
        hint: What to do about it; empty where all is well.
    """

    level: Severity
    about: str
    found: str
    hint: str = ""

    @classmethod
    def ok(cls, about: str, found: str) -> Self:
        """Make a finding that all is well."""
        return cls(level=Severity.OK, about=about, found=found)

    @classmethod
    def warning(cls, about: str, found: str, hint: str) -> Self:
        """Make a finding that something works, but not as it should."""
        return cls(level=Severity.WARNING, about=about, found=found, hint=hint)

    @classmethod
    def error(cls, about: str, found: str, hint: str) -> Self:
        """Make a finding that a deploy would fail."""
        return cls(level=Severity.ERROR, about=about, found=found, hint=hint)

    def to_json(self) -> dict[str, str]:
        """Return the finding as JSON values."""
        return asdict(self)
