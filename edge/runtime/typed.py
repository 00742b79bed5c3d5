"""JSON values as dataclasses: every field is checked, since the other side may say anything.

Host and device, and edge's own processes, read what they send each other by this one decoding; the
device has nothing but the standard library.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
LONGEST: Final = 200  # characters of a value or a name, in a message


class Mistyped(ValueError):
    """A value is not what its type says; the message names the field and what it holds."""


def typed(kind: type[T], value: object, where: str, *, exact: bool = False) -> T:
    """Read a dataclass.

    Its fields may be scalars, enums of texts, paths, tuples, mappings, dataclasses, and unions. A
    missing field has its default; a whole number is taken for a float.

    Args:
        kind: The dataclass.
        value: Parsed JSON.
        where: What the value is, for messages.
        exact: Whether fields that the dataclass does not have are refused; they are left out
            otherwise.

    Raises:
        Mistyped: A field is missing, unknown, or of another type.
    """
    return cast(T, _read(kind, value, where, exact))


def _read(kind: Any, value: Any, where: str, exact: bool) -> Any:
    origin = get_origin(kind)
    if kind is Any:
        return value
    if origin is UnionType:
        return _either(get_args(kind), value, where, exact)
    if is_dataclass(kind) and isinstance(value, dict):
        return _dataclass(kind, value, where, exact)
    if origin is tuple and isinstance(value, list):
        return _tuple(get_args(kind), value, where, exact)
    if origin is Mapping and isinstance(value, dict):
        inner = get_args(kind)[1]
        return {
            str(name): _read(inner, item, f"{where}.{name[:LONGEST]}", exact)
            for name, item in value.items()
        }
    if kind is Path and type(value) is str:
        return Path(value)
    if kind is float and type(value) is int:
        return float(value)
    if isinstance(kind, type) and issubclass(kind, StrEnum) and value in list(kind):
        return kind(value)
    if type(value) is not kind:
        raise wrong(where, value)
    return value


def wrong(where: str, value: object) -> Mistyped:
    """Return the error for a field that holds something else than its type allows."""
    return Mistyped(f"{where} says {repr(value)[:LONGEST]}, which is not what was asked")


def _either(kinds: tuple[Any, ...], value: Any, where: str, exact: bool) -> Any:
    """Read the first of several types that the value fits."""
    if value is None and NoneType in kinds:
        return None
    *others, last = (kind for kind in kinds if kind is not NoneType)
    for kind in others:
        with suppress(Mistyped):
            return _read(kind, value, where, exact)
    return _read(last, value, where, exact)


def _tuple(kinds: tuple[Any, ...], value: list[Any], where: str, exact: bool) -> tuple[Any, ...]:
    """Read ``tuple[item, ...]``, or a tuple of a known length."""
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise wrong(where, value)
    return tuple(
        _read(kind, item, f"{where}[{number}]", exact)
        for number, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )


def _dataclass(kind: Any, value: Mapping[str, Any], where: str, exact: bool) -> Any:
    known = {item.name: item for item in fields(kind)}
    lacking = [name for name, item in known.items() if name not in value and _required(item)]
    if lacking:
        raise Mistyped(f"{where} lacks {', '.join(lacking)}")
    odd = sorted(value.keys() - known.keys())
    if odd and exact:
        raise Mistyped(f"{where} has fields that it should not: {', '.join(odd)[:LONGEST]}")
    hints = get_type_hints(kind)
    return kind(
        **{
            name: _read(hints[name], value[name], f"{where}.{name}", exact)
            for name in known
            if name in value
        }
    )


def _required(item: "Field[Any]") -> bool:
    return item.default is MISSING and item.default_factory is MISSING


def encoded(value: Any) -> Any:
    """Return a dataclass as JSON values, which ``typed`` reads.

    Paths become absolute, since the reader may be in another folder.
    """
    if is_dataclass(value):
        return {item.name: encoded(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Path):
        return str(value.absolute())
    if isinstance(value, Mapping):
        return {str(name): encoded(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [encoded(item) for item in value]
    return value
