"""Options of a job as JSON values, and back: what ``edge.lock`` keeps of the command."""

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from edge.errors import BundleError

# Places of the machine: they decide no number, and another machine has others.
PLACES: Final = frozenset(
    {"photos", "calibration_data", "evaluation_data", "output", "overwrite", "cache"}
)
OptionsT = TypeVar("OptionsT")


def options_json(options: Any) -> dict[str, Any]:
    """Every field of a dataclass of options but the places.

    Args:
        options: A dataclass; its fields are dataclasses, tuples, enums, paths and JSON values.
    """
    found = {}
    for item in fields(options):
        value = getattr(options, item.name)
        if item.name not in PLACES or is_dataclass(value):
            found[item.name] = _encoded(value)
    return found


def _encoded(value: Any) -> Any:
    if is_dataclass(value):
        return options_json(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple | frozenset | set):
        return [_encoded(item) for item in value]
    return value


def read_options(
    kind: type[OptionsT], value: Any, places: Mapping[str, Any], name: str = "options"
) -> OptionsT:
    """A dataclass of options out of ``options_json``.

    Args:
        kind: The dataclass.
        value: What stands in the lock.
        places: Values of the fields that are not kept, by name, for every dataclass that has them.
        name: Of the value, for errors.

    Raises:
        BundleError: The value has other fields or types than the dataclass.
    """
    if not isinstance(value, Mapping):
        raise _foreign(name, value)
    hints = get_type_hints(kind)
    known: dict[str, Any] = {}
    for item in fields(kind):  # type: ignore[arg-type]
        where = f"{name}.{item.name}"
        if item.name in value:
            known[item.name] = _decoded(hints[item.name], value[item.name], places, where)
        elif item.name in places:
            known[item.name] = places[item.name]
        elif item.default is MISSING and item.default_factory is MISSING:
            raise BundleError(f"edge.lock lacks {where}", hint=OTHER_EDGE)
    unknown = sorted(set(value) - known.keys())
    if unknown:
        raise BundleError(
            f"edge.lock has an option that this edge does not know: {name}.{unknown[0]}",
            hint=OTHER_EDGE,
        )
    return kind(**known)


OTHER_EDGE: Final = "Install the version of edge that the manifest names under provenance.versions."


def _decoded(hint: Any, value: Any, places: Mapping[str, Any], name: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _first_that_fits(arguments, value, places, name)
    if origin is tuple and isinstance(value, list):
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) == len(value):
            pairs = zip(kinds, value, strict=True)
            return tuple(_decoded(kind, item, places, name) for kind, item in pairs)
    if is_dataclass(hint) and isinstance(hint, type):
        return read_options(hint, value, places, name)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if origin is Literal and value in arguments:
        return value
    if isinstance(hint, type) and issubclass(hint, Enum | Path) and isinstance(value, str):
        return _from_text(hint, value, name)
    if isinstance(hint, type) and type(value) is hint:
        return value
    raise _foreign(name, value)


def _first_that_fits(
    kinds: tuple[Any, ...], value: Any, places: Mapping[str, Any], name: str
) -> Any:
    if value is None and type(None) in kinds:
        return None
    for kind in kinds:
        try:
            return _decoded(kind, value, places, name)
        except BundleError:
            continue
    raise _foreign(name, value)


def _from_text(kind: type[Any], value: str, name: str) -> Any:
    try:
        return kind(value)
    except ValueError as error:
        raise _foreign(name, value) from error


def _foreign(name: str, value: Any) -> BundleError:
    return BundleError(f"edge.lock: {name} cannot be {str(value)[:80]!r}", hint=OTHER_EDGE)
