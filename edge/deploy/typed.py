"""JSON of a device as a dataclass: every field checked, since a device may say anything."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints

from edge.errors import DeviceError

T = TypeVar("T")
LONGEST: Final = 200  # characters of what a device says, in a message


def typed(kind: type[T], value: object, where: str) -> T:
    """A dataclass whose fields are scalars, tuples, mappings, unions with None, or dataclasses.

    Args:
        kind: The dataclass.
        value: Parsed JSON.
        where: For messages.

    Raises:
        DeviceError: A field is missing, unknown, or of another type.
    """
    found: T = _read(kind, value, where)
    return found


def _read(kind: Any, value: Any, where: str) -> Any:
    if get_origin(kind) is UnionType:
        if value is None and NoneType in get_args(kind):
            return None
        (kind,) = (item for item in get_args(kind) if item is not NoneType)
    if is_dataclass(kind) and isinstance(value, dict):
        return _dataclass(kind, value, where)
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_read(get_args(kind)[0], item, where) for item in value)
    if get_origin(kind) is Mapping and isinstance(value, dict):
        inner = get_args(kind)[1]
        return {
            str(name): _read(inner, item, f"{where}.{name[:LONGEST]}")
            for name, item in value.items()
        }
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        said = repr(value)[:LONGEST]
        raise DeviceError(f"the device says {where} = {said}, which is not what was asked for")
    return value


def _dataclass(kind: Any, value: Mapping[str, Any], where: str) -> Any:
    names = {field.name for field in fields(kind)}
    if set(value) != names:
        odd = ", ".join(sorted(names ^ set(value)))[:LONGEST]
        raise DeviceError(f"the device's answer lacks or adds fields in {where}: {odd}")
    hints = get_type_hints(kind)
    return kind(
        **{name: _read(hints[name], item, f"{where}.{name}") for name, item in value.items()}
    )
