"""Reading JSON that may be of anybody: each field by its kind, each fault by its place."""

import json
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from edge.errors import UsageError
from edge.runtime import checked

Choice = TypeVar("Choice", bound=StrEnum)

MAX_RESULTS: Final = 32 << 20  # bytes; a measured run of a second takes about 20 KB
LARGEST: Final = 1e300  # so that an integer of any length becomes a float
HINT: Final = (
    "Name a file that edge benchmark --output wrote; docs/benchmark-results.md describes it."
)


class Fields:
    """A JSON object at a place of a file.

    Args:
        value: What stands there.
        file: For messages.
        place: Within the file, such as ``rows[3].timing``; empty for the whole.

    Raises:
        UsageError: It is no object.
    """

    def __init__(self, value: Any, file: Path, place: str = "") -> None:
        self._file, self._place = file, place
        if not isinstance(value, dict):
            self._fail(place or "the document", value, "an object")
        self.values: dict[str, Any] = value

    def text(self, name: str) -> str:
        """A string."""
        value = self._value(name)
        return value if isinstance(value, str) else self._fail(self._at(name), value, "a string")

    def number(self, name: str, *, signed: bool = False) -> float:
        """A finite number, not negative unless ``signed``."""
        return self._number(self._at(name), self._value(name), signed=signed)

    def whole(self, name: str) -> int:
        """An integer that is not negative."""
        value = self._value(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self._fail(self._at(name), value, "a whole number that is not negative")
        return value

    def truth(self, name: str) -> bool:
        """True or false."""
        value = self._value(name)
        return value if isinstance(value, bool) else self._fail(self._at(name), value, "a boolean")

    def choice(self, name: str, kind: type[Choice]) -> Choice:
        """A member of an enumeration, by its value."""
        value = self._value(name)
        for member in kind:
            if value == member.value:
                return member
        return self._fail(self._at(name), value, f"one of {', '.join(kind)}")

    def numbers(self, name: str) -> tuple[float, ...]:
        """A list of finite numbers that are not negative."""
        return tuple(self._number(place, value) for place, value in self._items(name))

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(
            value if isinstance(value, str) else self._fail(place, value, "a string")
            for place, value in self._items(name)
        )

    def object(self, name: str) -> "Fields":
        """The object of that name."""
        return Fields(self._value(name), self._file, self._at(name))

    def objects(self, name: str) -> "list[Fields]":
        """A list of objects."""
        return [Fields(value, self._file, place) for place, value in self._items(name)]

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.values.get(name) is not None

    def fail(self, name: str, expected: str) -> NoReturn:
        """Refuse the value of a field."""
        self._fail(self._at(name), self.values.get(name), expected)

    def _items(self, name: str) -> Iterator[tuple[str, Any]]:
        value = self._value(name)
        if not isinstance(value, list):
            self._fail(self._at(name), value, "a list")
        for position, item in enumerate(value):
            yield f"{self._at(name)}[{position}]", item

    def _number(self, place: str, value: Any, *, signed: bool = False) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._fail(place, value, "a number")
        if not abs(value) <= LARGEST or (value < 0 and not signed):
            self._fail(place, value, "a finite number" + ("" if signed else ", not negative"))
        return float(value)

    def _value(self, name: str) -> Any:
        if name not in self.values:
            raise UsageError(f"{self._file}: {self._at(name)} is missing", hint=HINT)
        return self.values[name]

    def _at(self, name: str) -> str:
        return f"{self._place}.{name}" if self._place else name

    def _fail(self, place: str, value: Any, expected: str) -> NoReturn:
        found = json.dumps(value, default=str)
        shown = found if len(found) <= 60 else f"{found[:57]}..."
        raise UsageError(f"{self._file}: {place} is {shown}, expected {expected}", hint=HINT)


def load(path: Path) -> Fields:
    """The JSON object that a file holds.

    Raises:
        UsageError: The file cannot be read, or holds something else.
    """
    try:
        return Fields(checked.read_json(path, max_bytes=MAX_RESULTS, finite=False), path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint=HINT) from error
    except checked.Malformed as error:
        raise UsageError(f"{path} cannot be read: {error}", hint=HINT) from error
