"""Dataclasses as JSON values and back, for messages between edge's own processes.

A class with ``to_json`` and ``from_json`` of its own is written and read by these. All others are
objects with one member for each field. Standard library only: a worker reads its request with it.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

from edge.runtime.checked import Malformed

Kind = TypeVar("Kind")
_SHOWN: Final = 60  # characters of a value that is refused


def encoded(value: Any) -> Any:
    """A value as JSON values; paths become absolute, since the reader may be in another folder."""
    if hasattr(value, "to_json"):
        return value.to_json()
    if dataclasses.is_dataclass(value):
        names = [item.name for item in dataclasses.fields(value)]
        return {name: encoded(getattr(value, name)) for name in names}
    if isinstance(value, Path):
        return str(value.absolute())
    if isinstance(value, Mapping):
        return {str(name): encoded(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [encoded(item) for item in value]
    return value


def decoded(kind: type[Kind], value: Any, what: str = "the message") -> Kind:
    """The object that ``encoded`` wrote.

    Args:
        kind: Its class.
        value: JSON values; a worker that misbehaves, or another program, may have written them.
        what: A noun with its article for the message.

    Raises:
        Malformed: A field is missing, unknown or of another type, or a class refuses its value.
    """
    try:
        result: Kind = _decoded(kind, value, what)
    except Malformed:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Malformed(f"{what} is not as expected: {error}") from error
    return result


def _decoded(kind: Any, value: Any, what: str) -> Any:
    if kind is Any:
        return value
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _either(parts, value, what)
    if origin is tuple:
        return _tuple(parts, value, what)
    if origin is not None and issubclass(origin, Mapping):
        members = _checked(dict, value, what)
        return {name: _decoded(parts[1], item, f"{what}.{name}") for name, item in members.items()}
    if hasattr(kind, "from_json"):
        return kind.from_json(value)
    if dataclasses.is_dataclass(kind):
        return _object(kind, value, what)
    if kind is Path:
        return Path(_checked(str, value, what))
    if issubclass(kind, Enum):
        return kind(value)
    if kind is float and type(value) is int:
        return float(value)
    return _checked(kind, value, what)


def _checked(kind: type, value: Any, what: str) -> Any:
    if type(value) is not kind:
        raise Malformed(f"{what} is {str(value)[:_SHOWN]!r}, which is no {kind.__name__}")
    return value


def _object(kind: Any, value: Any, what: str) -> Any:
    members, known = _checked(dict, value, what), _fields(kind)
    unknown = sorted(set(members) - set(known))
    if unknown:
        raise Malformed(f"{what} has the unknown field {unknown[0][:_SHOWN]!r}")
    return kind(
        **{name: _decoded(known[name], item, f"{what}.{name}") for name, item in members.items()}
    )


@cache
def _fields(kind: Any) -> Mapping[str, Any]:
    """The type of each field of a dataclass."""
    hints = typing.get_type_hints(kind)
    return {item.name: hints[item.name] for item in dataclasses.fields(kind)}


def _either(kinds: tuple[Any, ...], value: Any, what: str) -> Any:
    """The value as the first of several types that it fits."""
    if value is None and types.NoneType in kinds:
        return None
    others = [kind for kind in kinds if kind is not types.NoneType]
    for kind in others[:-1]:
        try:
            return _decoded(kind, value, what)
        except Malformed:
            continue
    return _decoded(others[-1], value, what)


def _tuple(parts: tuple[Any, ...], value: Any, what: str) -> tuple[Any, ...]:
    items = _checked(list, value, what)
    if parts[-1] is Ellipsis:
        parts = (parts[0],) * len(items)
    if len(parts) != len(items):
        raise Malformed(f"{what} has {len(items)} items, not {len(parts)}")
    return tuple(
        _decoded(part, item, f"{what}[{index}]")
        for index, (part, item) in enumerate(zip(parts, items, strict=True))
    )
