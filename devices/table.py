"""A TOML table that has to be used up: unknown and missing fields are errors with their place."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Never

from edge.errors import UsageError

LARGEST: Final = 1e18  # of a number, so that none becomes infinite in another unit


class Table:
    """One table of a file, read field by field.

    Args:
        value: What the TOML parser gave.
        where: File and table, for messages, such as ``raspberry-pi-5.toml [budget]``.
    """

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, Mapping):
            raise UsageError(f"{where} is not a table")
        self._left = dict(value)
        self._where = where

    def text(self, name: str, *, among: Sequence[str] = ()) -> str:
        """A text that is not empty, one of ``among`` where that is given."""
        value = self._take(name, str)
        if not value.strip():
            self.fail(name, "is empty")
        if among and value not in among:
            self.fail(name, f"is {value!r}; known: {', '.join(among)}")
        return str(value)

    def integer(self, name: str) -> int:
        """A whole number above 0."""
        value: int = self._take(name, int)
        if isinstance(value, bool) or value <= 0:
            self.fail(name, f"is {value!r}; expected a whole number above 0")
        return value

    def number(self, name: str) -> float:
        """A number above 0."""
        value = self._take(name, (int, float))
        if isinstance(value, bool) or not 0 < value < LARGEST:
            self.fail(name, f"is {value!r}; expected a number above 0")
        return float(value)

    def texts(self, name: str, *, least: int = 0) -> tuple[str, ...]:
        """A list of at least so many texts."""
        value = self._take(name, list)
        if not all(isinstance(item, str) and item.strip() for item in value):
            self.fail(name, "is not a list of texts")
        if len(value) < least:
            self.fail(name, f"has {len(value)} entries; at least {least} are needed")
        return tuple(value)

    def mapping(self, name: str) -> dict[str, str]:
        """Texts by name."""
        value = self._take(name, dict)
        if not all(isinstance(item, str) for item in value.values()):
            self.fail(name, "is not a table of texts")
        return dict(value)

    def table(self, name: str) -> "Table":
        """A table inside."""
        return Table(self._take(name, dict), f"{self._where} [{name}]")

    def tables(self, name: str) -> tuple["Table", ...]:
        """A list of tables, ``[[name]]``; empty where there is none."""
        value = self._take(name, list) if name in self._left else []
        return tuple(
            Table(item, f"{self._where} [[{name}]] {number}")
            for number, item in enumerate(value, start=1)
        )

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def end(self) -> None:
        """Nothing may be left.

        Raises:
            UsageError: A field that nobody asked for.
        """
        if self._left:
            names = ", ".join(sorted(self._left))
            raise UsageError(
                f"{self._where}: unknown field {names}",
                hint="docs/devices.md lists the fields; is it spelled so?",
            )

    def fail(self, name: str, found: str) -> Never:
        """Say what is wrong with a field.

        Raises:
            UsageError: Always.
        """
        raise UsageError(
            f"{self._where}: {name} {found}", hint="docs/devices.md says what each field means."
        )

    def _take(self, name: str, kind: type | tuple[type, ...]) -> Any:
        if name not in self._left:
            self.fail(name, "is missing")
        value = self._left.pop(name)
        if not isinstance(value, kind):
            self.fail(name, f"is {value!r}, which is of another type than it has to be")
        return value
